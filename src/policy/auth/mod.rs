//! Auth: authentication and authorization of callers, by token or API key. An invalid credential is rejected, and
//! never skipped for another one.
//!
//! The first half ([`Auth::admit`]) needs only the request's headers, so that no body is read before its sender is
//! known. The second half is the policy itself, for what only the whole call tells. This file does not know the
//! shape of a refusal, nor where credentials are in a request.

mod crypto;
mod failures;
pub mod jwks;
mod listed;
mod token;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use jsonwebtoken::DecodingKey;

use self::failures::FailureLimit;
pub use self::failures::Failures;
use self::jwks::KeySet;
use self::token::{Claims, Invalid, TokenHead};
use crate::config::plan::{AuthMethod, AuthPlan, RouteAuth, RoutePlan, TokenPlan};
use crate::model::api_key::ring::{Found, Keyring};
use crate::model::api_key::{ApiKey, Digest, KeyTenant};
use crate::model::call::{Call, CallRequest, Head, Principal, Reach};
use crate::model::fault::{Fault, MODEL_UNREADABLE, NO_ACCOUNT, NO_ACCOUNT_OPEN, ORGANIZATION};
use crate::model::trail::{AuthFact, Trail};
use crate::stack::{Next, Outcome, Policy};
use crate::state::issued_keys::Issued;

/// The tenant of callers who are known, and act for none. No tenant can be called like this.
const NO_TENANT: &str = "(none)";

/// The longest API key.
const MAX_KEY: usize = 512;

/// Why a key that was valid once is not any more.
const KEY_EXPIRED: &str = "key_expired";

/// What a caller shows. Whoever shows two of a kind shows nothing that could be trusted.
#[derive(Clone, Copy, Default)]
pub struct Shown<'a> {
    /// A bearer token (RFC 6750), which may be an API key as well.
    pub bearer: Option<&'a str>,
    /// An API key in a header of its own.
    pub key: Option<&'a str>,
    /// True when something was shown that cannot be read.
    pub is_broken: bool,
}

/// A caller at the door.
pub struct Visitor<'a> {
    /// What it shows.
    pub shown: Shown<'a>,
    /// The tenant that it names; an error when what it names can be none.
    pub tenant: Result<Option<Arc<str>>, Fault>,
    /// The user that it names.
    pub user: Result<Option<Arc<str>>, Fault>,
    /// Where it is.
    pub address: IpAddr,
    /// When it comes.
    pub now: Timestamp,
}

/// What a caller would show, were it valid.
#[derive(Clone, Copy)]
pub enum Assumed<'a> {
    /// Nothing.
    Nothing,
    /// An API key.
    Key(&'a ApiKey),
    /// A token that says this.
    Token {
        /// The user.
        user: &'a str,
        /// The tenant.
        tenant: Option<&'a str>,
        /// What the user may do.
        role: Option<&'a str>,
        /// What kind of customer the user is.
        tier: Option<&'a str>,
    },
}

/// What all routes share: keys, and how often who was wrong. It outlives the gateway that uses it.
#[derive(Clone)]
pub struct Trust {
    /// Failed authentications by client address.
    pub failures: Failures,
    /// The keys that were made while the gateway ran.
    pub issued: Arc<Issued>,
    /// Published keys, where the config names a publisher.
    pub published: Option<KeySet>,
}

/// The door of a gateway: what one generation of the configuration says, and what is known besides.
pub struct Authenticator {
    token: Option<Arc<TokenPlan>>,
    secret: Option<DecodingKey>,
    keys: Keyring,
    failures: FailureLimit,
    default_tenant: Arc<str>,
    trust: Trust,
}

