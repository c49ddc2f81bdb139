//! Tokens (JWT): verifies signature, issuer, audience and expiry, and reads the claims.
//!
//! The current time is a parameter: the library's own time checks would read the system clock, so they are
//! disabled. A token can only select a key that is already known; a key embedded in a token is never used, and a
//! URL in it is never fetched.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::config::plan::TokenPlan;
use crate::config::plan::public_key::PublicKey;
use crate::model::names::is_plain_id;

/// The role of the key that a Supabase project publishes in every page of its website.
const ANON: &str = "anon";

/// Roles of keys and not of people. Their holders call only where the config names them.
const WITHHELD: [&str; 2] = [ANON, "service_role"];

/// The longest user's name.
const MAX_USER: usize = 255;

/// What a token says about who has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) tenant: Option<String>,
    pub(super) user: String,
    pub(super) role: Option<String>,
    pub(super) tier: Option<String>,
}

/// Why a token is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    /// For the log.
    pub(super) reason: &'static str,
    /// True when it was signed by who may, once or for others: whoever shows it does not guess.
    pub(super) is_signed: bool,
}

fn forged(reason: &'static str) -> Invalid {
    Invalid { reason, is_signed: false }
}

fn unfit(reason: &'static str) -> Invalid {
    Invalid { reason, is_signed: true }
}

/// What a token's head asks for: the algorithm and the key.
#[derive(Debug)]
pub(super) struct TokenHead {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
}

impl TokenHead {
    /// Reads the head of a token. Nothing of it is believed; it only says which key to try.
    pub(super) fn read(token: &str, plan: &TokenPlan) -> Result<Self, Invalid> {
        if token.len() > plan.max_token {
            return Err(forged("token_too_long"));
        }
        let header = decode_header(token).map_err(|_| forged("token_malformed"))?;
        if has_foreign_key(&header) {
            return Err(forged("token_brings_key"));
        }
        // What must be understood is not understood here (RFC 7515, 4.1.11).
        if header.crit.is_some() {
            return Err(forged("token_critical"));
        }
        let is_allowed = match header.alg {
            Algorithm::HS256 => plan.secret.is_some(),
            other => plan.algorithms.contains(&other),
        };
        match is_allowed {
            true => Ok(Self { algorithm: header.alg, key_id: header.kid }),
            false => Err(forged("token_algorithm")),
        }
    }

    /// True when it is checked with the shared secret.
    pub(super) fn is_symmetric(&self) -> bool {
        self.algorithm == Algorithm::HS256
    }

    /// True when a key may be tried: its kind fits, and so does its name as far as both have one.
    pub(super) fn fits(&self, key: &PublicKey) -> bool {
        let is_named = match (&self.key_id, &key.id) {
            (Some(wanted), Some(id)) => **wanted == **id,
            _ => true,
        };
        is_named && key.fits(self.algorithm)
    }
}

/// A token that brings the key it should be checked with, or says where one lies, wants to be believed for nothing.
fn has_foreign_key(header: &Header) -> bool {
    header.jwk.is_some() || header.jku.is_some() || header.x5u.is_some() || header.x5c.is_some()
}

