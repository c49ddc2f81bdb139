//! OpenAPI: the operators' endpoints, and the routes of callers whose dialect is the gateway's own, as an OpenAPI 3.1 document.
//!
//! What it says of endpoints is in the table of `routes`, what it says of dialects in `dialects`, and the schemas of both are in
//! `components.json`; a test compares them with real answers. OpenAI's routes are left out: OpenAI documents them.

mod dialects;

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value, json};

use self::dialects::Dialect;
use crate::config::plan::{AuthMethod, RoutePlan};
use crate::server::operator::endpoint::{Access, Endpoint, Operation, Response, Section};

const COMPONENTS: &str = include_str!("components.json");

const DESCRIPTION: &str = "\
The operators' API, and the routes of callers that speak one of the gateway's own dialects. The OpenAI-compatible routes \
(`/v1/*`) are not described here: they take and give what OpenAI's API reference says.";

const PROBLEM: &str = "application/problem+json";

/// The document of these endpoints and routes.
pub(super) fn document(endpoints: &[Endpoint], routes: &[Arc<RoutePlan>]) -> Value {
    let mut paths = Paths::default();
    for endpoint in endpoints {
        paths.add_endpoint(endpoint);
    }
    for route in routes {
        paths.add_route(route);
    }
    // Part of the program, and read by a test.
    let components: Value = serde_json::from_str(COMPONENTS).unwrap_or_default();
    let tags = Section::ALL.iter().map(|(_, name)| *name).chain(dialects::TAGS);
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Tidegate", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION},
        "servers": [CALLERS.document(), OPERATORS.document()],
        "tags": tags.map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "paths": paths.paths,
        "components": components,
    })
}

/// An address of the gateway.
struct Address {
    port: &'static str,
    description: &'static str,
}

const CALLERS: Address =
    Address { port: "3001", description: "The callers' address: HOST and PORT, or `server.listen`" };

const OPERATORS: Address =
    Address { port: "9901", description: "The operators' address: ADMIN_ADDR, or `server.admin`" };

impl Address {
    fn document(&self) -> Value {
        json!({
            "url": "http://{host}:{port}",
            "description": self.description,
            "variables": {"host": {"default": "localhost"}, "port": {"default": self.port}},
        })
    }
}

#[derive(Default)]
struct Paths {
    paths: Map<String, Value>,
    ids: BTreeSet<String>,
}

impl Paths {
    fn add_endpoint(&mut self, endpoint: &Endpoint) {
        let addresses = [(endpoint.is_at_operators, OPERATORS), (endpoint.at_callers.is_some(), CALLERS)];
        let servers: Vec<Value> =
            addresses.iter().filter(|(is_there, _)| *is_there).map(|(_, address)| address.document()).collect();
        for operation in endpoint.operations {
            let id = self.unique(operation.docs.id);
            self.put(endpoint.path, &servers, operation.verb.key(), operator_operation(endpoint, operation, &id));
        }
    }

    fn add_route(&mut self, route: &RoutePlan) {
        let Some(dialect) = dialects::of(route.caller, route.call) else { return };
        for path in &route.paths {
            for method in route.methods.iter().filter(|method| **method != Method::HEAD) {
                let id = self.unique(&operation_id(&route.name));
                let path = path.replace("{*", "{");
                let key = method.as_str().to_ascii_lowercase();
                self.put(&path, &[CALLERS.document()], &key, caller_operation(route, &dialect, &path, &id));
            }
        }
    }

    fn put(&mut self, path: &str, servers: &[Value], method: &str, operation: Value) {
        let item = self.paths.entry(path).or_insert_with(|| json!({"servers": servers}));
        if item.get(method).is_none() {
            item[method] = operation;
        }
    }

    /// This id, or one that is not taken: routes have any names.
    fn unique(&mut self, id: &str) -> String {
        let numbered = (2..).map(|number| format!("{id}{number}"));
        let free = std::iter::once(id.to_owned()).chain(numbered).find(|id| !self.ids.contains(id)).unwrap_or_default();
        self.ids.insert(free.clone());
        free
    }
}

