//! An operators' endpoint: its path, its methods, who may use it, its body limit, its handler, and its part of the
//! OpenAPI document. `routes` has the table of them.
//!
//! It knows no endpoint.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Method;
use http::request::Parts;

use crate::caller::Answered;
use crate::gateway::Gateway;
use crate::model::call::Principal;
use crate::server::current::Current;
use crate::server::operator::answer::Problem;

/// What an endpoint is about: its route's name in logs and metrics, and its tag in the OpenAPI document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Health, metrics, and what the gateway is.
    Health,
    /// What operators change: flags, keys, cached responses, the log's level.
    Admin,
    /// Work that callers do not wait for.
    Jobs,
    /// What happened to calls.
    Explain,
    /// What calls cost.
    Usage,
    /// The live page.
    Page,
    /// Simulated providers.
    Demo,
}

impl Section {
    /// Every section with its name.
    pub const ALL: [(Section, &str); 7] = [
        (Section::Health, "health"),
        (Section::Admin, "admin"),
        (Section::Jobs, "jobs"),
        (Section::Explain, "explain"),
        (Section::Usage, "usage"),
        (Section::Page, "page"),
        (Section::Demo, "control"),
    ];

    /// Its name.
    pub fn name(self) -> &'static Arc<str> {
        static NAMES: LazyLock<[Arc<str>; 7]> = LazyLock::new(|| Section::ALL.map(|(_, name)| name.into()));
        &NAMES[self as usize]
    }
}

/// Who may use an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone who reaches the address.
    Anyone,
    /// Anyone, within the rule `health` of the limits.
    Limited,
    /// A caller that shows a credential; it sees its own numbers.
    Caller,
    /// Whoever is on this machine; others show the admin token.
    Local,
    /// Whoever reads what tells of callers: on this machine, as long as only this machine reaches the address; otherwise with
    /// the admin token.
    Reader,
    /// Whoever shows the admin token.
    Admin,
}

/// A method that endpoints have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET, and HEAD.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
}

impl Verb {
    /// The verb of a request.
    pub fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET | Method::HEAD => Some(Self::Get),
            Method::POST => Some(Self::Post),
            Method::PUT => Some(Self::Put),
            Method::DELETE => Some(Self::Delete),
            _ => None,
        }
    }

    /// As `Allow` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// As OpenAPI has it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

/// A request that was let in.
pub(in crate::server) struct OperatorRequest<'a> {
    /// The gateway that it is about.
    pub(in crate::server) gateway: &'a Gateway,
    /// The pointer to the gateway, for what goes on while one takes the place of another.
    pub(in crate::server) current: Option<&'a Arc<Current>>,
    /// Where it comes from.
    pub(in crate::server) from: IpAddr,
    /// Its head.
    pub(in crate::server) parts: &'a Parts,
    /// What its path says for `{name}`; empty where it has none.
    pub(in crate::server) name: &'a str,
    /// Its body.
    pub(in crate::server) body: Bytes,
    /// Whether addresses of providers may be shown.
    pub(in crate::server) shows_insides: bool,
    /// The caller whose own numbers may be read; `None`: an operator reads everybody's.
    pub(in crate::server) principal: Option<Principal>,
}

/// What answers a request.
#[derive(Clone, Copy)]
pub(in crate::server) enum Handler {
    /// From what is in memory.
    Now(fn(&OperatorRequest<'_>) -> Result<Answered, Problem>),
    /// With the store.
    Later(for<'a> fn(&'a OperatorRequest<'a>) -> BoxFuture<'a, Result<Answered, Problem>>),
}

/// One method of an endpoint.
#[derive(Clone, Copy)]
pub struct Operation {
    /// The method.
    pub verb: Verb,
    /// Who may use it at the operators' address.
    pub access: Access,
    /// The largest body, in bytes; 0: none is read.
    pub max_body: usize,
    pub(in crate::server) handler: Handler,
    /// What the OpenAPI document says of it.
    pub docs: Docs,
}

/// One answer of an operation: its status, its content type, and the name of its schema.
pub type Response = (u16, &'static str, &'static str);

/// What the OpenAPI document says of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Docs {
    /// Its `operationId`.
    pub id: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Its parameters, by their names in the document's components.
    pub parameters: &'static [&'static str],
    /// The name of its body's schema.
    pub body: Option<&'static str>,
    /// False where an empty body will do.
    pub needs_body: bool,
    /// Its answers.
    pub answers: &'static [Response],
    /// What else may go wrong: statuses of problem details besides those that follow from who may use it and what it takes.
    pub problems: &'static [u16],
}

impl Docs {
    pub(super) const fn parameters(self, parameters: &'static [&'static str]) -> Self {
        Self { parameters, ..self }
    }

    pub(super) const fn body(self, schema: &'static str) -> Self {
        Self { body: Some(schema), needs_body: true, ..self }
    }

    pub(super) const fn optional_body(self, schema: &'static str) -> Self {
        Self { body: Some(schema), ..self }
    }

    pub(super) const fn problems(self, problems: &'static [u16]) -> Self {
        Self { problems, ..self }
    }
}

/// Where else than at the operators' address an endpoint answers.
#[derive(Clone, Copy)]
pub struct AtCallers {
    /// Who may use it there.
    pub access: Access,
    /// Whether it is there at all, by the configuration and the world.
    pub is_open: fn(&Gateway) -> bool,
    /// The same in words; empty: always.
    pub condition: &'static str,
    /// True for what orchestrators and Prometheus read, over HTTP too where HTTPS is a must.
    pub is_monitored: bool,
}

/// One endpoint.
pub struct Endpoint {
    /// Its path; `{name}` stands for one segment.
    pub path: &'static str,
    /// What it is about.
    pub section: Section,
    /// Whether the operators' address has it.
    pub is_at_operators: bool,
    /// How the callers' address has it, if it does.
    pub at_callers: Option<AtCallers>,
    /// Its methods.
    pub operations: &'static [Operation],
}

impl Endpoint {
    /// What a method does here.
    pub fn operation(&self, method: &Method) -> Option<&'static Operation> {
        let verb = Verb::of(method)?;
        self.operations.iter().find(|operation| operation.verb == verb)
    }

    /// Its methods, as `Allow` has them.
    pub fn allow(&self) -> String {
        self.operations.iter().map(|operation| operation.verb.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// An endpoint that a path has led to.
#[derive(Clone, Copy)]
pub(in crate::server) struct Found<'p> {
    pub(in crate::server) endpoint: &'static Endpoint,
    /// What the path says for `{name}`.
    pub(in crate::server) name: &'p str,
}
