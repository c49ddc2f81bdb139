//! Golden files of the dialects: every `tests/golden/DIALECT/*.json` is a list of cases, each an input and what is
//! expected of it. It does not know any dialect: it reads cases, asks the dialect, and compares.
//!
//! `TIDEGATE_BLESS=1 cargo test --test golden` writes what came out into the files; read the difference before you
//! commit it. Which words a case may use: `tests/golden/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;
#[path = "golden/jobs.rs"]
mod jobs;
#[path = "golden/render.rs"]
mod render;
#[path = "golden/translate.rs"]
mod translate;
#[path = "golden/words.rs"]
mod words;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tidegate::caller::{self, Answered, Incoming};
use tidegate::config::plan::{CallKind, CallerKind, ProviderKind};
use tidegate::model::fault::Fault;
use tidegate::provider::{self, Expect, ResponseHead};

use crate::words::Case;

#[test]
fn every_case_comes_out_as_its_file_says() {
    let is_blessing = std::env::var_os("TIDEGATE_BLESS").is_some_and(|value| value == "1");
    let (mut wrong, mut count) = (String::new(), 0);
    for path in files() {
        let mut cases: Vec<Map<String, Value>> = serde_json::from_slice(&std::fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let dialect = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        for fields in &mut cases {
            count += 1;
            let name = fields["name"].as_str().expect("a case has a name").to_owned();
            let came_out = run(&dialect, &Case(fields));
            assert!(!came_out.to_string().contains("canary"), "{name}: a secret came out: {came_out:#}");
            if fields.get("expected") != Some(&came_out) {
                let expected = fields.get("expected").unwrap_or(&Value::Null);
                let where_it_is = format!("{} / {name}", path.display());
                writeln!(wrong, "{where_it_is}\n--- expected\n{expected:#}\n+++ came out\n{came_out:#}\n").unwrap();
                fields.insert("expected".into(), came_out);
            }
        }
        if is_blessing {
            std::fs::write(&path, format!("{:#}\n", json!(cases))).unwrap();
        }
    }
    assert!(count > 0, "there are no cases");
    assert!(is_blessing || wrong.is_empty(), "\n{wrong}");
}

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let list = |dir: &Path| dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut files: Vec<_> = list(&root).iter().filter(|path| path.is_dir()).flat_map(|dir| list(dir)).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

/// Does what the case says. `openai` is a caller and a provider; the verb tells which is meant.
fn run(dialect: &str, case: &Case<'_>) -> Value {
    let caller = || match dialect {
        "openai" => CallerKind::OpenAi,
        "anthropic-caller" => CallerKind::Anthropic,
        "restaurant" => CallerKind::Restaurant,
        "canvas" => CallerKind::Canvas,
        "widget" => CallerKind::Widget,
        other => panic!("{other} is not a caller"),
    };
    let provider = || match dialect {
        "openai" => ProviderKind::OpenAi,
        "buildpanel" => ProviderKind::BuildPanel,
        "anthropic" => ProviderKind::Anthropic,
        other => panic!("{other} is not a provider"),
    };
    match case.text("do") {
        "decode" => decode(caller(), case),
        "encode" => encode(caller(), case),
        "refuse" => refuse(caller(), case),
        "local" => local(caller(), case),
        "request" => request(provider(), case),
        "reply" => reply(provider(), case),
        "refusal" => refusal(provider(), case),
        "events" => events(provider(), case),
        "translate" => translate::translate(case),
        other => panic!("`{other}` is no verb"),
    }
}

fn call_kind(case: &Case<'_>) -> CallKind {
    let word = case.text("call");
    CallKind::ALL.iter().find(|(_, known)| *known == word).map(|(kind, _)| *kind).expect("a kind of call")
}

fn refused(kind: CallerKind, call: CallKind, fault: &Fault) -> Value {
    let (head, prices) = (fixtures::head("r1", None), fixtures::prices());
    let answered = caller::dialect(kind).refuse(&fixtures::about(call, &head, None, &prices), fault);
    render::answered(answered)
}

fn decode(kind: CallerKind, case: &Case<'_>) -> Value {
    let route = fixtures::route(kind, call_kind(case), case.optional_text("route_model"));
    let method = case.optional_text("method").unwrap_or("POST").parse().unwrap();
    let headers = case.headers();
    let incoming = Incoming {
        route: &route,
        method: &method,
        path_and_query: case.optional_text("path").unwrap_or("/golden"),
        headers: &headers,
        body: case.body("body"),
    };
    let decoded = match route.call.is_about_jobs() {
        true => jobs::decode(kind, case, &incoming).map(|request| json!({ "jobs": request })),
        false => caller::dialect(kind).decode(&incoming).map(|request| json!({ "asked": render::ask(&request) })),
    };
    match decoded {
        Ok(read) => read,
        Err(fault) => json!({ "refused": refused(kind, route.call, &fault) }),
    }
}

fn encode(kind: CallerKind, case: &Case<'_>) -> Value {
    if call_kind(case).is_about_jobs() {
        return jobs::encode(kind, case);
    }
    let (head, prices, request) = (fixtures::head("r1", Some("u1")), fixtures::prices(), case.asked());
    let about = fixtures::about(call_kind(case), &head, request.as_ref(), &prices);
    or_fault(caller::dialect(kind).encode(&about, case.reply()))
}

fn refuse(kind: CallerKind, case: &Case<'_>) -> Value {
    refused(kind, call_kind(case), &case.fault("fault"))
}

fn local(kind: CallerKind, case: &Case<'_>) -> Value {
    let (head, prices) = (fixtures::head("r1", None), fixtures::prices());
    let about = fixtures::about(call_kind(case), &head, None, &prices);
    or_fault(caller::dialect(kind).local(&about, &case.snapshot()))
}

fn or_fault(result: Result<Answered, Fault>) -> Value {
    match result {
        Ok(answered) => render::answered(answered),
        Err(fault) => json!({ "fault": render::fault(&fault) }),
    }
}

/// The provider's name is the case's, else that of its kind.
fn plan(kind: ProviderKind, case: &Case<'_>) -> std::sync::Arc<tidegate::config::plan::ProviderPlan> {
    let own = match kind {
        ProviderKind::BuildPanel => "buildpanel",
        ProviderKind::OpenAi => "openai",
        ProviderKind::Anthropic => "anthropic",
    };
    fixtures::provider(kind, case.optional_text("provider").unwrap_or(own))
}

fn call_of(case: &Case<'_>) -> tidegate::model::call::Call {
    let head = fixtures::head(case.optional_text("tenant").unwrap_or("r1"), case.optional_text("user"));
    let request = case.asked().expect("what is asked");
    let call = fixtures::call(head, request, case.optional_text("model"), case.optional_text("instruction"));
    tidegate::model::call::Call { said: case.optional_text("said").map(Into::into), ..call }
}

fn request(kind: ProviderKind, case: &Case<'_>) -> Value {
    match provider::dialect(kind).encode(&call_of(case), &plan(kind, case)) {
        Ok(request) => json!({
            "method": request.method.as_str(),
            "path": request.path,
            "headers": render::headers(&request.headers),
            "body": render::body(&request.body),
        }),
        Err(fault) => json!({ "fault": render::fault(&fault) }),
    }
}

fn reply(kind: ProviderKind, case: &Case<'_>) -> Value {
    let (call, dialect) = (call_of(case), provider::dialect(kind));
    let head = ResponseHead { status: case.status(200), headers: case.headers() };
    match dialect.expect(&call, &head, b"") {
        Expect::Events => json!({ "expect": "events" }),
        Expect::Bytes => json!({ "expect": "bytes" }),
        Expect::Whole => match dialect.decode(&call, &plan(kind, case), head, case.body("body")) {
            Ok(decoded) => json!({ "reply": render::reply(*decoded.reply), "usage": render::usage(decoded.usage) }),
            Err(fault) => json!({ "fault": render::fault(&fault) }),
        },
    }
}

fn refusal(kind: ProviderKind, case: &Case<'_>) -> Value {
    let head = ResponseHead { status: case.status(500), headers: case.headers() };
    render::fault(&provider::dialect(kind).refusal(&plan(kind, case), head, case.body("body")))
}

fn events(kind: ProviderKind, case: &Case<'_>) -> Value {
    let mut reader = provider::dialect(kind).events(&call_of(case), &plan(kind, case));
    let read: Vec<_> =
        case.events().iter().map(|(name, data)| render::read(&reader.read(name.as_deref(), data))).collect();
    json!({
        "read": read,
        "is_complete": reader.is_complete(),
        "missing": String::from_utf8_lossy(reader.missing_terminator()),
        "usage": render::usage(reader.usage()),
    })
}
