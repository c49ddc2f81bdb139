//! House rules that a test can check: storeys, headings, and documents that say what the code does.
//!
//! The storeys are read from `src/lib.rs` and the pipeline from `ARCHITECTURE.md`: neither is repeated here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate::config::plan::RoutePlan;
use tidegate::config::{self, Variables};
use tidegate::gateway::Gateway;
use tidegate::gateway::state::GatewayState;
use tidegate::gateway::world::World;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Each folder's storey: the order of `lib.rs`, and for the folders of `config` and `server` that of their `mod.rs`.
fn storeys(module: &str) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(root().join("src").join(module)).unwrap();
    let modules = text.lines().filter_map(|line| line.strip_prefix("pub mod "));
    modules.map(|name| name.trim_end_matches(';').to_owned()).zip(0..).collect()
}

/// A file's code without its tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    // Tests in the file itself come last; those of a file of their own are only named, and that may be anywhere.
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    // Where something may be seen from is no import.
    code.replace("pub(in crate::", "pub(in ")
}

#[test]
fn a_file_imports_only_from_lower_storeys() {
    let storeys = storeys("lib.rs");
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut wrong = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(root().join("src")).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let Some(own) = storeys.get(&module) else { continue };
        for (at, _) in code(file).match_indices("crate::") {
            let text = code(file);
            let used: String = text[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let Some(other) = storeys.get(&used)
                && used != module
                && other > own
            {
                wrong.push(format!("{} (storey {own}) uses {used} (storey {other})", relative.display()));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn policies_and_dialects_do_not_know_their_siblings() {
    let mut wrong = Vec::new();
    for folder in ["policy", "caller"] {
        let root = root().join("src").join(folder);
        let mut files = Vec::new();
        sources(&root, &mut files);
        // A policy of several files is one: `breaker.rs` and all that is in `breaker/`.
        let module = |file: &Path| {
            let first = file.strip_prefix(&root).unwrap().iter().next().unwrap().to_str().unwrap();
            first.trim_end_matches(".rs").to_owned()
        };
        let names: BTreeSet<String> = files.iter().map(|file| module(file)).collect();
        // What several dialects are built from.
        let shared = ["mod", "answer", "json", "upload", "wire"];
        for file in files.iter().filter(|file| !file.ends_with("mod.rs")) {
            let (own, is_top) = (module(file), file.parent() == Some(&root));
            for name in names.iter().filter(|name| !shared.contains(&name.as_str()) && **name != own) {
                let text = code(file);
                let is_used = is_top && text.contains(&format!("super::{name}"));
                if is_used || text.contains(&format!("crate::{folder}::{name}")) {
                    wrong.push(format!("{folder}/{own} uses its sibling {name}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// OpenAI's field names have one home. The widget has a word of its own that reads the same.
#[test]
fn only_the_wire_knows_openais_grammar() {
    let words = ["\"choices\"", "\"delta\"", "\"finish_reason\""];
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(root().join("src")).unwrap().to_owned();
        if relative.starts_with("wire") || relative == Path::new("caller/widget.rs") {
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
        sources(&root().join(folder), &mut files);
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
    let state = Arc::new(GatewayState::new(&plan, world.chance()));
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
    sources(&root().join("src/policy"), &mut files);
    let asks = |line: &str| {
        let compares =
            |mark| ["status", "status()", "status_code"].iter().any(|it| line.contains(&format!("{it} {mark}")));
        ["==", "!=", "<", ">"].into_iter().any(compares)
            || ["StatusCode", "as_u16()", "match status", "match self.status"].iter().any(|word| line.contains(word))
    };
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
        let lines = code(file);
        let lines = lines.lines().filter(|line| !line.trim_start().starts_with("//") && asks(line));
        wrong.extend(lines.map(|line| format!("{}: {}", file.display(), line.trim())));
    }
    assert!(wrong.is_empty(), "what a status means is for Fault and Reply to say:\n{}", wrong.join("\n"));
}
