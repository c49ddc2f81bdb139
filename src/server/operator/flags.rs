//! The flags API: `/api/flags` at both listeners: which flags there are, who changed them, and how to undo that.
//! Reading is open to operators on this machine; everyone else, and every change, needs the admin token.
//!
//! It does not know what a flag does to calls, nor where it is stored. Errors are problem details (RFC 9457).

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::caller::Answered;
use crate::gateway::Gateway;
use crate::model::names::display_name;
use crate::model::switch::FlagKind;
use crate::model::switch::{Position, Share};
use crate::server::operator::keys;
use crate::server::operator::keys::Problem;
use crate::state::flags::record::{Change, Record, What};
use crate::state::flags::switches::Known;
use crate::state::flags::{Kept, NotChanged};

/// Where flags are.
pub(crate) const PATH: &str = "/api/flags";

/// The most tenants, and the most tiers, that one flag can name: a list that is looked through for every call.
const MOST_NAMES: usize = 100;

/// The longest name, and the longest note, in bytes.
const LONGEST_NAME: usize = 128;
const LONGEST_NOTE: usize = 500;

/// Who changes flags here.
const ADMIN: &str = "admin";

/// True for the paths of this module.
pub(in crate::server) fn is_here(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// One request about flags.
pub(in crate::server) struct FlagRequest<'a> {
    /// The gateway whose flags they are.
    pub(in crate::server) gateway: &'a Gateway,
    /// Who asks.
    pub(in crate::server) from: IpAddr,
    /// What.
    pub(in crate::server) parts: &'a Parts,
}

/// The requested state of a flag. A missing field takes its default: a PUT replaces all of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wanted {
    enabled: bool,
    rollout_percentage: Option<f64>,
    #[serde(default)]
    tenants: Vec<Arc<str>>,
    #[serde(default)]
    tiers: Vec<Arc<str>>,
    note: Option<String>,
    version: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Undo {
    /// The version whose position is wanted; otherwise the one before the last.
    to: Option<u64>,
    note: Option<String>,
}

impl FlagRequest<'_> {
    /// Answers who was let in.
    pub(in crate::server) async fn answer(&self, body: &Bytes) -> Answered {
        let rest = self.parts.uri.path().strip_prefix(PATH).unwrap_or_default().trim_start_matches('/');
        let (key, action) = rest.split_once('/').map_or((rest, None), |(key, action)| (key, Some(action)));
        let outcome = match (&self.parts.method, key, action) {
            (&Method::GET | &Method::HEAD, "", None) => Ok(self.list()),
            (&Method::GET | &Method::HEAD, key, None) => self.find(key).map(|flag| flag.answered()),
            (&Method::GET | &Method::HEAD, key, Some("history")) => self.find(key).map(|flag| flag.history()),
            (&Method::PUT, key, None) if !key.is_empty() => self.set(key, body).await,
            (&Method::POST, key, Some("undo")) => self.undo(key, body).await,
            (_, _, None | Some("history" | "undo")) => Err(Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "allowed: GET /api/flags; GET, PUT /api/flags/KEY; GET /api/flags/KEY/history; POST /api/flags/KEY/undo",
            )),
            _ => Err(Problem::new(StatusCode::NOT_FOUND, "a flag has /history and /undo")),
        };
        outcome.unwrap_or_else(Problem::answered)
    }

    fn list(&self) -> Answered {
        let (gateway_state, kept) = (&self.gateway.state, self.gateway.state.flags().kept());
        let flags: Vec<Value> = gateway_state
            .switches()
            .iter()
            .map(|(key, known)| Flag { key, known, record: gateway_state.flags().record(key), kept }.shown())
            .collect();
        let persisted = kept != Kept::Nowhere;
        keys::json_answer(StatusCode::OK, &json!({"flags": flags, "persisted": persisted, "kept": kept.as_str()}))
    }

    fn find(&self, key: &str) -> Result<Flag<'_>, Problem> {
        let gateway_state = &self.gateway.state;
        let Some((key, known)) = gateway_state.switches().find(key) else {
            let keys: Vec<&str> = gateway_state.switches().iter().map(|(key, _)| &**key).collect();
            let detail = format!("there is no flag of this key; there are: {}", keys.join(", "));
            return Err(Problem::new(StatusCode::NOT_FOUND, detail));
        };
        Ok(Flag { key, known, record: gateway_state.flags().record(key), kept: gateway_state.flags().kept() })
    }

    async fn set(&self, key: &str, body: &Bytes) -> Result<Answered, Problem> {
        let flag = self.find(key)?;
        let wanted: Wanted = read(body)?;
        let note = note(wanted.note)?;
        let share = match wanted.rollout_percentage {
            None => Share::ALL,
            Some(percent) => Share::of_percent(percent).ok_or_else(|| wrong("`rolloutPercentage` must be 0 to 100"))?,
        };
        for (what, names) in [("tenants", &wanted.tenants), ("tiers", &wanted.tiers)] {
            let is_name =
                |name: &Arc<str>| (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(char::is_control);
            if names.len() > MOST_NAMES || !names.iter().all(is_name) {
                return Err(wrong(format!("`{what}` must be up to {MOST_NAMES} names of 1 to {LONGEST_NAME} bytes")));
            }
        }
        let Wanted { tenants, tiers, .. } = wanted;
        let position = Position { is_on: wanted.enabled, share, tenants, tiers };
        if let Some(why) = flag.known.obstacle.filter(|_| position.is_on) {
            let detail = format!("{} cannot be switched on: {why}", flag.known.name);
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        self.expect(&flag, wanted.version)?;
        self.change(&flag, Some(position), What::Set, note).await
    }

    async fn undo(&self, key: &str, body: &Bytes) -> Result<Answered, Problem> {
        let flag = self.find(key)?;
        let wanted: Undo = if body.is_empty() { Undo::default() } else { read(body)? };
        self.expect(&flag, None)?;
        let nothing = || Problem::new(StatusCode::CONFLICT, "there is nothing to undo: the flag was never changed");
        let record = flag.record.as_ref().ok_or_else(nothing)?;
        let to = wanted.to.unwrap_or(record.version().saturating_sub(1));
        let position = record.position_at(to).ok_or_else(|| {
            Problem::new(StatusCode::CONFLICT, format!("version {to} is not remembered: see {PATH}/{key}/history"))
        })?;
        let note = note(wanted.note)?;
        self.change(&flag, position, What::Undo, note).await
    }

    /// Refuses to change a flag that is not as who asks has seen it.
    fn expect(&self, flag: &Flag<'_>, version: Option<u64>) -> Result<(), Problem> {
        let header = match self.parts.headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or("?").trim()) {
            None | Some("*") => None,
            Some(tag) => {
                let version = tag.trim_matches('"').parse::<u64>();
                Some(version.map_err(|_| wrong("`If-Match` must be a version of the flag, as its `ETag` says it"))?)
            }
        };
        let now = flag.version();
        match [version, header].into_iter().flatten().find(|seen| *seen != now) {
            None => Ok(()),
            Some(seen) => {
                let detail = format!("the flag is at version {now}, not at {seen}: look at it again");
                Err(Problem::new(StatusCode::CONFLICT, detail))
            }
        }
    }

    async fn change(
        &self,
        flag: &Flag<'_>,
        position: Option<Position>,
        what: What,
        note: Option<Arc<str>>,
    ) -> Result<Answered, Problem> {
        let change = Change {
            version: 0,
            position,
            was_meant_to_be_on: flag.known.meant.is_on,
            at_ms: self.gateway.world.now().as_millisecond(),
            by: ADMIN.into(),
            from: Some(self.from),
            what,
            note,
        };
        let record = Record::after(flag.record.as_deref(), change);
        let flags = self.gateway.state.flags();
        flags.change(flag.key, flag.record.clone(), record).await.map_err(not_changed)?;
        let after = Flag { record: flags.record(flag.key), ..*flag };
        after.log(what, self.from);
        Ok(after.answered())
    }
}

