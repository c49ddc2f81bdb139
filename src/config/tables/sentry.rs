//! Sentry: reads `[sentry]`, where the gateway's own faults are reported.
//!
//! It does not know what is in a report.

use url::Url;

use crate::config::engine::document::Value;
use crate::config::engine::reader::Section;
use crate::config::engine::secret::Secret;
use crate::config::engine::value;
use crate::config::engine::value::{Expected, Parsed};
use crate::config::plan::telemetry::{Dsn, SentryPlan};

/// `[sentry]`
pub(in crate::config) fn read(root: &mut Section<'_>) -> SentryPlan {
    let mut section = root.section("sentry");
    let plan = SentryPlan { dsn: section.optional("dsn", dsn) };
    section.close();
    plan
}

fn dsn(value: &Value) -> Parsed<Dsn> {
    let text = value::secret_text(value)?;
    parse(text.expose()).ok_or_else(|| Expected::secret("a Sentry address", "https://KEY@HOST/PROJECT"))
}

fn parse(text: &str) -> Option<Dsn> {
    let mut url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    url.host_str()?;
    let key =
        Some(url.username()).filter(|key| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric()))?;
    let key = Secret::new(key);
    let (path, project) = url.path().trim_end_matches('/').rsplit_once('/')?;
    if project.is_empty() || !project.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let path = format!("{path}/api/{project}/envelope/");
    url.set_path(&path);
    url.set_query(None);
    url.set_fragment(None);
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(Dsn { envelope: url, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_its_key_does_not_show() {
        let dsn = parse("https://canary@o1.ingest.example/4505").unwrap();
        assert_eq!(dsn.envelope.as_str(), "https://o1.ingest.example/api/4505/envelope/");
        assert_eq!(dsn.key.expose(), "canary");
        assert!(!format!("{dsn:?}").contains("canary"));
        let own = parse("http://k:old@127.0.0.1:9000/sentry/2/").unwrap();
        assert_eq!(own.envelope.as_str(), "http://127.0.0.1:9000/sentry/api/2/envelope/");
    }

    #[test]
    fn what_is_no_address_is_none() {
        for wrong in
            ["canary", "https://o1.example/1", "https://k@o1.example/", "https://k@o1.example/x", "ftp://k@h/1"]
        {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