impl Authenticator {
    /// A door by a plan.
    pub fn new(plan: &AuthPlan, default_tenant: Arc<str>, trust: Trust) -> Arc<Self> {
        crypto::install();
        let secret = plan.token.as_ref().and_then(|token| token.secret.as_ref());
        Arc::new(Self {
            secret: secret.and_then(|secret| DecodingKey::from_secret(secret.expose().as_bytes()).ok()),
            token: plan.token.clone(),
            keys: Keyring::new(plan.keys.iter().cloned()),
            failures: FailureLimit::new(plan.failures, trust.failures.clone()),
            default_tenant,
            trust,
        })
    }

    /// Published keys, where the config names a publisher.
    pub fn published(&self) -> Option<&KeySet> {
        self.trust.published.as_ref()
    }

    /// The keys of the config.
    pub fn written_keys(&self) -> &Keyring {
        &self.keys
    }

    /// The keys that were made while the gateway ran.
    pub fn issued(&self) -> &Arc<Issued> {
        &self.trust.issued
    }

    /// Notes a wrong credential, and says for how long no more may be shown from there, if that was one too many.
    pub fn note_failure(&self, address: IpAddr) -> Option<std::time::Duration> {
        self.failures.note(address)
    }

    async fn token(&self, shown: &str, now: Timestamp) -> Result<Claims, Refused> {
        let Some(plan) = &self.token else { return Err(Invalid { reason: "token_unwanted", is_signed: false }.into()) };
        let wanted = TokenHead::read(shown, plan)?;
        if wanted.is_symmetric() {
            return Ok(token::check(shown, &wanted, self.secret.iter(), plan, now)?);
        }
        let from_files = || plan.public_keys.iter().filter(|key| wanted.fits(key)).map(|key| &key.key);
        let Some(published) = &self.trust.published else {
            return Ok(token::check(shown, &wanted, from_files(), plan, now)?);
        };
        let mut keys = published.keys();
        if !keys.iter().any(|key| wanted.fits(key)) && from_files().next().is_none() && published.renewed(&keys).await {
            keys = published.keys();
        }
        if keys.is_empty() && from_files().next().is_none() {
            // To be told that it is not valid would end a session; that nobody can say does not.
            return Err(Refused::Unknowable);
        }
        let published = keys.iter().filter(|key| wanted.fits(key)).map(|key| &key.key);
        Ok(token::check(shown, &wanted, published.chain(from_files()), plan, now)?)
    }

    async fn key(&self, shown: &str, now: Timestamp) -> Result<Arc<ApiKey>, Refused> {
        if shown.len() > MAX_KEY {
            return Err(Invalid { reason: "key_too_long", is_signed: false }.into());
        }
        let shown = Digest::of(shown);
        let mut found = self.keys.find(&shown, now);
        if !matches!(found, Found::Valid(_)) {
            let is_known = self.trust.issued.known().await;
            match self.trust.issued.ring().find(&shown, now) {
                Found::Unknown if !is_known => return Err(Refused::Unknowable),
                Found::Unknown => {}
                issued => found = issued,
            }
        }
        match found {
            Found::Valid(key) => Ok(key),
            Found::Expired => Err(Invalid { reason: KEY_EXPIRED, is_signed: true }.into()),
            Found::Unknown => Err(Invalid { reason: "key_unknown", is_signed: false }.into()),
        }
    }

    fn named(&self, name: &str) -> Option<Arc<ApiKey>> {
        self.keys.named(name).or(self.trust.issued.ring().named(name)).cloned()
    }
}

/// Why somebody is not let in.
enum Refused {
    Invalid(Invalid),
    /// What it would be checked with was never read.
    Unknowable,
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// The policy of one route.
#[derive(Clone)]
pub struct Auth {
    asked: RouteAuth,
    /// `None` where no route is: what everybody may ask about themselves.
    route: Option<Arc<RoutePlan>>,
    door: Arc<Authenticator>,
}

impl Auth {
    /// What a route asks of its callers, at this door.
    pub fn new(route: Arc<RoutePlan>, door: Arc<Authenticator>) -> Self {
        Self { asked: route.auth.clone(), route: Some(route), door }
    }

