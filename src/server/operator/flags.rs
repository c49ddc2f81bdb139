//! Flags: `/api/flags` at both addresses: what can be switched at runtime, who has switched it, and how to undo that.
//!
//! It does not know who may ask, what a flag does to calls, nor where it is kept.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::caller::Answered;
use crate::config::engine::value::hint;
use crate::gateway::Gateway;
use crate::model::names::display_name;
use crate::model::switch::FlagKind;
use crate::model::switch::{Position, Share};
use crate::server::operator::access;
use crate::server::operator::answer::{Problem, ok};
use crate::server::operator::endpoint::OperatorRequest;
use crate::state::flags::record::{Change, Record, What};
use crate::state::flags::switches::Known;
use crate::state::flags::{Kept, NotChanged};

/// The most tenants, and the most tiers, that one flag can name: a list that is looked through for every call.
const MOST_NAMES: usize = 100;

/// The longest name, and the longest note, in bytes.
const LONGEST_NAME: usize = 128;
const LONGEST_NOTE: usize = 500;

/// Who changes flags here.
const ADMIN: &str = "admin";

/// The body of a PUT. It says all of the flag: what is left out is as wide as it can be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FlagUpdate {
    enabled: bool,
    rollout_percentage: Option<f64>,
    #[serde(default)]
    tenants: Vec<Arc<str>>,
    #[serde(default)]
    tiers: Vec<Arc<str>>,
    note: Option<String>,
    version: Option<u64>,
}

/// The body of an undo.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UndoRequest {
    /// The version to go back to; without it, the one before the last.
    to: Option<u64>,
    note: Option<String>,
}

/// `GET /api/flags`: all flags, and where changes are kept.
pub(super) fn list(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let gateway_state = &request.gateway.state;
    let (kept, shows_names) = (gateway_state.flags().kept(), shows_names(request));
    let flags: Vec<Value> = gateway_state
        .switches()
        .iter()
        .map(|(key, known)| Flag { key, known, record: gateway_state.flags().record(key), kept, shows_names }.shown())
        .collect();
    Ok(ok(&json!({"flags": flags, "persisted": kept != Kept::Nowhere, "kept": kept.as_str()})))
}

/// `GET /api/flags/{key}`.
pub(super) fn show(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    find(request).map(|flag| flag.answered())
}

/// `GET /api/flags/{key}/history`: the latest changes, the last one first.
pub(super) fn history(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    find(request).map(|flag| flag.history())
}

/// `PUT /api/flags/{key}`.
pub(super) async fn set(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let flag = find(request)?;
    let FlagUpdate { enabled, rollout_percentage, tenants, tiers, note, version } = read(&request.body)?;
    let note = checked_note(note)?;
    let share = match rollout_percentage {
        None => Share::ALL,
        Some(percent) => Share::of_percent(percent)
            .ok_or_else(|| Problem::bad_request("`rolloutPercentage` must be between 0 and 100"))?,
    };
    for (what, names) in [("tenants", &tenants), ("tiers", &tiers)] {
        let is_name = |name: &Arc<str>| (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(char::is_control);
        if names.len() > MOST_NAMES || !names.iter().all(is_name) {
            let detail = format!("`{what}` must hold at most {MOST_NAMES} names of 1 to {LONGEST_NAME} bytes");
            return Err(Problem::bad_request(detail));
        }
    }
    let position = Position { is_on: enabled, share, tenants, tiers };
    if let Some(why) = flag.known.obstacle.filter(|_| position.is_on) {
        let detail = format!("{} cannot be switched on: {why}", flag.known.name);
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    expect_version(request, &flag, version)?;
    change(request, &flag, Some(position), What::Set, note).await
}

/// `POST /api/flags/{key}/undo`.
pub(super) async fn undo(request: &OperatorRequest<'_>) -> Result<Answered, Problem> {
    let flag = find(request)?;
    let UndoRequest { to, note } = if request.body.is_empty() { UndoRequest::default() } else { read(&request.body)? };
    expect_version(request, &flag, None)?;
    let nothing = || Problem::new(StatusCode::CONFLICT, "nothing to undo: this flag was never changed");
    let record = flag.record.as_ref().ok_or_else(nothing)?;
    let to = to.unwrap_or(record.version().saturating_sub(1));
    let position = record.position_at(to).ok_or_else(|| {
        let detail = format!("version {to} is no longer in the history: see /api/flags/{}/history", flag.key);
        Problem::new(StatusCode::CONFLICT, detail)
    })?;
    let note = checked_note(note)?;
    change(request, &flag, position, What::Undo, note).await
}

/// The flag that a request names.
fn find<'a>(request: &OperatorRequest<'a>) -> Result<Flag<'a>, Problem> {
    let gateway: &'a Gateway = request.gateway;
    let (switches, flags) = (gateway.state.switches(), gateway.state.flags());
    let Some((key, known)) = switches.find(request.name) else {
        let keys: Vec<&str> = switches.iter().map(|(key, _)| &**key).collect();
        let hint = hint(request.name, keys.iter().copied());
        let detail = format!("no flag has this key{hint} (the keys are: {})", keys.join(", "));
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    Ok(Flag { key, known, record: flags.record(key), kept: flags.kept(), shows_names: shows_names(request) })
}

/// Whether the words about a flag name tenants: they end up on screens.
fn shows_names(request: &OperatorRequest<'_>) -> bool {
    access::shows_token(request.gateway, &request.parts.headers)
}

/// Refuses to change a flag that has changed since the client has seen it.
fn expect_version(request: &OperatorRequest<'_>, flag: &Flag<'_>, version: Option<u64>) -> Result<(), Problem> {
    let tag = request.parts.headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or("?").trim());
    let header = match tag {
        None | Some("*") => None,
        Some(tag) => {
            let version = tag.trim_matches('"').parse::<u64>();
            let wrong = "`If-Match` must be a version of the flag, as its `ETag` has it";
            Some(version.map_err(|_| Problem::bad_request(wrong))?)
        }
    };
    let now = flag.version();
    match [version, header].into_iter().flatten().find(|seen| *seen != now) {
        None => Ok(()),
        Some(seen) => {
            let detail = format!("the flag is at version {now}, not {seen}: read it again before changing it");
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
    }
}

async fn change(
    request: &OperatorRequest<'_>,
    flag: &Flag<'_>,
    position: Option<Position>,
    what: What,
    note: Option<Arc<str>>,
) -> Result<Answered, Problem> {
    let change = Change {
        version: 0,
        position,
        was_meant_to_be_on: flag.known.meant.is_on,
        at_ms: request.gateway.world.now().as_millisecond(),
        by: ADMIN.into(),
        from: Some(request.from),
        what,
        note,
    };
    let record = Record::after(flag.record.as_deref(), change);
    let flags = request.gateway.state.flags();
    flags.change(flag.key, flag.record.clone(), record).await.map_err(not_changed)?;
    let after = Flag { record: flags.record(flag.key), ..*flag };
    after.log(what, request.from);
    Ok(after.answered())
}

/// A flag as it is now.
struct Flag<'a> {
    key: &'a Arc<str>,
    known: &'a Known,
    record: Option<Arc<Record>>,
    kept: Kept,
    shows_names: bool,
}

