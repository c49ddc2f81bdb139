//! Edge: CORS, security headers and compression.

use http::{HeaderName, HeaderValue};

/// What is done to every request before it is looked at, and to every answer before it leaves.
#[derive(Clone, Debug)]
pub struct EdgePlan {
    /// Pages of other websites.
    pub cors: CorsPlan,
    /// What browsers must not do with answers.
    pub security: SecurityPlan,
    /// How answers are compressed.
    pub compression: CompressionPlan,
}

/// `[cors]`
#[derive(Clone, Debug)]
pub struct CorsPlan {
    /// Whose pages may read answers.
    pub origins: Origins,
    /// True: also those that are made for whoever sits at the browser.
    pub allows_credentials: bool,
    /// `Access-Control-Allow-Methods`
    pub methods: HeaderValue,
    /// What pages may ask with.
    pub headers: HeaderNames,
    /// What pages may read.
    pub exposed: HeaderNames,
    /// `Access-Control-Max-Age`
    pub max_age: HeaderValue,
    /// The cookie that holds a page's token, on routes with `csrf`.
    pub csrf_cookie: Box<str>,
}

/// Names of headers, and beginnings of names.
#[derive(Clone, Debug, Default)]
pub struct HeaderNames {
    /// The names, in the order and case in which they were written.
    pub names: Vec<Box<str>>,
    /// What further names begin with, in small letters.
    pub families: Vec<Box<str>>,
}

impl HeaderNames {
    /// True for a header that is among them.
    pub fn has(&self, header: &HeaderName) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(header.as_str())) || self.has_family_of(header)
    }

    /// True for a header that is among them by the beginning of its name.
    pub fn has_family_of(&self, header: &HeaderName) -> bool {
        self.families.iter().any(|family| header.as_str().starts_with(&**family))
    }
}

/// `[security]`
#[derive(Clone, Debug)]
pub struct SecurityPlan {
    /// `Content-Security-Policy` of pages.
    pub csp: HeaderValue,
    /// `Strict-Transport-Security` of what came by HTTPS; `None`: off.
    pub hsts: Option<HeaderValue>,
    /// True: what came in the clear is sent to HTTPS, or refused.
    pub is_https_forced: bool,
}

/// `[compression]`
#[derive(Clone, Copy, Debug)]
pub struct CompressionPlan {
    /// False: answers leave as they are.
    pub is_on: bool,
    /// Bytes; what is not larger leaves as it is.
    pub min_size: usize,
}

/// Whose pages may read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's.
    Any,
    /// Those of these origins, as browsers spell them; none when it is empty.
    Of(Vec<Box<str>>),
}

impl Origins {
    /// True when pages of this origin may read answers.
    pub fn has(&self, origin: &[u8]) -> bool {
        match self {
            Origins::Any => true,
            Origins::Of(origins) => origins.iter().any(|allowed| allowed.as_bytes() == origin),
        }
    }

    /// True when nobody's may.
    pub fn is_empty(&self) -> bool {
        *self == Origins::Of(Vec::new())
    }
}