    /// What is asked of those who want to know something about themselves: anything that tells who they are.
    pub fn of_anybody(door: Arc<Authenticator>) -> Self {
        let methods = [AuthMethod::Jwt, AuthMethod::ApiKey].into();
        Self {
            asked: RouteAuth { methods, is_written: true, believes_headers: false, account: false },
            route: None,
            door,
        }
    }

    /// Finds out who calls, by the head of a request alone, and notes what came of it.
    pub async fn admit(&self, visitor: Visitor<'_>, trail: &Trail) -> Result<Principal, Fault> {
        if self.asked.methods.is_empty() {
            return self.stranger(visitor);
        }
        let method = self.choose(visitor.shown).map_or("none", |(method, _)| method.as_str());
        let outcome = self.check(visitor).await;
        let result = outcome.as_ref().err().map_or("ok", result_of);
        trail.facts().auth = Some(AuthFact { method, result });
        outcome
    }

    /// Who a caller would be, were what it shows valid. It asks nobody, and counts nothing.
    pub fn assume(&self, shown: Assumed<'_>, visitor: Visitor<'_>) -> Result<Principal, Fault> {
        if self.asked.methods.is_empty() {
            return self.stranger(visitor);
        }
        match shown {
            Assumed::Nothing => Err(Fault::Unauthenticated { reason: "no_credential", has_credential: false }),
            Assumed::Key(key) if key.has_expired(visitor.now) => {
                Err(Fault::Unauthenticated { reason: KEY_EXPIRED, has_credential: true })
            }
            Assumed::Key(key) => self.holder_of_key(key, visitor),
            Assumed::Token { user, tenant, role, tier } => {
                let plan = self.door.token.as_deref();
                if !plan.is_some_and(|plan| token::may_have(role, plan)) {
                    return Err(Fault::Unauthenticated { reason: token::ROLE, has_credential: true });
                }
                let [tenant, role, tier] = [tenant, role, tier].map(|word| word.map(Into::into));
                self.holder_of_token(Claims { tenant, user: user.into(), role, tier }, visitor)
            }
        }
    }

    /// Whether a call is for its caller: what it is about, and the models that its key may be used for.
    pub fn judge(&self, head: &Head, request: &CallRequest) -> Result<(), Fault> {
        self.judge_reach(head, request.reach())?;
        match head.api_key.as_ref().filter(|_| !self.asked.methods.is_empty()) {
            Some(name) => self.may_ask(name, request),
            None => Ok(()),
        }
    }

    async fn check(&self, visitor: Visitor<'_>) -> Result<Principal, Fault> {
        let (shown, address, now) = (visitor.shown, visitor.address, visitor.now);
        let has_credential = shown.is_broken || shown.bearer.is_some() || shown.key.is_some();
        let refused = match self.choose(shown) {
            None if !has_credential => {
                return Err(Fault::Unauthenticated { reason: "no_credential", has_credential: false });
            }
            None => Invalid { reason: "credential_unreadable", is_signed: false }.into(),
            // Boxed: callers without a token would hold the room for it.
            Some((AuthMethod::Jwt, shown)) => match Box::pin(self.door.token(shown, now)).await {
                Ok(claims) => return self.holder_of_token(claims, visitor),
                Err(refused) => refused,
            },
            Some((AuthMethod::ApiKey, shown)) => match self.door.key(shown, now).await {
                Ok(key) => return self.holder_of_key(&key, visitor),
                Err(refused) => refused,
            },
        };
        match refused {
            Refused::Unknowable => Err(Fault::Unverifiable),
            Refused::Invalid(invalid) => Err(self.refuse(invalid, address)),
        }
    }

