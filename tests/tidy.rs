//! House rules that a test can check: storeys, headings, and documents that say what the code does.
//!
//! The storeys are read from `src/lib.rs` and every `mod.rs`, and the pipeline from `ARCHITECTURE.md`: neither is repeated here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/unused.rs"]
mod unused;

use imports::Imports;
use source::Source;

use tidegate::config::plan::RoutePlan;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Public things that only tests name.
const FOR_TESTS: [(&str, &str); 5] = [
    ("gateway::world::with_names", "a test cannot ask the system for names that are not there"),
    ("gateway::world::with_system_clock", "a test cannot set the system's clock"),
    ("gateway::world::with_network_stores", "simulated providers before a real store are tried nowhere else"),
    ("state::store::redis::simulated::server::lose_data", "what a store without its data is told is a law"),
    ("server::dispatch::operate", "scenarios ask operators' endpoints without a connection"),
];

fn modules() -> Vec<Source> {
    source::modules(&root().join("src"))
}

/// The groups of a folder's modules, between which there are empty lines, are its storeys, the lowest first.
#[test]
fn a_module_imports_only_from_groups_above_its_own() {
    let sources = modules();
    let imports = Imports::of(&sources);
    let mut wrong = BTreeSet::new();
    for source in &sources {
        let storey = |name: &String| source.groups.iter().position(|group| group.contains(name));
        for (from, into) in imports.siblings(&source.module) {
            if storey(&into) >= storey(&from) {
                let file = &source.file;
                wrong.insert(format!("`{from}` imports from `{into}`, which {file} lists in the same group or below"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Of a circle one file alone cannot be understood. A `mod.rs` and the files of its folder are one module in several files:
/// what these take from it closes no circle.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = modules();
    let circles = Imports::of(&sources).circles();
    let shown: Vec<String> =
        circles.iter().map(|circle| circle.iter().map(|it| it.join("::")).collect::<Vec<_>>().join(", ")).collect();
    assert!(shown.is_empty(), "{shown:#?}");
}

/// Every module is public, so that tests can reach it, and therefore the compiler finds nothing that nobody uses.
#[test]
fn nothing_public_is_used_by_nobody() {
    let mut outside = vec![root().join("src/main.rs")];
    for folder in ["benches", "fuzz"] {
        source::files(&root().join(folder), &mut outside);
    }
    let outside: Vec<_> = outside.iter().map(|file| source::tokens(file)).collect();
    let mut found: BTreeSet<String> = unused::find(&modules(), &outside).into_iter().collect();
    for name in FOR_TESTS.map(|(name, _)| name) {
        assert!(found.remove(name), "{name} is used: take it from the list");
    }
    assert!(found.is_empty(), "nobody names {found:#?}");
}

#[test]
fn a_module_of_several_files_is_a_folder_with_mod_rs() {
    let mut files = Vec::new();
    source::files(&root().join("src"), &mut files);
    let beside: Vec<&PathBuf> = files.iter().filter(|file| file.with_extension("").is_dir()).collect();
    assert!(beside.is_empty(), "{beside:?} have a folder beside them");
}

/// OpenAI's field names have one home. The widget, and a simulated provider of Messages, have a word of their own that reads the
/// same.
#[test]
fn only_the_wire_knows_openais_grammar() {
    let words = ["\"choices\"", "\"delta\"", "\"finish_reason\""];
    let mut files = Vec::new();
    source::files(&root().join("src"), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(root().join("src")).unwrap().to_owned();
        let has_own_word = ["caller/widget.rs", "provider/simulated/messages.rs"].map(Path::new).contains(&&*relative);
        if relative.starts_with("wire") || has_own_word {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let known = words.iter().filter(|word| text.contains(**word));
        wrong.extend(known.map(|word| format!("{} knows {word}, which belongs into src/wire", relative.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_begins_by_saying_what_it_does() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        source::files(&root().join(folder), &mut files);
    }
    let silent: Vec<_> =
        files.iter().filter(|file| !std::fs::read_to_string(file).unwrap().starts_with("//!")).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[tokio::test]
async fn the_pipeline_in_the_documents_is_the_one_that_runs() {
    let keys = [("OPENAI_API_KEY", "k"), ("TOGETHER_API_KEY", "k"), ("USE_BUILDPANEL", "true")];
    let variables =
        Variables::new(keys.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), BTreeMap::new());
    let plan = config::load(None, &variables).unwrap();
    let world = World::real();
    let state = Arc::new(GatewayState::new(&plan, &world));
    let gateway = Gateway::new(plan, state, Arc::new(world)).unwrap();
    for (word, is_tunnel) in [("route:  ", false), ("tunnel: ", true)] {
        let is_wanted = |plan: &RoutePlan, target: &[&str]| !target.is_empty() && plan.tunnel.is_some() == is_tunnel;
        let (_, route, target) = gateway.describe().find(|(plan, _, target)| is_wanted(plan, target)).unwrap();
        // Each list of a route has that of its targets below it.
        let lines = format!("    {word}{}\n    target: {}\n", route.join(" > "), target.join(" > "));
        for document in ["ARCHITECTURE.md", "README.md"] {
            let text = std::fs::read_to_string(root().join(document)).unwrap();
            assert!(text.contains(&lines), "{document} does not have the lines\n{lines}");
        }
    }
}

#[test]
fn the_image_is_built_with_every_bench_that_the_manifest_names() {
    let read = |file| std::fs::read_to_string(root().join(file)).unwrap();
    let (manifest, dockerfile) = (read("Cargo.toml"), read("Dockerfile"));
    let list = dockerfile.lines().find_map(|line| line.trim().strip_prefix("&& for bench in ")?.split(';').next());
    let listed: Vec<&str> = list.unwrap().split(' ').collect();
    let benches = manifest.split("[[bench]]").skip(1).filter_map(|bench| bench.split('"').nth(1));
    for bench in benches {
        // Without a file of its name the layer of dependencies cannot be built.
        assert!(listed.contains(&bench), "Dockerfile makes no empty {bench}; it makes {listed:?}");
    }
}

#[test]
fn policies_know_no_http_status() {
    let mut files = Vec::new();
    source::files(&root().join("src/policy"), &mut files);
    let asks = |line: &str| {
        let compares =
            |mark| ["status", "status()", "status_code"].iter().any(|it| line.contains(&format!("{it} {mark}")));
        ["==", "!=", "<", ">"].into_iter().any(compares)
            || ["StatusCode", "as_u16()", "match status", "match self.status"].iter().any(|word| line.contains(word))
    };
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        // Tests in the file itself come last.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//") && asks(line));
        wrong.extend(lines.map(|line| format!("{}: {}", file.display(), line.trim())));
    }
    assert!(wrong.is_empty(), "what a status means is for Fault and Reply to say:\n{}", wrong.join("\n"));
}
