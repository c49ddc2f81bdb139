//! Prompts, in the config and in files of their own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tidegate::config::plan::{Plan, PromptPlan, PromptStatus};
use tidegate::config::watch::Watch;
use tidegate::config::{Variables, load, load_from};

use super::{plan, problems};

const ACTIVE: &str = "status = 'active'\ntemplate = 'Say {{ what }}.'\n";

fn prompt<'a>(plan: &'a Plan, key: &str) -> &'a PromptPlan {
    plan.prompts.find(key).unwrap()
}

fn statuses(plan: &Plan, key: &str) -> Vec<(u32, PromptStatus)> {
    prompt(plan, key).versions.iter().map(|version| (version.number, version.status)).collect()
}

/// A folder with a config file and a folder of prompts, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-prompts-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("prompts")).unwrap();
        let place = Self(folder);
        place.write("gateway.toml", "");
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.0.join("gateway.toml")
    }

    fn load(&self) -> Result<Plan, String> {
        let told = |problems: String| problems.replace(&format!("{}/", self.0.display()), "");
        load_from(Some(&self.config())).map(|loaded| loaded.plan).map_err(|problems| told(problems.to_string()))
    }

    fn problems(&self) -> String {
        self.load().expect_err("the configuration was accepted")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn three_prompts_are_shipped() {
    let plan = plan("", &[]);
    let keys: Vec<&str> = plan.prompts.iter().map(|prompt| &*prompt.key).collect();
    assert_eq!(keys, ["canvas.generate", "canvas.refine", "order.parse"]);
    for key in keys {
        assert_eq!(statuses(&plan, key), [(1, PromptStatus::Active)], "{key}");
    }
    let generate = prompt(&plan, "canvas.generate").active().unwrap();
    assert_eq!(
        generate.variables().into_iter().collect::<Vec<_>>(),
        ["businessDescription", "industry", "targetMarket"]
    );
    let values = json!({"businessDescription": "A bakery\n{{ industry }}", "industry": "Food"});
    let text = generate.template.render(values.as_object().unwrap()).unwrap();
    let expected = "Fill in the canvas for this business.\n\nIndustry: Food\n\nDescription:\nA bakery\n{{ industry }}";
    assert_eq!(text, expected);
    let shape = generate.shape.as_ref().unwrap();
    assert_eq!(shape.name(), "canvas_generate_1");
    // Strict mode knows no limits on the length of texts.
    assert!(!shape.is_closed());
    let canvas: serde_json::Map<String, serde_json::Value> = [
        "keyPartners",
        "keyActivities",
        "valuePropositions",
        "customerRelationships",
        "customerSegments",
        "keyResources",
        "channels",
        "costStructure",
        "revenueStreams",
    ]
    .into_iter()
    .map(|field| (field.to_owned(), json!(["one", "two"])))
    .collect();
    assert!(shape.find(&serde_json::to_string(&canvas).unwrap()).is_ok());
    let mut broken = canvas.clone();
    broken.remove("channels");
    assert!(shape.find(&serde_json::to_string(&broken).unwrap()).unwrap_err().what.contains("channels"));
    let refine = prompt(&plan, "canvas.refine").active().unwrap();
    let asked = json!({"canvas": canvas, "instruction": "More partners."});
    let text = refine.template.render(asked.as_object().unwrap()).unwrap();
    assert!(text.contains("\"keyPartners\": [\"one\", \"two\"]") && text.ends_with("More partners."), "{text}");
    assert_eq!(refine.shape.as_ref().unwrap().schema(), shape.schema());
    let order = prompt(&plan, "order.parse").active().unwrap();
    assert_eq!(order.variables().into_iter().collect::<Vec<_>>(), ["text"]);
}

#[test]
fn a_config_without_the_defaults_has_no_prompts() {
    assert_eq!(plan("defaults = false", &[]).prompts.iter().count(), 0);
}

#[test]
fn an_active_version_of_the_users_takes_the_place_of_a_shipped_one() {
    let plan = plan(&format!("[prompt.'canvas.refine'.2]\n{ACTIVE}"), &[]);
    assert_eq!(statuses(&plan, "canvas.refine"), [(1, PromptStatus::Deprecated), (2, PromptStatus::Active)]);
    assert_eq!(prompt(&plan, "canvas.refine").active().unwrap().number, 2);
}

#[test]
fn single_keys_of_a_shipped_prompt_can_be_changed() {
    let plan = plan("[prompt.'canvas.generate'.1]\nmodel = 'gpt-4o'\n", &[]);
    let version = prompt(&plan, "canvas.generate").active().unwrap();
    assert_eq!((version.model.as_deref(), version.max_tokens), (Some("gpt-4o"), Some(2000)));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let text = "[prompt.a.1]\nstatus = 'active'\ntemplate = '''\none\ntwo {{ b | uper }}\n'''\n";
    assert_eq!(problems(text, &[]), "x.toml:5:1: prompt.a.1.template: line 2 of the template: filter uper is unknown");
    let text = "[prompt.a.1]\nstatus = 'active'\ntemplate = 'x {% fi %}'\n";
    assert_eq!(problems(text, &[]), "x.toml:3:12: prompt.a.1.template: line 1 of the template: unknown statement fi");
    for (text, told) in [
        ("[prompt.1a.1]\n", "x.toml:1:9: prompt: \"1a\" is not the key of a prompt: 1 to 64 ASCII letters"),
        ("[prompt.a.x]\n", "x.toml:1:11: prompt.a: \"x\" is not a version: a whole number, 1 to 999999"),
        ("[prompt.a.01]\n", "x.toml:1:11: prompt.a: \"01\" is not a version"),
        ("[prompt]\na = 1\n", "x.toml:2:5: prompt.a: expected a table"),
        ("[prompt.a.1]\ntemplate = 'x'\n", "x.toml:1:11: prompt.a.1.status: this key is missing"),
        ("[prompt.a.1]\nstatus = 'active'\n", "x.toml:1:11: prompt.a.1.template: this key is missing"),
        (
            "[prompt.a.1]\nstatus = 'activ'\ntemplate = 'x'\n",
            "status: expected a status, one of draft, testing, active, deprecated, got \"activ\", did you mean `active`?",
        ),
        (
            "[prompt.a.1]\nstatus = 'testing'\ntemplate = 'x'\n[prompt.a.2]\nstatus = 'active'\ntemplate = 'x'\n",
            "x.toml:1:11: prompt.a.1.percent: this key is missing",
        ),
        (
            "[prompt.a.1]\nstatus = 'testing'\npercent = 5\ntemplate = 'x'\n",
            "x.toml:1:9: prompt.a: a version is tested, and none is `active`",
        ),
        (
            "[prompt.a.1]\nstatus = 'active'\npercent = 5\ntemplate = 'x'\n",
            "x.toml:3:11: prompt.a.1.percent: only a version in status `testing`",
        ),
        (
            "[prompt.a.1]\nstatus = 'active'\ntemplate = 'x'\n[prompt.a.2]\nstatus = 'active'\ntemplate = 'x'\n",
            "prompt.a: versions 1, 2 are all `active`: only one can be",
        ),
        (
            "[prompt.a.1]\nstatus = 'active'\ntemperature = 2.1\ntemplate = 'x'\n",
            "x.toml:3:15: prompt.a.1.temperature: expected a temperature, 0.0 to 2.0, got 2.1",
        ),
        (
            "[prompt.a.1]\nstatus = 'active'\ntemplate = 'x'\n[prompt.a.1.output_schema]\ntype = 'objekt'\n",
            "x.toml:4:13: prompt.a.1.output_schema: ",
        ),
        (
            "[prompt.a.1]\nstatus = 'active'\ntemplate = 'x'\noutput_schema = '{\"type\": '\n",
            "x.toml:4:17: prompt.a.1.output_schema: not JSON: ",
        ),
        (
            "[prompt.a.1]\nstatus = 'active'\ntemplate = 'x'\noutput_schema = { a = 2026-01-01 }\n",
            "x.toml:4:1: prompt.a.1.output_schema: a date or a time has no place in a JSON Schema",
        ),
        (
            "[prompt.a.1]\nstatus = 'active'\ntemplate = 'x'\noutput_schema_file = '/no/such/file'\n",
            "x.toml:4:22: prompt.a.1.output_schema_file: cannot read \"/no/such/file\": ",
        ),
        (
            "[prompt.a-b.1]\nstatus = 'active'\ntemplate = 'x'\n[prompt.a_b.1]\nstatus = 'active'\ntemplate = 'x'\n",
            "x.toml:4:9: prompt.a_b: `a-b` has the same flag, `prompt_a_b`: choose another key",
        ),
    ] {
        let found = problems(text, &[]);
        assert!(found.contains(told), "{text}\n{found}");
    }
    let version = |number, status: &str| format!("[prompt.a.{number}]\ntemplate = 'x'\nstatus = {status}\n");
    let text = [version(1, "'active'"), version(2, "'testing'\npercent = 60"), version(3, "'testing'\npercent = 41")];
    assert!(problems(&text.concat(), &[]).contains("prompt.a: the versions that are tested add up to more than 100"));
}

#[test]
fn a_route_can_have_a_prompt_for_all_that_its_callers_say() {
    let of = |key: &str| format!("[route.canvas-chat]\nprompt = '{key}'\n[prompt.a.1]\n{ACTIVE}");
    assert!(
        problems(&of("a"), &[]).contains("x.toml:2:10: route.canvas-chat.prompt: `a` needs `what`; a route's prompt")
    );
    let told = problems(&of("order.prase"), &[]);
    let expected =
        "there is no active prompt \"order.prase\", did you mean `order.parse`? (there are: a, canvas.generate,";
    assert!(told.contains(expected), "{told}");
    let told = problems("[route.openai-chat]\nprompt = 'order.parse'\n", &[]);
    assert!(told.contains("only calls of kind `chat` and `parse-order` can have a prompt"), "{told}");
    assert_eq!(super::route(&plan("", &[]), "restaurant-parse-order").prompt.as_deref(), Some("order.parse"));
}

#[test]
fn a_prompt_of_which_no_version_is_active_is_a_warning() {
    let plan = plan("[prompt.a.1]\nstatus = 'draft'\ntemplate = 'x'\n", &[]);
    assert!(plan.warnings.iter().any(|it| it == "no version of the prompt `a` is active: nobody can use it"));
}

#[test]
fn files_of_the_folder_beside_the_config_are_prompts() {
    let place = Place::new("files");
    place.write("prompts/greet.user/1.toml", ACTIVE);
    place.write(
        "prompts/greet.user/12.toml",
        "status = 'testing'\npercent = 2.5\ntemplate = 'x'\noutput_schema_file = 'answer.json'\n",
    );
    place.write("prompts/greet.user/answer.json", "{\"type\": \"object\"}");
    place.write("prompts/greet.user/12.toml~", "not TOML");
    place.write("prompts/greet.user/.13.toml", "not TOML");
    place.write("prompts/..data/1.toml", "not TOML");
    place.write("prompts/README.md", "About these.");
    let plan = place.load().unwrap();
    assert_eq!(statuses(&plan, "greet.user"), [(1, PromptStatus::Active), (12, PromptStatus::Testing)]);
    let tested = prompt(&plan, "greet.user").testing().next().unwrap();
    assert_eq!(tested.share.percent(), 2.5);
    assert_eq!(tested.shape.as_ref().unwrap().schema(), "{\"type\":\"object\"}");
    assert!(plan.prompts.find("canvas.generate").is_some());
}

#[test]
fn a_file_takes_the_whole_place_of_a_shipped_version() {
    let place = Place::new("instead");
    place.write("prompts/canvas.generate/1.toml", ACTIVE);
    let plan = place.load().unwrap();
    let version = prompt(&plan, "canvas.generate").active().unwrap();
    assert!(version.shape.is_none() && version.max_tokens.is_none());
}

/// As in the image, which has a copy of the default configuration's folder.
#[test]
fn a_copy_of_a_shipped_file_is_not_the_users() {
    let place = Place::new("copy");
    place.write("prompts/order.parse/1.toml", include_str!("../../config/prompts/order.parse/1.toml"));
    place.write("gateway.toml", "[prompt.'order.parse'.2]\nstatus = 'active'\ntemplate = '{{ text }}'\n");
    assert_eq!(prompt(&place.load().unwrap(), "order.parse").active().unwrap().number, 2);
    place.write("prompts/order.parse/1.toml", "status = 'active'\ntemplate = '{{ text }}'\n");
    assert!(place.problems().contains("versions 1, 2 are all `active`"));
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_name_and_line() {
    let place = Place::new("wrong");
    place.write("prompts/a/1.toml", "status = 'active'\ntemplate = \"\"\"\nHello\n{{ name\n\"\"\"\n");
    place.write("prompts/a/latest.toml", ACTIVE);
    place.write("prompts/b/1.toml", "status = \n");
    place.write("prompts/c.toml", ACTIVE);
    place.write("prompts/d/1.toml", "status = 'active'\ntemplate = 'x'\noutput_schema_file = 'd.json'\nmodle = 'x'\n");
    place.write("prompts/d/d.json", "{\n  \"type\": objekt\n}");
    place.write("gateway.toml", "[prompt.e.1]\nstatus = 'active'\ntemplate = 'x'\n");
    place.write("prompts/e/1.toml", ACTIVE);
    let told = place.problems();
    for line in [
        "prompts/a/1.toml:4:1: prompt.a.1.template: line 2 of the template: ",
        "prompts/a/latest.toml:1:1: prompt.a: \"latest\" is not a version: a whole number",
        "prompts/b/1.toml:1:",
        "prompts/c.toml: a prompt's file is KEY/VERSION.toml: put it into a folder named after the prompt's key",
        "prompts/d/d.json:2:11: prompt.d.1.output_schema: not JSON: expected value",
        "prompts/d/1.toml:4:1: prompt.d.1.modle: unknown key, did you mean `model`?",
        "prompts/e/1.toml:1:1: prompt.e.1: this version is also written at gateway.toml:1:11: remove one of them",
    ] {
        assert!(told.lines().any(|it| it.starts_with(line)), "{line}\n{told}");
    }
}

#[test]
fn a_folder_that_is_named_must_be_there() {
    let place = Place::new("named");
    place.write("gateway.toml", "[prompts]\nfolder = 'mine'\n");
    let told = place.problems();
    assert!(told.starts_with("gateway.toml:2:10: prompts.folder: cannot read the folder "), "{told}");
    place.write("mine/a/1.toml", ACTIVE);
    assert!(place.load().unwrap().prompts.find("a").is_some());
    let _ = fs::remove_dir_all(place.0.join("prompts"));
    place.write("gateway.toml", "");
    assert!(place.load().unwrap().prompts.find("a").is_none());
}

#[test]
fn a_comparison_shows_what_changed_in_a_prompt() {
    let place = Place::new("against");
    place.write("prompts/a/1.toml", ACTIVE);
    let schema = |word: &str| format!("{ACTIVE}[output_schema]\ntype = 'object'\ntitle = '{word}'\n");
    place.write("prompts/b.c/1.toml", &schema("old"));
    let before = place.load().unwrap().effective;
    place.write("prompts/a/1.toml", &ACTIVE.replace("Say", "Tell"));
    place.write("prompts/b.c/1.toml", &schema("new"));
    let after = place.load().unwrap().effective;
    let changes = before.dump("").changes(&after.dump(""));
    let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "prompt.\"b.c\".1.output_schema: {\"type\":\"object\",\"title\":\"old\"} -> {\"type\":\"object\",\"title\":\"new\"}",
            "prompt.a.1.template: Say {{ what }}. -> Tell {{ what }}.",
        ]
        .map(|line| line.replace("{\"type\":\"object\",\"title\":\"old\"}", "{\\\"type\\\":\\\"object\\\",\\\"title\\\":\\\"old\\\"}")
            .replace("{\"type\":\"object\",\"title\":\"new\"}", "{\\\"type\\\":\\\"object\\\",\\\"title\\\":\\\"new\\\"}"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_changed_prompt_is_noticed() {
    let place = Place::new("watched");
    place.write("prompts/a/1.toml", &format!("{ACTIVE}output_schema_file = 'a.json'\n"));
    place.write("prompts/a/a.json", "{}");
    let mut watch = Watch::new(Some(&place.config()));
    for (name, text) in [
        ("prompts/a/1.toml", ACTIVE.replace("Say", "Tell") + "output_schema_file = 'a.json'\n"),
        ("prompts/a/a.json", "{\"type\": \"object\"}".into()),
        ("prompts/a/2.toml", ACTIVE.replace("active", "draft")),
        ("prompts/b/1.toml", ACTIVE.into()),
    ] {
        place.write(name, &text);
        watch.changed().await.unwrap();
    }
    fs::remove_file(place.0.join("prompts/a/2.toml")).unwrap();
    watch.changed().await.unwrap();
}

/// The shipped prompts are those of the repository's folder, which is also the folder beside the default file.
#[test]
fn the_folder_of_the_repository_is_what_is_shipped() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let from_folder = load_from(Some(&root.join("config/gateway.toml"))).unwrap().plan;
    let shipped = load(None, &Variables::default()).unwrap();
    assert_eq!(format!("{:?}", from_folder.prompts), format!("{:?}", shipped.prompts));
}