/// Checks the signature with each key that fits, and what the token says.
pub(super) fn check<'k>(
    token: &str,
    wanted: &TokenHead,
    keys: impl Iterator<Item = &'k DecodingKey>,
    plan: &TokenPlan,
    now: Timestamp,
) -> Result<Claims, Invalid> {
    let mut validation = Validation::new(wanted.algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let mut reason = "token_key_unknown";
    for key in keys {
        match decode::<Map<String, Value>>(token, key, &validation) {
            Ok(token) => return claims(&token.claims, plan, now),
            Err(_) => reason = "token_signature",
        }
    }
    Err(forged(reason))
}

/// Why a token is of no use whose role may not call.
pub(super) const ROLE: &str = "token_role";

/// True when a token with this role may call, or without one.
pub(super) fn may_have(role: Option<&str>, plan: &TokenPlan) -> bool {
    let said = role.map(|role| (plan.claims.role.clone(), Value::from(role)));
    may_call(&said.into_iter().collect(), plan)
}

/// Why a token that was valid once is not any more.
pub(super) const EXPIRED: &str = "token_expired";

/// What a signed token says, if it is valid now and here.
fn claims(said: &Map<String, Value>, plan: &TokenPlan, now: Timestamp) -> Result<Claims, Invalid> {
    let leeway = plan.leeway.as_secs_f64();
    let now = now.as_millisecond() as f64 / 1000.0;
    let Some(expires) = said.get("exp").and_then(Value::as_f64) else { return Err(unfit("token_without_end")) };
    if now >= expires + leeway {
        return Err(unfit(EXPIRED));
    }
    match said.get("nbf").map(Value::as_f64) {
        None => {}
        Some(Some(from)) if now + leeway >= from => {}
        Some(_) => return Err(unfit("token_not_yet_valid")),
    }
    let is_known = |name: &str| plan.issuers.iter().any(|known| known == name);
    if !plan.issuers.is_empty() && !said.get("iss").and_then(Value::as_str).is_some_and(is_known) {
        return Err(unfit("token_issuer"));
    }
    if !plan.audiences.is_empty() && !said.get("aud").is_some_and(|said| is_for(said, &plan.audiences)) {
        return Err(unfit("token_audience"));
    }
    let plain = |name: &str| match find(said, name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match text(value).filter(|text| is_plain_id(text)) {
            Some(text) => Ok(Some(text)),
            None => Err(unfit("token_claims")),
        },
    };
    if !may_call(said, plan) {
        return Err(unfit(ROLE));
    }
    // A key that a project publishes, or a signed link, is signed like a user's token and names nobody.
    let Some(user) = user(find(said, &plan.claims.user))? else { return Err(unfit("token_without_user")) };
    Ok(Claims {
        tenant: plain(&plan.claims.tenant)?,
        user,
        role: find(said, &plan.claims.role).and_then(Value::as_str).map(Into::into),
        tier: plain(&plan.claims.tier)?,
    })
}

/// True when the roles of a token may call. Supabase's own role stands at the top of a token, wherever a deployment keeps
/// the roles of its users; a user that signed in anonymously has the role `authenticated` and a mark beside it.
fn may_call(said: &Map<String, Value>, plan: &TokenPlan) -> bool {
    let is_listed = |role: &str| plan.roles.iter().any(|known| known == role);
    let is_withheld =
        |role: &&str| WITHHELD.iter().any(|withheld| withheld.eq_ignore_ascii_case(role.trim())) && !is_listed(role);
    let claimed = find(said, &plan.claims.role);
    let is_anonymous = said.get("is_anonymous") == Some(&Value::Bool(true));
    if words(claimed).chain(words(said.get("role"))).any(|role| is_withheld(&role))
        || (is_anonymous && !is_listed(ANON))
    {
        return false;
    }
    plan.roles.is_empty() || words(claimed).any(is_listed)
}

/// A word, or those of a list.
fn words(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let (one, list) = (value.and_then(Value::as_str), value.and_then(Value::as_array));
    one.into_iter().chain(list.into_iter().flatten().filter_map(Value::as_str))
}

/// One audience, or a list of them (RFC 7519, 4.1.3).
fn is_for(said: &Value, wanted: &[String]) -> bool {
    let is_wanted = |value: &Value| value.as_str().is_some_and(|text| wanted.iter().any(|known| known == text));
    match said {
        Value::Array(list) => list.iter().any(is_wanted),
        one => is_wanted(one),
    }
}

/// Users are called as their identity provider likes (`auth0|123`), but their names go into headers.
fn user(said: Option<&Value>) -> Result<Option<String>, Invalid> {
    let is_sane =
        |text: &String| (1..=MAX_USER).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    match said {
        None | Some(Value::Null) => Ok(None),
        Some(value) => text(value).filter(is_sane).map(Some).ok_or(unfit("token_claims")),
    }
}

/// A text, or a whole number as one: some tenants are numbered.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// A claim by its name; one with dots that is not there as it stands is looked for in depth.
fn find<'c>(said: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    if let Some(found) = said.get(name) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    rest.split('.').try_fold(said.get(first)?, |value, part| value.get(part))
}
