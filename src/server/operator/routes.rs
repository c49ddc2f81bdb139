//! The table of the operators' endpoints. Everything that names them reads it: access control, the reserved paths
//! of the configuration, the 405 and the text of the 404, the reference and the OpenAPI document.

use std::sync::{Arc, LazyLock};

use http::StatusCode;
use matchit::Router;
use serde_json::Value;

use self::Access::{Admin, Anyone, Limited, Local, Reader};
use self::Handler::{Later, Now};
use crate::config::plan::RoutePlan;
use crate::gateway::Gateway;
use crate::model::operator_paths as paths;
use crate::server::operator::answer::{Problem, ok};
use crate::server::operator::endpoint::{
    Access, AtCallers, Docs, Endpoint, Found, Handler, Operation, Response, Section, Verb,
};
use crate::server::operator::{
    configuration, demo, explain, flags, health, history, jobs, keys, log_level, openapi, page, purge, usage, what_if,
};

/// The largest body of most endpoints, in bytes.
const BODY: usize = 16 * 1024;

/// The largest body where only a few words are needed.
const SMALL_BODY: usize = 4096;

const JSON: &str = "application/json";
const HTML: &str = "text/html";
const TEXT: &str = "text/plain";

const EXPLAIN_FORMAT: &str = "format";
const EXPLAIN_QUERY: &[&str] = &[
    "format",
    "limit",
    "callState",
    "callRoute",
    "outcome",
    "callTenant",
    "callProvider",
    "callVariant",
    "limitRule",
    "callBudget",
    "slow",
];
const JOBS_QUERY: &[&str] = &["jobState", "jobTenant", "jobKind", "jobBefore", "jobLimit"];
const USAGE_QUERY: &[&str] = &[
    "period",
    "from",
    "to",
    "by",
    "usageFormat",
    "usageTenant",
    "usageUser",
    "usageApiKey",
    "usageSession",
    "usageRoute",
    "usageModel",
    "usageProvider",
];

/// At the callers' address in any case.
const fn open(access: Access) -> Option<AtCallers> {
    Some(AtCallers { access, is_open: always, condition: "", is_monitored: true })
}

/// At the callers' address under a condition.
const fn open_if(is_open: fn(&Gateway) -> bool, condition: &'static str, access: Access) -> Option<AtCallers> {
    Some(AtCallers { access, is_open, condition, is_monitored: false })
}

fn always(_: &Gateway) -> bool {
    true
}

fn shows_insides(gateway: &Gateway) -> bool {
    gateway.plan.server.shows_insides
}

/// What endpoints at the callers' address need that only the admin token opens.
const WITH_TOKEN: &str = "if `ADMIN_TOKEN` is set";

/// Without a token nobody could use it.
fn has_token(gateway: &Gateway) -> bool {
    gateway.plan.auth.admin_token.is_some()
}

fn is_simulated(gateway: &Gateway) -> bool {
    gateway.world.simulation().is_some()
}

const fn endpoint(
    path: &'static str,
    section: Section,
    at_callers: Option<AtCallers>,
    operations: &'static [Operation],
) -> Endpoint {
    Endpoint { path, section, is_at_operators: true, at_callers, operations }
}

const fn docs(id: &'static str, summary: &'static str, answers: &'static [Response]) -> Docs {
    Docs { id, summary, parameters: &[], body: None, needs_body: false, answers, problems: &[] }
}

const fn get(access: Access, handler: Handler, docs: Docs) -> Operation {
    Operation { verb: Verb::Get, access, max_body: 0, handler, docs }
}

/// A change, for operators only.
const fn change(verb: Verb, max_body: usize, handler: Handler, docs: Docs) -> Operation {
    Operation { verb, access: Admin, max_body, handler, docs }
}

