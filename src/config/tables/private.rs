//! Private addresses: reads `deny_private` of a provider, and `jwks_deny_private` of `[auth]`: private addresses
//! are rejected, so that a mistake in a file, or a DNS response, sends no prompt and no key to them.
//!
//! Literal addresses are rejected here; names are checked when a connection is made.

use url::Url;

use crate::config::engine::reader::Section;
use crate::config::engine::value;
use crate::model::ip_ranges::names_private;

/// Reads the key `deny` and checks the addresses under the key `at`.
pub(in crate::config) fn deny<'a>(
    section: &mut Section<'_>,
    deny: &'static str,
    at: &'static str,
    urls: impl IntoIterator<Item = &'a Url>,
) -> bool {
    let is_denied = section.optional(deny, value::boolean).unwrap_or(false);
    for url in urls.into_iter().filter(|url| is_denied && names_private(url)) {
        let host = url.host_str().unwrap_or_default();
        section.problem(at, format!("{host} is not a public address, and `{deny}` is true"));
    }
    is_denied
}
