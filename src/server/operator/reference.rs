//! Reference: the table of endpoints as a page for readers, and the OpenAPI document of the default routes.
//!
//! Both are printed by `tidegate reference`, and committed in `docs/`.

use std::fmt::Write;

use crate::config::{self, Variables};
use crate::server::operator::endpoint::{Access, Endpoint};
use crate::server::operator::routes::{self, ENDPOINTS};

const INTRODUCTION: &str = "\
# The admin API

Generated from the program (`make generate`). Requests, responses and errors in full are in
[`openapi.json`](openapi.json), which a gateway serves at `GET /openapi.json` for the routes in
force. Errors are problem details (RFC 9457). GET endpoints answer HEAD too; other methods get 405
with `Allow`.

| access | who |
| --- | --- |
| anyone | whoever reaches the listener |
| limited | anyone, within the rule `health` of the [limits](limits.md) |
| caller | a caller that shows a credential and sees its own numbers; the admin token sees everyone's |
| local | this machine; from elsewhere with the admin token |
| reader | this machine, while `server.admin` is on loopback; otherwise with the admin token |
| admin | the admin token (`ADMIN_TOKEN`) |

With the admin token everything is allowed, through any proxy. Pages of other websites are refused
([operating](operating.md)).
";

/// The page, in Markdown.
pub fn page() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("\n| method and path | admin listener | public listener | largest body | what it does |\n");
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for endpoint in ENDPOINTS {
        for operation in endpoint.operations {
            let method = operation.verb.key().to_ascii_uppercase();
            let admin = if endpoint.is_at_operators { word(operation.access) } else { "-" };
            let body = if operation.docs.body.is_some() { size(operation.max_body) } else { "-".into() };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| `{method} {}` | {admin} | {} | {body} | {} |",
                endpoint.path,
                public(endpoint),
                operation.docs.summary
            );
        }
    }
    text
}

fn public(endpoint: &Endpoint) -> String {
    let Some(here) = endpoint.at_callers else { return "-".into() };
    match here.condition {
        "" => word(here.access).into(),
        condition => format!("{}, {condition}", word(here.access)),
    }
}

fn word(access: Access) -> &'static str {
    match access {
        Access::Anyone => "anyone",
        Access::Limited => "limited",
        Access::Caller => "caller",
        Access::Local => "local",
        Access::Reader => "reader",
        Access::Admin => "admin",
    }
}

fn size(bytes: usize) -> String {
    format!("{} KiB", bytes / 1024)
}

/// The OpenAPI document of the table and of the default routes, in JSON with a line feed at its end.
pub fn openapi() -> String {
    // A test loads the defaults.
    let routes = config::load(None, &Variables::default()).map(|plan| plan.routes).unwrap_or_default();
    format!("{:#}\n", routes::document(&routes))
}
