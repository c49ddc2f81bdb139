//! The head of a call: who calls, through which route, and what the caller wants besides its answer.
//!
//! It does not know what is asked, nor how the caller was identified (that is `policy/auth`).

use std::net::IpAddr;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use http::Method;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::known::KnownRequest;
use crate::model::caller_headers::CallerHeaders;
use crate::model::ip_ranges;
use crate::model::names::customer;

/// The tier of callers that name no user, and of those from the internet that have not shown who they are.
pub static ANONYMOUS: LazyLock<Arc<str>> = LazyLock::new(|| "anonymous".into());

/// The parts of a request that stay the same whatever happens to it. Who calls is what the `auth` policy found out, and not
/// what headers say.
#[derive(Debug)]
pub struct Head {
    /// The request id, ours or the caller's.
    pub id: Arc<str>,
    /// The name of the route in the config.
    pub route: Arc<str>,
    /// The tenant (restaurant) on whose behalf the call is made.
    pub tenant: Arc<str>,
    /// False when nobody named the tenant: then it is a word that many share.
    pub is_tenant_named: bool,
    /// The user, when it is known.
    pub user: Option<Arc<str>>,
    /// What the user may do, as far as a token says.
    pub role: Option<Arc<str>>,
    /// What kind of customer the caller is: `anonymous`, or a word of the config's.
    pub tier: Arc<str>,
    /// Which API key was shown: its name. Where nothing is asked for: a digest of the key that was sent all the same, as a
    /// bearer token or in `X-Api-Key`, which nobody has checked.
    pub api_key: Option<Arc<str>>,
    /// What tells this caller from others that named neither tenant nor user: a digest of its checked key or user, else of all
    /// credentials that it sent (`Authorization`, `X-Api-Key`, ...), which nobody has checked.
    pub credential: Option<[u8; 32]>,
    /// What the caller wants of answers that are kept.
    pub wishes: CacheDirectives,
    /// True when tenant, user and key were proven. Otherwise they are what the caller says.
    pub is_proven: bool,
    /// True when the caller may use what the operator's account at a provider keeps.
    pub account: bool,
    /// What makes it a call that is executed once only; `None` where its caller has given it no `Idempotency-Key`.
    pub once: Option<Once>,
    /// What is known of the request from when its caller has sent the same before; `None`: nothing.
    pub known: Option<Arc<KnownRequest>>,
    /// The caller's address: the peer's, or what a trusted proxy says.
    pub address: IpAddr,
    /// True when many callers are known to come from it, and nothing tells which of them this is.
    pub is_address_shared: bool,
    /// The request's method.
    pub method: Method,
    /// The request's headers, some of which may reach a provider of the caller's own dialect.
    pub headers: CallerHeaders,
    /// Wall-clock time of arrival.
    pub received: jiff::Timestamp,
    /// See [`Head::caller_digest`].
    pub digest: CallerDigest,
}

/// A digest of a caller, once somebody has asked for it: several policies do, for each attempt.
#[derive(Debug, Default)]
pub struct CallerDigest(OnceLock<u64>);

impl Head {
    /// The head of a request without headers, of which nothing is known but this: a POST from the beginning of time.
    pub fn anonymous(id: Arc<str>, route: Arc<str>, tenant: Arc<str>, address: IpAddr) -> Self {
        Self {
            id,
            route,
            tenant,
            is_tenant_named: false,
            user: None,
            role: None,
            tier: ANONYMOUS.clone(),
            api_key: None,
            credential: None,
            wishes: CacheDirectives::default(),
            is_proven: false,
            account: false,
            once: None,
            known: None,
            address,
            is_address_shared: false,
            method: Method::POST,
            headers: CallerHeaders::default(),
            received: jiff::Timestamp::UNIX_EPOCH,
            digest: CallerDigest::default(),
        }
    }

    /// A number that tells this caller from others, as far as anything is known of it.
    pub fn caller_digest(&self) -> u64 {
        *self.digest.0.get_or_init(|| {
            let mut bytes = SmallVec::<[u8; 256]>::new();
            for part in [Some(&self.tenant), self.user.as_ref(), self.api_key.as_ref()] {
                // One more than its length, so that none is not an empty one.
                bytes.extend_from_slice(&part.map_or(0, |part| part.len() as u64 + 1).to_le_bytes());
                bytes.extend_from_slice(part.map_or(&[], |part| part.as_bytes()));
            }
            bytes.push(self.credential.is_some().into());
            bytes.extend_from_slice(self.credential.as_ref().map_or(&[], |credential| &credential[..]));
            match customer(self.address) {
                IpAddr::V4(address) => bytes.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => bytes.extend_from_slice(&address.octets()),
            }
            SipHasher13::new().hash(&bytes)
        })
    }
}

/// A request that is executed once only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// The caller's key, as a hash that no other caller's key has, nor the same key on another route.
    pub key: [u8; 32],
    /// The request, as a hash: two that differ are not the same, whatever key they have.
    pub request: [u8; 32],
}

/// What a caller wants of answers that are kept: the directives of its `Cache-Control` (RFC 9111, 5.2.1) that are heeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheDirectives {
    /// `no-store`: neither keep the answer nor give a kept one.
    pub leaves_no_trace: bool,
    /// `no-cache`: a new answer.
    pub wants_new: bool,
    /// `only-if-cached`: a cached response, or none.
    pub only_kept: bool,
    /// `max-age`: a cached response no older than this.
    pub max_age: Option<Duration>,
}

/// Who calls, as far as that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// See [`Head::tenant`].
    pub tenant: Arc<str>,
    /// See [`Head::is_tenant_named`].
    pub is_tenant_named: bool,
    /// See [`Head::user`].
    pub user: Option<Arc<str>>,
    /// See [`Head::role`].
    pub role: Option<Arc<str>>,
    /// See [`Head::tier`].
    pub tier: Option<Arc<str>>,
    /// See [`Head::api_key`].
    pub api_key: Option<Arc<str>>,
    /// See [`Head::account`].
    pub account: bool,
}

impl Principal {
    /// True when it is somebody. On the internet anybody can make up a user.
    pub fn is_known(&self, is_proven: bool, address: IpAddr) -> bool {
        let is_named = self.user.is_some() || self.api_key.is_some();
        is_named && (is_proven || ip_ranges::is_near(address))
    }
}