    /// The first of the route's ways in for which something is shown. A bearer that looks like a token is one; an API key
    /// does not.
    fn choose<'a>(&self, shown: Shown<'a>) -> Option<(AuthMethod, &'a str)> {
        if shown.is_broken {
            return None;
        }
        let methods = &self.asked.methods;
        let is_token = |bearer: &&str| methods.len() == 1 || looks_like_token(bearer);
        methods.iter().find_map(|method| {
            let found = match method {
                AuthMethod::Jwt => shown.bearer.filter(is_token),
                AuthMethod::ApiKey => shown.key.or(shown.bearer),
            };
            found.map(|shown| (*method, shown))
        })
    }

    /// Who guesses is counted, and slowed down when it is too much. Who shows something that was valid once is not: behind
    /// one backend's address there may be many whose hour is over at the same time.
    fn refuse(&self, invalid: Invalid, address: IpAddr) -> Fault {
        let reason = invalid.reason;
        if !invalid.is_signed
            && let Some(retry_in) = self.door.note_failure(address)
        {
            return Fault::Locked { retry_in, reason };
        }
        Fault::Unauthenticated { reason, has_credential: true }
    }

    /// Nobody is asked here.
    fn stranger(&self, visitor: Visitor<'_>) -> Result<Principal, Fault> {
        let (tenant, user) = match self.asked.believes_headers {
            true => (visitor.tenant?, visitor.user?),
            false => (None, None),
        };
        Ok(Principal {
            is_tenant_named: tenant.is_some(),
            tenant: tenant.unwrap_or_else(|| self.door.default_tenant.clone()),
            user,
            role: None,
            tier: None,
            api_key: None,
            account: self.asked.account,
        })
    }

    fn holder_of_token(&self, claims: Claims, visitor: Visitor<'_>) -> Result<Principal, Fault> {
        let is_among = |roles: fn(&TokenPlan) -> &BTreeSet<String>| {
            let plan = self.door.token.as_ref();
            plan.is_some_and(|plan| claims.role.as_ref().is_some_and(|role| roles(plan).contains(role)))
        };
        let may_override = is_among(|plan| &plan.override_roles);
        let account = self.asked.account || is_among(|plan| &plan.account_roles);
        let own = claims.tenant.map(Arc::from);
        let tenant = self.tenant(visitor.tenant, own, may_override)?;
        Ok(Principal {
            is_tenant_named: tenant.is_some(),
            tenant: tenant.unwrap_or_else(|| NO_TENANT.into()),
            user: Some(claims.user.into()),
            role: claims.role.map(Arc::from),
            tier: claims.tier.map(Arc::from),
            api_key: None,
            account,
        })
    }

    fn holder_of_key(&self, key: &ApiKey, visitor: Visitor<'_>) -> Result<Principal, Fault> {
        if !self.route.as_deref().is_none_or(|route| key.opens(&route.name)) {
            return Err(Fault::Forbidden { reason: "key_route" });
        }
        let (own, may_name_any) = match &key.tenant {
            KeyTenant::Nobody => (None, false),
            KeyTenant::One(tenant) => (Some(tenant.clone()), false),
            KeyTenant::Any => (None, true),
        };
        let tenant = self.tenant(visitor.tenant, own, may_name_any)?;
        Ok(Principal {
            is_tenant_named: tenant.is_some(),
            tenant: tenant.unwrap_or_else(|| NO_TENANT.into()),
            user: if key.names_users { visitor.user? } else { None },
            role: None,
            tier: key.tier.clone(),
            api_key: Some(key.name.clone()),
            account: self.asked.account || key.account,
        })
    }

    /// Whether what a call is about is for its caller. What the operator's account keeps belongs to all tenants.
    pub fn judge_reach(&self, head: &Head, reach: Reach) -> Result<(), Fault> {
        match reach {
            Reach::Call => Ok(()),
            Reach::Account if head.account => Ok(()),
            Reach::Account if self.asked.methods.is_empty() => Err(Fault::Forbidden { reason: NO_ACCOUNT_OPEN }),
            Reach::Account => Err(Fault::Forbidden { reason: NO_ACCOUNT }),
            Reach::Organization => Err(Fault::Forbidden { reason: ORGANIZATION }),
        }
    }