/// Every endpoint.
pub static ENDPOINTS: &[Endpoint] = &[
    endpoint(
        paths::HEALTH,
        Section::Health,
        open(Limited),
        &[get(Anyone, Now(health::health), docs("getHealth", "Whether the process runs", &[(200, JSON, "Health")]))],
    ),
    endpoint(
        paths::HEALTH_LIVE,
        Section::Health,
        open(Anyone),
        &[get(Anyone, Now(health::live), docs("getLiveness", "Liveness probe", &[(200, JSON, "Liveness")]))],
    ),
    endpoint(
        paths::HEALTH_READY,
        Section::Health,
        open(Anyone),
        &[get(
            Anyone,
            Now(health::ready),
            docs(
                "getReadiness",
                "Readiness probe: 503 while the gateway shuts down",
                &[(200, JSON, "Ready"), (503, JSON, "NotReady")],
            ),
        )],
    ),
    endpoint(
        paths::HEALTH_STATUS,
        Section::Health,
        open(Limited),
        &[get(
            Anyone,
            Now(health::status),
            docs(
                "getStatus",
                "Health of every provider, of the store and of the configuration; 503 if nothing can answer",
                &[(200, JSON, "Status"), (503, JSON, "Status")],
            ),
        )],
    ),
    endpoint(
        paths::INFO,
        Section::Health,
        open(Limited),
        &[get(Anyone, Now(health::info), docs("getInfo", "Version, providers and models", &[(200, JSON, "Info")]))],
    ),
    endpoint(
        paths::METRICS,
        Section::Health,
        Some(AtCallers {
            access: Anyone,
            is_open: shows_insides,
            condition: "with `server.show_insides`",
            is_monitored: true,
        }),
        &[get(
            Anyone,
            Now(health::metrics),
            docs("getMetrics", "Metrics in Prometheus' text format, or OpenMetrics", &[(200, TEXT, "Text")]),
        )],
    ),
    endpoint(
        paths::CONFIG,
        Section::Health,
        None,
        &[get(
            Reader,
            Now(configuration::show),
            docs("getConfig", "The configuration in force, without secrets", &[(200, JSON, "Config")]),
        )],
    ),
    endpoint(
        paths::USAGE,
        Section::Usage,
        open_if(usage::is_open, "if callers can be told apart", Access::Caller),
        &[get(
            Reader,
            Later(|request| Box::pin(usage::answer(request))),
            docs(
                "getUsage",
                "Calls, tokens and cost: a caller's own, or everybody's for operators",
                &[(200, JSON, "Usage"), (200, "text/csv", "Text")],
            )
            .parameters(USAGE_QUERY)
            .problems(&[400]),
        )],
    ),
    endpoint(
        paths::FLAGS,
        Section::Admin,
        open_if(has_token, WITH_TOKEN, Admin),
        &[get(Reader, Now(flags::list), docs("listFlags", "All flags", &[(200, JSON, "Flags")]))],
    ),
    endpoint(
        paths::FLAG,
        Section::Admin,
        open_if(has_token, WITH_TOKEN, Admin),
        &[
            get(Reader, Now(flags::show), docs("getFlag", "One flag", &[(200, JSON, "Flag")])),
            change(
                Verb::Put,
                BODY,
                Later(|request| Box::pin(flags::set(request))),
                docs(
                    "setFlag",
                    "Switch a flag on or off, for everybody, a share, tenants or tiers",
                    &[(200, JSON, "Flag")],
                )
                .parameters(&["ifMatch"])
                .body("FlagUpdate")
                .problems(&[409, 503]),
            ),
        ],
    ),
    endpoint(
        paths::FLAG_HISTORY,
        Section::Admin,
        open_if(has_token, WITH_TOKEN, Admin),
        &[get(
            Reader,
            Now(flags::history),
            docs("getFlagHistory", "The last changes of a flag: who, when, why", &[(200, JSON, "FlagHistory")]),
        )],
    ),
    endpoint(
        paths::FLAG_UNDO,
        Section::Admin,
        open_if(has_token, WITH_TOKEN, Admin),
        &[change(
            Verb::Post,
            BODY,
            Later(|request| Box::pin(flags::undo(request))),
            docs("undoFlag", "Undo the last change of a flag, or go back to a version", &[(200, JSON, "Flag")])
                .parameters(&["ifMatch"])
                .optional_body("FlagUndo")
                .problems(&[409, 503]),
        )],
    ),
    endpoint(
        paths::KEYS,
        Section::Admin,
        None,
        &[
            get(Admin, Now(keys::list), docs("listKeys", "All API keys", &[(200, JSON, "Keys")])),
            change(
                Verb::Post,
                BODY,
                Later(|request| Box::pin(keys::create(request))),
                docs(
                    "createKey",
                    "Create an API key; the answer alone shows its secret",
                    &[(201, JSON, "KeyWithSecret")],
                )
                .body("NewKey")
                .problems(&[409, 503, 507]),
            ),
        ],
    ),
    endpoint(
        paths::KEY,
        Section::Admin,
        None,
        &[
            get(Admin, Now(keys::show), docs("getKey", "One API key", &[(200, JSON, "Key")])),
            change(
                Verb::Delete,
                BODY,
                Later(|request| Box::pin(keys::revoke(request))),
                docs("revokeKey", "Revoke an API key", &[(200, JSON, "RevokedKey")]).problems(&[409, 503]),
            ),
        ],
    ),
    endpoint(
        paths::KEY_ROTATE,
        Section::Admin,
        None,
        &[change(
            Verb::Post,
            BODY,
            Later(|request| Box::pin(keys::rotate(request))),
            docs(
                "rotateKey",
                "Give an API key a new secret; the old one stays valid for a while",
                &[(200, JSON, "KeyWithSecret")],
            )
            .optional_body("KeyRotation")
            .problems(&[409, 503]),
        )],
    ),
    endpoint(
        paths::JOBS,
        Section::Jobs,
        None,
        &[get(
            Reader,
            Later(|request| Box::pin(jobs::list(request))),
            docs("listJobs", "Jobs, the last to change first, and how many there are", &[(200, JSON, "Jobs")])
                .parameters(JOBS_QUERY)
                .problems(&[400, 404, 503]),
        )],
    ),
    endpoint(
        paths::JOB,
        Section::Jobs,
        None,
        &[
            get(
                Reader,
                Later(|request| Box::pin(jobs::show(request))),
                docs("getJob", "One job; its content only if asked for with the admin token", &[(200, JSON, "Job")])
                    .parameters(&["jobContent"])
                    .problems(&[400, 401, 403, 404, 409, 429, 503]),
            ),
            change(
                Verb::Delete,
                SMALL_BODY,
                Later(|request| Box::pin(jobs::cancel(request))),
                docs("cancelJob", "Cancel a job that has not ended", &[(200, JSON, "Job")]).problems(&[404, 409, 503]),
            ),
        ],
    ),
    endpoint(
        paths::JOB_RETRY,
        Section::Jobs,
        None,
        &[change(
            Verb::Post,
            SMALL_BODY,
            Later(|request| Box::pin(jobs::retry(request))),
            docs("retryJob", "Queue a failed or cancelled job again, from its first attempt", &[(200, JSON, "Job")])
                .problems(&[404, 409, 503]),
        )],
    ),
    endpoint(
        paths::JOBS_PURGE,
        Section::Jobs,
        None,
        &[change(
            Verb::Post,
            SMALL_BODY,
            Later(|request| Box::pin(jobs::purge(request))),
            docs("purgeJobs", "Delete jobs that have ended", &[(200, JSON, "PurgedJobs")])
                .body("JobPurge")
                .problems(&[404, 503]),
        )],
    ),
    endpoint(
        paths::EXPLAIN,
        Section::Explain,
        None,
        &[get(
            Reader,
            Now(explain::list),
            docs("listCalls", "The latest calls, and those in flight", &[(200, JSON, "Calls"), (200, TEXT, "Text")])
                .parameters(EXPLAIN_QUERY)
                .problems(&[400, 404]),
        )],
    ),
    endpoint(
        paths::EXPLAIN_CALL,
        Section::Explain,
        None,
        &[get(
            Reader,
            Now(explain::show),
            docs(
                "explainCall",
                "What happened to a call: attempts, limits, waits, cost",
                &[(200, JSON, "Call"), (200, TEXT, "Text")],
            )
            .parameters(&[EXPLAIN_FORMAT])
            .problems(&[400]),
        )],
    ),
    endpoint(
        paths::LOG,
        Section::Admin,
        None,
        &[
            get(Admin, Now(log_level::show), docs("getLogLevel", "The log level", &[(200, JSON, "LogLevel")])),
            change(
                Verb::Put,
                BODY,
                Now(log_level::change),
                docs("setLogLevel", "Change the log level for a while", &[(200, JSON, "LogLevel")])
                    .body("LogLevelChange"),
            ),
            change(
                Verb::Delete,
                BODY,
                Now(log_level::reset),
                docs("resetLogLevel", "Go back to the configured log level", &[(200, JSON, "LogLevel")]),
            ),
        ],
    ),
    endpoint(
        paths::WHAT_IF,
        Section::Admin,
        None,
        &[
            get(
                Reader,
                Now(what_if::show),
                docs("getWhatIf", "The limits that can be asked about, and the last answer", &[(200, JSON, "WhatIf")]),
            ),
            change(
                Verb::Post,
                SMALL_BODY,
                Now(what_if::begin),
                docs(
                    "askWhatIf",
                    "Simulate the last recorded hour with another rate of one limit, in the background",
                    &[(202, JSON, "WhatIf")],
                )
                .body("WhatIfQuestion")
                .problems(&[409, 503]),
            ),
        ],
    ),
    endpoint(
        paths::PURGE,
        Section::Admin,
        None,
        &[change(
            Verb::Post,
            SMALL_BODY,
            Later(|request| Box::pin(purge::answer(request))),
            docs(
                "purgeCache",
                "Remove cached responses by key, route or tenant, or all of them",
                &[(200, JSON, "Purged")],
            )
            .body("Purge"),
        )],
    ),
    endpoint(
        paths::RESET,
        Section::Admin,
        None,
        &[change(
            Verb::Post,
            BODY,
            Now(health::reset),
            docs("resetBreakers", "Close all circuit breakers", &[(200, JSON, "Done")]),
        )],
    ),
    endpoint(
        paths::HISTORY,
        Section::Page,
        None,
        &[get(
            Reader,
            Now(history::show),
            docs(
                "getHistory",
                "Calls, latency, providers, cache and cost of the last hour or day, and what changed",
                &[(200, JSON, "History")],
            )
            .parameters(&["historySpan"])
            .problems(&[400]),
        )],
    ),
    endpoint(
        paths::LIVE,
        Section::Page,
        None,
        &[get(
            Reader,
            Now(page::live),
            docs(
                "watchGateway",
                "What the live page shows, as server-sent events",
                &[(200, "text/event-stream", "Text")],
            )
            .problems(&[503]),
        )],
    ),
    endpoint(
        paths::PAGE,
        Section::Page,
        None,
        &[get(Anyone, Now(page::html), docs("getPage", "The live page", &[(200, HTML, "Text")]))],
    ),
    endpoint(
        paths::PAGE_FILE,
        Section::Page,
        None,
        &[get(
            Anyone,
            Now(page::file),
            docs(
                "getPageFile",
                "The live page's scripts and style",
                &[(200, "text/javascript", "Text"), (200, "text/css", "Text")],
            ),
        )],
    ),
    endpoint(
        paths::OPENAPI,
        Section::Health,
        None,
        &[get(
            Reader,
            Now(|request| Ok(ok(&document(&request.gateway.plan.routes)))),
            docs(
                "getOpenApi",
                "This API and the routes in force, as an OpenAPI 3.1 document",
                &[(200, JSON, "Object")],
            ),
        )],
    ),
    Endpoint {
        path: paths::DEMO_PROVIDER,
        section: Section::Demo,
        is_at_operators: false,
        at_callers: open_if(is_simulated, "if providers are simulated", Local),
        operations: &[
            get(
                Local,
                Now(demo::show),
                docs(
                    "getSimulatedProvider",
                    "How a simulated provider behaves (demo only)",
                    &[(200, JSON, "SimulatedProvider")],
                ),
            ),
            Operation {
                access: Local,
                ..change(
                    Verb::Put,
                    SMALL_BODY,
                    Now(demo::change),
                    docs(
                        "setSimulatedProvider",
                        "Make a simulated provider fail, stall or recover (demo only)",
                        &[(200, JSON, "SimulatedProvider")],
                    )
                    .body("Behaviour"),
                )
            },
            Operation {
                access: Local,
                ..change(
                    Verb::Post,
                    SMALL_BODY,
                    Now(demo::change),
                    docs("postSimulatedProvider", "The same as PUT", &[(200, JSON, "SimulatedProvider")])
                        .body("Behaviour"),
                )
            },
        ],
    },
];