/// A flag as it stands.
struct Flag<'a> {
    key: &'a Arc<str>,
    known: &'a Known,
    record: Option<Arc<Record>>,
    kept: Kept,
}

impl Flag<'_> {
    fn version(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.version())
    }

    fn shown(&self) -> Value {
        let change = self.record.as_ref().and_then(|record| record.in_force(self.known.meant.is_on));
        let mut shown = json!({"key": &**self.key});
        tell(&mut shown, &self.known.switch.position());
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
        let mut answered = keys::json_answer(StatusCode::OK, &self.shown());
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
                Some(position) => tell(&mut shown, position),
                None => shown["follows"] = "config".into(),
            }
            shown["updatedAt"] = moment(change.at_ms).into();
            shown["updatedBy"] = (&*change.by).into();
            shown["updatedFrom"] = change.from.map(|from| from.to_string()).into();
            shown["note"] = change.note.as_deref().into();
            shown
        };
        let history: Vec<Value> = changes.iter().rev().map(shown).collect();
        keys::json_answer(StatusCode::OK, &json!({"key": &**self.key, "history": history}))
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
            "a flag was changed"
        );
    }
}

/// For whom a flag is on.
fn tell(shown: &mut Value, position: &Position) {
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
    serde_json::from_slice(body).map_err(|fault| wrong(format!("the body: {fault}")))
}

fn note(text: Option<String>) -> Result<Option<Arc<str>>, Problem> {
    match text {
        Some(text) if text.len() > LONGEST_NOTE => Err(wrong(format!("`note` may have {LONGEST_NOTE} bytes"))),
        text => Ok(text.map(Arc::from)),
    }
}

fn wrong(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn not_changed(why: NotChanged) -> Problem {
    match why {
        NotChanged::Conflict => {
            Problem::new(StatusCode::CONFLICT, "the flag was changed by somebody else: look at it again")
        }
        NotChanged::Store(fault) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the store is out ({fault}): nothing was changed"))
        }
        NotChanged::File(fault) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the state file ({fault}): nothing was changed"))
        }
    }
}
