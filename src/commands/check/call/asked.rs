//! Asked: the caller that `--as` describes, once or several times: `tier=pro,model=gpt-4o,user=u1`.
//!
//! It does not know what a route makes of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::config::engine::value::hint;
use crate::config::plan::Plan;
use crate::model::api_key::ApiKey;
use crate::model::call::ANONYMOUS;
use crate::model::names::is_plain_id;

/// What may be said of a caller and its call.
const NAMES: [&str; 10] =
    ["model", "tier", "tenant", "user", "key", "role", "address", "temperature", "stream", "tools"];

/// An address on the internet that belongs to nobody (RFC 5737): where callers come from unless something else is said.
const SOMEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

/// A caller and its call.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) model: Option<Arc<str>>,
    pub(super) tier: Option<Arc<str>>,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) user: Option<Arc<str>>,
    pub(super) key: Option<Arc<ApiKey>>,
    pub(super) role: Option<Arc<str>>,
    pub(super) address: IpAddr,
    pub(super) temperature: Option<f64>,
    /// Whether it asks for a stream.
    pub(super) stream: Option<bool>,
    /// Whether it offers the model a tool.
    pub(super) tools: Option<bool>,
    /// What should be known about it although it is no mistake.
    pub(super) notes: Vec<String>,
}

impl Asked {
    /// Reads texts such as `NAME=VALUE,NAME=VALUE`.
    ///
    /// # Errors
    /// What cannot be said, and what can.
    pub(super) fn parse(texts: &[String], plan: &Plan) -> Result<Self, String> {
        let mut asked = Self {
            model: None,
            tier: None,
            tenant: None,
            user: None,
            key: None,
            role: None,
            address: SOMEWHERE,
            temperature: None,
            stream: None,
            tools: None,
            notes: Vec::new(),
        };
        let mut said: Vec<String> = Vec::new();
        for parts in texts.iter().map(|text| parts(text)) {
            for (index, part) in parts.iter().enumerate() {
                let (name, value) = part
                    .split_once('=')
                    .filter(|(_, value)| !value.is_empty())
                    .ok_or_else(|| format!("--as: {part:?} is no NAME=VALUE; names are {}", NAMES.join(", ")))?;
                if said.iter().any(|known| known == name) {
                    return Err(format!("--as: {name:?} is said twice"));
                }
                said.push(name.into());
                if !asked.take(name, value, plan)? {
                    return Err(unknown(part, name, index.checked_sub(1).and_then(|index| parts.get(index))));
                }
            }
        }
        if let (Some(key), Some(tier)) = (&asked.key, &asked.tier)
            && key.tier.as_ref() != Some(tier)
        {
            let own = key.tier.as_ref().map_or("none of its own".into(), |tier| format!("{tier:?}"));
            return Err(format!("--as: the API key {} has not the tier {tier:?} (its tier: {own})", key.name));
        }
        Ok(asked)
    }

    /// Takes what is said under one name; `false`: there is no such name.
    fn take(&mut self, name: &str, value: &str, plan: &Plan) -> Result<bool, String> {
        match name {
            "model" => self.model = Some(value.into()),
            "tier" => {
                self.notes.extend(unnamed_tier(value, plan));
                self.tier = Some(value.into());
            }
            "tenant" => self.tenant = Some(id(name, value)?),
            "user" => self.user = Some(id(name, value)?),
            "key" => self.key = Some(key(value, plan)?),
            "role" => self.role = Some(value.into()),
            "address" => self.address = value.parse().map_err(|_| format!("--as: {value:?} is no IP address"))?,
            "temperature" => self.temperature = Some(temperature(value)?),
            "stream" => self.stream = Some(boolean(name, value)?),
            "tools" => self.tools = Some(boolean(name, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// That there is no such name, and what else the text may have meant.
fn unknown(part: &str, name: &str, before: Option<&String>) -> String {
    let (hint, names) = (hint(name, NAMES.iter().copied()), NAMES.join(", "));
    let belongs = before
        .map(|before| format!("; if it belongs to the value before it, escape the comma: '{before}\\,{part}'"))
        .unwrap_or_default();
    format!("--as: there is no {name:?}{hint} (there are: {names}){belongs}")
}

/// `NAME=VALUE` each. A piece between commas belongs to the value before it where it has no `=`, unless it is a name, and where
/// the comma is escaped.
fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut is_escaped = false;
    for piece in text.split(',') {
        let goes_on = is_escaped || !piece.contains('=') && !NAMES.contains(&piece.trim());
        let plain = piece.strip_suffix('\\');
        let said = plain.unwrap_or(piece);
        match parts.last_mut().filter(|last| goes_on && last.contains('=')) {
            Some(value) if is_escaped || !said.trim().is_empty() => value.extend([",", said.trim_end()]),
            None if !said.trim().is_empty() => parts.push(said.trim().into()),
            _ => {}
        }
        is_escaped = plain.is_some();
    }
    parts
}

fn boolean(name: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("--as: {name}={value} is neither {name}=true nor {name}=false"))
}

fn id(name: &str, value: &str) -> Result<Arc<str>, String> {
    match is_plain_id(value) {
        true => Ok(value.into()),
        false => Err(format!("--as: {value:?} can be no {name}")),
    }
}

fn temperature(value: &str) -> Result<f64, String> {
    let number = value.parse().ok().filter(|number| (0.0..=2.0).contains(number));
    number.ok_or_else(|| format!("--as: temperature={value} is no number from 0 to 2"))
}

/// That nothing names a tier, if nothing does: it may be a slip, or a tier that a header, a token or a key of run time says.
fn unnamed_tier(value: &str, plan: &Plan) -> Option<String> {
    let of_limits = plan.limits.rules.iter().flat_map(|rule| &rule.tiers).map(|tier| &**tier);
    let of_budgets = plan.budgets.iter().flat_map(|budget| &budget.tiers).map(|tier| &**tier);
    let of_keys = plan.auth.keys.iter().filter_map(|key| key.tier.as_deref());
    let usual = [&**ANONYMOUS, &*plan.limits.tier];
    let mut known: Vec<&str> = usual.into_iter().chain(of_limits).chain(of_budgets).chain(of_keys).collect();
    known.sort_unstable();
    known.dedup();
    let hint = hint(value, known.iter().copied());
    let known_names = known.join(", ");
    (!known.contains(&value)).then(|| {
        format!("no limit, budget or API key names the tier {value:?}{hint}: it has no rules of its own (named: {known_names})")
    })
}

fn key(name: &str, plan: &Plan) -> Result<Arc<ApiKey>, String> {
    let names = || plan.auth.keys.iter().map(|key| &*key.name);
    let found = plan.auth.keys.iter().find(|key| *key.name == *name).cloned();
    found.ok_or_else(|| match names().next() {
        None => format!("--as: there is no API key {name:?}: the configuration has none"),
        Some(_) => {
            let known = names().collect::<Vec<_>>().join(", ");
            format!("--as: there is no API key {name:?}{} (there are: {known})", hint(name, names()))
        }
    })
}