static AT_OPERATORS: LazyLock<Router<&'static Endpoint>> =
    LazyLock::new(|| router(|endpoint| endpoint.is_at_operators));

static AT_CALLERS: LazyLock<Router<&'static Endpoint>> =
    LazyLock::new(|| router(|endpoint| endpoint.at_callers.is_some()));

fn router(is_there: impl Fn(&Endpoint) -> bool) -> Router<&'static Endpoint> {
    let mut router = Router::new();
    for endpoint in ENDPOINTS.iter().filter(|endpoint| is_there(endpoint)) {
        // A test looks every path up again.
        let _ = router.insert(endpoint.path, endpoint);
    }
    router
}

/// The endpoint at a path of the operators' address.
pub(super) fn find(path: &str) -> Option<Found<'_>> {
    look_up(&AT_OPERATORS, path)
}

/// The endpoint at a path of the callers' address.
pub(super) fn find_at_callers(path: &str) -> Option<Found<'_>> {
    look_up(&AT_CALLERS, path)
}

fn look_up<'p>(router: &Router<&'static Endpoint>, path: &'p str) -> Option<Found<'p>> {
    let found = router.at(path).ok()?;
    let name = found.params.iter().next().map(|(_, value)| value).unwrap_or_default();
    Some(Found { endpoint: found.value, name })
}

/// True for what is among the admin API's paths, whether there is anything or not.
pub(super) fn is_admins(path: &str) -> bool {
    path == "/admin" || path.starts_with("/admin/")
}

/// No endpoint has the path.
pub(super) fn not_found() -> Problem {
    let paths: Vec<&str> = ENDPOINTS.iter().filter(|it| it.is_at_operators).map(|it| it.path).collect();
    Problem::new(StatusCode::NOT_FOUND, format!("no endpoint has this path; the endpoints are: {}", paths.join(", ")))
}

/// The OpenAPI document of the table and of these routes.
pub(super) fn document(routes: &[Arc<RoutePlan>]) -> Value {
    openapi::document(ENDPOINTS, routes)
}
