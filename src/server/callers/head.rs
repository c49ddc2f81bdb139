//! Head: what is known of a request before its body is read: its target, the client's address, and the credentials.
//!
//! It does not know what is requested, nor whether a credential is valid: the `auth` policy verifies it.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::request::Parts;

use crate::gateway::{Gateway, Route};
use crate::model::call::{CacheDirectives, CallerDigest, Head, Once, Principal};
use crate::model::fault::Fault;
use crate::model::ip_ranges;
use crate::model::names::is_plain_id;
use crate::policy::auth::{Shown, Visitor};
use crate::policy::observe::Watch;
use crate::server::callers::address::Peer;
use crate::server::callers::credentials::LastShown;
use crate::server::callers::present::{Present, Sought};
use crate::server::callers::{address, authority, cache_control, credentials, idempotency};

/// What stands for a route where none is known.
static NO_ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "none".into());

/// One request that is being answered, at either listener.
pub(in crate::server) struct RequestContext<'a> {
    /// The gateway that answers it, to the end.
    pub(in crate::server) gateway: &'a Gateway,
    /// The other end of its connection.
    pub(in crate::server) peer: Peer,
    /// Who calls, in a simulated world: nobody has to be asked. On the network nobody is known before.
    pub(in crate::server) assumed: Option<&'a Principal>,
    /// What its connection's requests have shown before it.
    pub(in crate::server) last_shown: &'a LastShown,
    /// When it came, by the wall clock.
    pub(in crate::server) received: jiff::Timestamp,
    /// Its id.
    pub(in crate::server) id: &'a Arc<str>,
    /// Its head.
    pub(in crate::server) parts: &'a Arc<Parts>,
    /// Which headers it has.
    pub(in crate::server) present: Present,
    /// Whether its path can be read in one way only.
    pub(in crate::server) target: Result<(), Fault>,
}