    /// Whether a call is for its caller of which nothing is known but the model that it names.
    pub fn judge_model(&self, head: &Head, model: &str) -> Result<(), Fault> {
        match head.api_key.as_ref().filter(|_| !self.asked.methods.is_empty()) {
            Some(name) => self.may_name(name, std::iter::once(model)).map(drop),
            None => Ok(()),
        }
    }

    /// Whether the key of this name may be used for the models of a call.
    fn may_ask(&self, name: &str, request: &CallRequest) -> Result<(), Fault> {
        let has_models = self.may_name(name, request.models())?;
        match has_models && request.hides_model() {
            true => Err(Fault::Forbidden { reason: MODEL_UNREADABLE }),
            false => Ok(()),
        }
    }

    /// Whether the key of this name may be used for these models; true: not for all models.
    fn may_name<'m>(&self, name: &str, mut models: impl Iterator<Item = &'m str>) -> Result<bool, Fault> {
        // Revoked in the meantime.
        let Some(key) = self.door.named(name) else {
            return Err(Fault::Unauthenticated { reason: "key_unknown", has_credential: true });
        };
        let is_own = |model: &str| key.models.iter().any(|known| known.matches(model));
        match key.models.is_empty() || models.all(is_own) {
            true => Ok(!key.models.is_empty()),
            false => Err(Fault::Forbidden { reason: "key_model" }),
        }
    }

    /// The tenant for whom a known caller acts: its own, or the one that it names, if it may.
    fn tenant(
        &self,
        named: Result<Option<Arc<str>>, Fault>,
        own: Option<Arc<str>>,
        may_name_any: bool,
    ) -> Result<Option<Arc<str>>, Fault> {
        match (named?, own) {
            (Some(named), own) if may_name_any || own.as_ref() == Some(&named) => Ok(Some(named)),
            (Some(_), _) => Err(Fault::Forbidden { reason: "tenant_of_others" }),
            (None, None) if self.route.as_ref().is_some_and(|route| route.needs_tenant()) => {
                Err(Fault::Forbidden { reason: "tenant_not_named" })
            }
            (None, own) => Ok(own),
        }
    }
}

/// A refusal in a word.
fn result_of(fault: &Fault) -> &'static str {
    match fault {
        Fault::Unauthenticated { has_credential: false, .. } => "missing",
        Fault::Unauthenticated { reason: token::EXPIRED | KEY_EXPIRED, .. } => "expired",
        Fault::Forbidden { .. } => "forbidden",
        Fault::Locked { .. } => "limited",
        Fault::Unverifiable => "unavailable",
        _ => "invalid",
    }
}

/// Three parts, of which the first begins like `{"` in base64url. What a key is made of has no dots.
fn looks_like_token(bearer: &str) -> bool {
    bearer.starts_with("eyJ") && bearer.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl Policy for Auth {
    const NAME: &'static str = "auth";

    /// The models that a key may be used for, and what a call is about, are known only when the call was read.
    async fn apply<N: Next>(&self, call: Box<Call>, next: &N) -> Outcome {
        let is_asked = !self.asked.methods.is_empty();
        let key = call.head.api_key.as_ref().filter(|_| is_asked);
        if let Err(fault) = self.judge(&call.head, &call.request) {
            if is_asked {
                let method = if key.is_some() { AuthMethod::ApiKey } else { AuthMethod::Jwt };
                call.trail.facts().auth = Some(AuthFact { method: method.as_str(), result: result_of(&fault) });
            }
            return Err(fault);
        }
        let limited = key.filter(|_| listed::is_asked(&call.request)).and_then(|name| self.door.named(name));
        match limited.filter(|key| !key.models.is_empty()) {
            Some(key) => Ok(listed::only(next.call(call).await?, &key.models)),
            None => next.call(call).await,
        }
    }
}