impl Flag<'_> {
    fn version(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.version())
    }

    fn shown(&self) -> Value {
        let change = self.record.as_ref().and_then(|record| record.in_force(self.known.meant.is_on));
        let mut shown = json!({"key": &**self.key});
        tell(&mut shown, &self.known.switch.position(), self.shows_names);
        shown["updatedAt"] = change.map(|change| moment(change.at_ms)).into();
        shown["updatedBy"] = change.map_or("config", |change| &*change.by).into();
        shown["version"] = self.version().into();
        shown["source"] = if change.is_some() { "admin" } else { "config" }.into();
        shown["switches"] = json!({self.known.subject.as_str(): &*self.known.name});
        if let Some(note) = change.and_then(|change| change.note.as_deref()) {
            shown["note"] = note.into();
        }
        if let Some(why) = self.known.obstacle {
            shown["obstacle"] = why.into();
        }
        shown["persisted"] = (self.kept != Kept::Nowhere).into();
        shown
    }

    fn answered(&self) -> Answered {
        let mut answered = ok(&self.shown());
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", self.version())) {
            answered.headers.insert(header::ETAG, tag);
        }
        answered
    }

    /// What was changed, latest first.
    fn history(&self) -> Answered {
        let changes = self.record.as_ref().map(|record| record.changes()).unwrap_or_default();
        let shown = |change: &Change| {
            let mut shown = json!({"version": change.version, "what": change.what.as_str()});
            match &change.position {
                Some(position) => tell(&mut shown, position, self.shows_names),
                None => {
                    shown["is"] = "as configured".into();
                    shown["follows"] = "config".into();
                }
            }
            shown["updatedAt"] = moment(change.at_ms).into();
            shown["updatedBy"] = (&*change.by).into();
            shown["updatedFrom"] = change.from.map(|from| from.to_string()).into();
            shown["note"] = change.note.as_deref().into();
            shown
        };
        let history: Vec<Value> = changes.iter().rev().map(shown).collect();
        ok(&json!({"key": &**self.key, "history": history}))
    }

    fn log(&self, what: What, from: IpAddr) {
        let position = self.known.switch.position();
        let name = match self.known.subject {
            FlagKind::Provider => display_name(&self.known.name),
            _ => &self.known.name,
        };
        tracing::warn!(
            target: "tidegate::audit",
            action = what.as_str(),
            flag = &**self.key,
            switches = name,
            enabled = position.is_on,
            rollout = position.share.percent(),
            version = self.version(),
            by = ADMIN,
            address = %from,
            "flag changed"
        );
    }
}

/// For whom a flag is on.
fn tell(shown: &mut Value, position: &Position, shows_names: bool) {
    shown["is"] = position.in_words(shows_names).into();
    let percent = position.share.percent();
    shown["enabled"] = position.is_on.into();
    // A whole number is written as one.
    shown["rolloutPercentage"] = if percent.fract() == 0.0 { json!(percent as u64) } else { json!(percent) };
    shown["tenants"] = json!(position.tenants);
    shown["tiers"] = json!(position.tiers);
}

/// RFC 3339, to the millisecond.
fn moment(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map(|at| format!("{at:.3}")).unwrap_or_default()
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|fault| Problem::bad_request(format!("invalid request body: {fault}")))
}

fn checked_note(text: Option<String>) -> Result<Option<Arc<str>>, Problem> {
    match text {
        Some(text) if text.len() > LONGEST_NOTE => {
            Err(Problem::bad_request(format!("`note` must be at most {LONGEST_NOTE} bytes long")))
        }
        text => Ok(text.map(Arc::from)),
    }
}

fn not_changed(why: NotChanged) -> Problem {
    let unavailable = |detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    match why {
        NotChanged::Conflict => {
            let detail = "the flag was changed by another request: read it again before changing it";
            Problem::new(StatusCode::CONFLICT, detail)
        }
        NotChanged::Store(fault) => {
            unavailable(format!("the store cannot be reached ({fault}): nothing was changed; try again later"))
        }
        NotChanged::File(fault) => {
            unavailable(format!("the state file cannot be written ({fault}): nothing was changed"))
        }
    }
}