/// `restaurant-chat` as `callRestaurantChat`.
fn operation_id(route: &str) -> String {
    let words = route.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    words.fold("call".to_owned(), |id, word| id + &capital(word))
}

fn operator_operation(endpoint: &Endpoint, operation: &Operation, id: &str) -> Value {
    let docs = &operation.docs;
    let mut responses = responses(docs.answers);
    for status in problems(endpoint, operation) {
        responses.insert(status.to_string(), problem("Problem", PROBLEM, reason(status)));
    }
    if endpoint.at_callers.is_some_and(|here| here.access == Access::Limited) {
        responses.insert("429".into(), problem("HealthLimited", "application/json", reason(429)));
    }
    let mut document = json!({
        "operationId": id,
        "summary": docs.summary,
        "tags": [&**endpoint.section.name()],
        "security": security(endpoint, operation),
        "parameters": parameters(endpoint.path, docs.parameters),
        "responses": responses,
    });
    if let Some(schema) = docs.body {
        document["requestBody"] = body("application/json", schema, docs.needs_body);
        document["x-max-bytes"] = operation.max_body.into();
    }
    document
}

/// What can go wrong, besides what the table says.
fn problems(endpoint: &Endpoint, operation: &Operation) -> BTreeSet<u16> {
    let mut problems: BTreeSet<u16> = operation.docs.problems.iter().copied().collect();
    if operation.access != Access::Anyone || endpoint.at_callers.is_some_and(|here| here.access == Access::Admin) {
        problems.extend([401, 403, 429]);
    }
    if operation.docs.body.is_some() {
        problems.extend([400, 413]);
    }
    if endpoint.path.contains('{') {
        problems.insert(404);
    }
    problems
}

/// Who may: each of these is enough, and `{}` is nothing at all.
fn security(endpoint: &Endpoint, operation: &Operation) -> Value {
    let mut security = match operation.access {
        Access::Anyone | Access::Limited => vec![],
        Access::Admin => vec![json!({"adminToken": []})],
        Access::Reader | Access::Local | Access::Caller => vec![json!({}), json!({"adminToken": []})],
    };
    if endpoint.at_callers.is_some_and(|here| here.access == Access::Caller) {
        security.extend([json!({"token": []}), json!({"apiKey": []})]);
    }
    security.into()
}

fn caller_operation(route: &RoutePlan, dialect: &Dialect, path: &str, id: &str) -> Value {
    let mut responses = responses(dialect.answers);
    for (status, schema) in dialect.errors {
        let (key, description) = match status {
            0 => ("default".to_owned(), "Refused, or failed"),
            status => (status.to_string(), reason(*status)),
        };
        responses.insert(key, problem(schema, "application/json", description));
    }
    let schemes = route.auth.methods.iter().map(|method| match method {
        AuthMethod::Jwt => json!({"token": []}),
        AuthMethod::ApiKey => json!({"apiKey": []}),
    });
    let mut document = json!({
        "operationId": id,
        "summary": dialect.summary,
        "tags": [dialect.tag],
        "security": schemes.collect::<Vec<_>>(),
        "parameters": parameters(path, &[]),
        "responses": responses,
    });
    if let Some((content_type, schema)) = dialect.body {
        document["requestBody"] = body(content_type, schema, true);
        document["x-max-bytes"] = route.max_body.into();
    }
    document
}

fn responses(answers: &[Response]) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, content_type, schema) in answers {
        let response = responses.entry(status.to_string()).or_insert_with(|| json!({"description": reason(*status)}));
        if !content_type.is_empty() {
            response["content"][*content_type] = json!({"schema": reference("schemas", schema)});
        }
    }
    responses
}

fn problem(schema: &str, content_type: &str, description: &str) -> Value {
    json!({"description": description, "content": {content_type: {"schema": reference("schemas", schema)}}})
}

fn body(content_type: &str, schema: &str, is_required: bool) -> Value {
    json!({"required": is_required, "content": {content_type: {"schema": reference("schemas", schema)}}})
}

/// Those in the path, and these others.
fn parameters(path: &str, others: &[&str]) -> Value {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    in_path.chain(others.iter().map(|name| reference("parameters", name))).collect()
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}
