//! Auth: which credentials callers need, and how they are verified.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use jsonwebtoken::Algorithm;
use rustls::pki_types::CertificateDer;
use url::Url;

use crate::config::engine::secret::Secret;
use crate::config::plan::public_key::PublicKey;
use crate::model::api_key::ApiKey;
use crate::model::rate::Rate;

/// `[auth]`, with `[api_key.NAME]`
#[derive(Clone, Debug)]
pub struct AuthPlan {
    /// What tokens are checked with and must say; `None`: nothing is set that could check one.
    pub token: Option<Arc<TokenPlan>>,
    /// The keys of the file.
    pub keys: Vec<Arc<ApiKey>>,
    /// What opens the admin API; `None`: it is off.
    pub admin_token: Option<Secret>,
    /// The header in which callers name a tenant.
    pub tenant_header: HeaderName,
    /// How many wrong credentials may come from one address.
    pub failures: Rate,
    /// What routes ask for that say nothing themselves, where the file says that.
    pub(in crate::config) default: Option<Arc<[AuthMethod]>>,
}

impl AuthPlan {
    /// True when there is something that a caller could be known by.
    pub(in crate::config) fn has_credentials(&self) -> bool {
        self.token.is_some() || !self.keys.is_empty()
    }
}

/// How tokens are checked.
#[derive(Clone, Debug)]
pub struct TokenPlan {
    /// For HS256.
    pub secret: Option<Secret>,
    /// From files.
    pub public_keys: Vec<PublicKey>,
    /// Where more public keys are published.
    pub jwks: Option<JwksPlan>,
    /// What public keys may be used with.
    pub algorithms: Vec<Algorithm>,
    /// Who may issue them; empty: anybody whose key is known.
    pub issuers: Vec<String>,
    /// For whom they must be issued; empty: that does not matter.
    pub audiences: Vec<String>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The longest token, in bytes.
    pub max_token: usize,
    /// Where tokens say what.
    pub claims: ClaimNames,
    /// Roles whose holders may call; empty: those of all users.
    pub roles: Vec<String>,
    /// Roles whose holders may act for any tenant.
    pub override_roles: BTreeSet<String>,
    /// Roles whose holders may use what the operator's account at a provider keeps.
    pub account_roles: BTreeSet<String>,
}

/// The names of claims. One that is not there is looked for in depth: `app_metadata.role`.
#[derive(Clone, Debug)]
pub struct ClaimNames {
    /// The tenant.
    pub tenant: String,
    /// The user.
    pub user: String,
    /// What the user may do.
    pub role: String,
    /// What kind of customer the user is.
    pub tier: String,
}

/// Where public keys are published.
#[derive(Clone, Debug, PartialEq)]
pub struct JwksPlan {
    /// The address of a JSON Web Key Set (RFC 7517).
    pub url: Url,
    /// Certificates to trust there besides the system's.
    pub roots: Vec<CertificateDer<'static>>,
    /// It must not be in a private network.
    pub denies_private: bool,
    /// How often it is read.
    pub refresh: Duration,
    /// How often at most, whatever tokens name.
    pub min_interval: Duration,
}

/// What a caller can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// A signed token (RFC 7519).
    Jwt,
    /// A key that the gateway knows.
    ApiKey,
}

impl AuthMethod {
    /// The word in the config and in metrics.
    pub fn as_str(self) -> &'static str {
        WORDS.iter().find(|(method, _)| *method == Some(self)).map_or("none", |(_, word)| word)
    }
}

/// What a route asks of its callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteAuth {
    /// What they can show; the first that a caller does show decides. Empty: nothing is asked.
    pub methods: Arc<[AuthMethod]>,
    /// The file says so; otherwise it is what is usual for the route's callers.
    pub is_written: bool,
    /// Where nothing is asked: what the caller's headers say of tenant and user is believed.
    pub believes_headers: bool,
    /// Whoever is let in may use what the operator's account at a provider keeps.
    pub account: bool,
}

/// The words of `auth`; `None` is `none`.
pub(in crate::config) const WORDS: &[(Option<AuthMethod>, &str)] =
    &[(None, "none"), (Some(AuthMethod::Jwt), "jwt"), (Some(AuthMethod::ApiKey), "api_key")];