impl RequestContext<'_> {
    /// Refuses a request whose target or authority is ambiguous.
    pub(in crate::server) fn check_target(&self) -> Result<(), Fault> {
        self.target.clone()?;
        authority::check(self.parts)
    }

    /// What the wall clock shows so long after the request came: it is looked at once for each.
    pub(in crate::server) fn after(&self, elapsed: Duration) -> jiff::Timestamp {
        self.received.checked_add(elapsed).unwrap_or(self.received)
    }

    /// The head of a request whose caller is not known yet, or need not be.
    pub(in crate::server) fn anonymous(&self) -> Head {
        let tenant = self.gateway.plan.default_tenant.clone();
        Head {
            method: self.parts.method.clone(),
            is_address_shared: self.is_address_shared(),
            received: self.received,
            ..Head::anonymous(self.id.clone(), NO_ROUTE.clone(), tenant, self.address())
        }
    }

    /// Who calls, and what is known of the request before its body is read. A route that is switched off for who calls is none.
    pub(super) async fn head(&self, route: &Route, watch: &Watch) -> Result<Head, Fault> {
        let (headers, present) = (&self.parts.headers, self.present);
        let shown = credentials::shown(headers, present);
        let principal = match self.assumed {
            None => route.auth.admit(self.visitor(shown), &watch.trail).await?,
            Some(assumed) => assumed.clone(),
        };
        let is_asked = !route.plan.auth.methods.is_empty();
        let is_known = principal.is_known(is_asked, self.address());
        let key = match present.has(Sought::IdempotencyKey) {
            true => idempotency::shown(&self.parts.method, headers)?,
            false => None,
        };
        let needs_credential = route.plan.cache.is_some() || key.is_some();
        let credential = needs_credential
            .then(|| self.credential(principal.api_key.as_ref(), principal.user.as_ref(), is_asked))
            .flatten();
        let once = key.map(|key| {
            let owner = idempotency::Owner {
                route: &route.plan.name,
                tenant: (&principal.tenant, principal.is_tenant_named),
                user: principal.user.as_deref(),
                credential,
                address: credential.is_none().then(|| self.address()),
            };
            Once { key: idempotency::scoped(key, &owner), request: [0; 32] }
        });
        let head = Head {
            id: self.id.clone(),
            route: route.plan.name.clone(),
            tenant: principal.tenant,
            is_tenant_named: principal.is_tenant_named,
            user: principal.user,
            role: principal.role,
            tier: principal.tier.unwrap_or_else(|| self.tier(is_asked, is_known)),
            api_key: principal
                .api_key
                .or_else(|| if is_asked { None } else { self.last_shown.unchecked_key(headers, present, &shown) }),
            account: principal.account || route.opens_account(self.parts.uri.path()),
            method: self.parts.method.clone(),
            credential,
            wishes: match present.has(Sought::CacheControl) {
                true => cache_control::read(headers),
                false => CacheDirectives::default(),
            },
            is_proven: is_asked,
            once,
            known: None,
            address: self.address(),
            is_address_shared: self.is_address_shared(),
            headers: self.parts.clone().into(),
            received: self.received,
            digest: CallerDigest::default(),
        };
        if route.switch.is_on_for(&head) { Ok(head) } else { Err(Fault::RouteDisabled) }
    }

    /// The caller as the authenticator sees it: with these credentials.
    pub(in crate::server) fn visitor<'s>(&self, shown: Shown<'s>) -> Visitor<'s> {
        let (headers, tenant_header) = (&self.parts.headers, &self.gateway.plan.auth.tenant_header);
        Visitor {
            shown,
            tenant: match self.present.may_have(tenant_header) {
                true => credentials::named(headers, tenant_header),
                false => Ok(None),
            },
            user: match self.present.has(Sought::User) {
                true => credentials::named(headers, &credentials::USER_ID),
                false => Ok(None),
            },
            address: self.address(),
            now: self.received,
        }
    }

    /// What kind of customer calls, where neither a token nor a key says. What a header says counts only where everything is
    /// believed.
    fn tier(&self, is_asked: bool, is_known: bool) -> Arc<str> {
        let plan = &self.gateway.plan.limits;
        let header = plan.tier_header.as_ref().filter(|_| !is_asked);
        let said = header.and_then(|name| self.parts.headers.get(name));
        match said.and_then(|value| value.to_str().ok()).filter(|text| is_plain_id(text)) {
            Some(word) => word.into(),
            None => plan.usual_tier(is_known),
        }
    }

    /// What tells a caller from others where no tenant does: its key, whichever secret of it was shown, or its user, so that a
    /// new token finds what the last one kept; else all credentials that it shows.
    pub(super) fn credential(
        &self,
        api_key: Option<&Arc<str>>,
        user: Option<&Arc<str>>,
        is_asked: bool,
    ) -> Option<[u8; 32]> {
        match (api_key, user) {
            (Some(name), _) if is_asked => Some(digest(format!("API key {name}").as_bytes())),
            (None, Some(user)) if is_asked => Some(digest(format!("user {user}").as_bytes())),
            _ => self.last_shown.fingerprint(&self.parts.headers, self.present),
        }
    }

    /// True when many callers come through the peer, of which the config says nothing.
    fn is_address_shared(&self) -> bool {
        let (peer, fronts) = (self.peer.address, &self.gateway.state.limits().fronts);
        self.gateway.plan.server.trusted_proxies.is_empty()
            && ip_ranges::is_near(peer)
            && fronts.has_many(peer, self.client())
    }

    /// The client that a proxy names, whoever that proxy is.
    fn client(&self) -> Option<IpAddr> {
        self.present.has(Sought::Forwarded).then(|| address::of_client(&self.parts.headers)).flatten()
    }

    /// The caller's address: the peer's, or the one that trusted proxies name.
    pub(in crate::server) fn address(&self) -> IpAddr {
        let plan = &self.gateway.plan.server;
        address::of_caller(self.peer.address, &self.parts.headers, &plan.trusted_proxies, plan.proxy_header)
    }
}

/// What tells one credential from another, and reveals neither.
fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}
