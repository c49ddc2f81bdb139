//! Webhook URL: where a caller may have the gateway send a message.
//!
//! It does not know what a name means: whoever connects checks the address that it leads to.

use url::Url;

use crate::model::ip_ranges::names_private;

/// The longest URL, in bytes.
const LONGEST: usize = 2048;

/// Which URLs are allowed beside public ones with TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookUrls {
    /// `http` too: whoever is on the way reads what is sent.
    pub allows_http: bool,
    /// Addresses that are not public too: callers then reach what this machine reaches.
    pub allows_private: bool,
}

impl WebhookUrls {
    /// Reads a URL. The error says what it must be, and does not repeat it: its path may hold a secret.
    pub fn check(self, text: &str) -> Result<Url, &'static str> {
        if text.len() > LONGEST {
            return Err("must be a URL of at most 2048 bytes");
        }
        let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        // The slashes too: a parser of URLs would add them.
        let has_scheme = begins("https://") || (self.allows_http && begins("http://"));
        let url = Url::parse(text).ok().filter(|_| has_scheme).ok_or(match self.allows_http {
            false => "must be a URL that begins with https://",
            true => "must be a URL that begins with https:// or http://",
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must be a URL without user name and password");
        }
        if url.fragment().is_some() {
            return Err("must be a URL without a fragment (`#`), which is never sent");
        }
        if !self.allows_private && names_private(&url) {
            return Err("must be a URL of a public address, not of this machine or a private network");
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: WebhookUrls = WebhookUrls { allows_http: false, allows_private: false };

    #[test]
    fn urls_of_public_places_with_tls_are_allowed() {
        for url in ["https://shop.example/hooks?key=a%2Fb", "HTTPS://shop.example:8443", "https://8.8.8.8/x"] {
            assert!(STRICT.check(url).is_ok(), "{url}");
        }
        assert!(STRICT.check(&format!("https://shop.example/{}", "x".repeat(2027))).is_ok());
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_what_is() {
        let long = format!("https://shop.example/{}", "x".repeat(2028));
        for (url, why) in [
            ("", "https://"),
            ("shop.example/hooks", "https://"),
            ("/hooks", "https://"),
            ("https:shop.example", "https://"),
            ("https://", "https://"),
            ("http://shop.example/", "https://"),
            ("ftp://shop.example/", "https://"),
            ("file:///etc/passwd", "https://"),
            ("javascript:alert(1)", "https://"),
            ("https://user@shop.example/", "user name"),
            ("https://:pass@shop.example/", "user name"),
            ("https://shop.example/#canary", "fragment"),
            ("https://127.0.0.1/", "public"),
            ("https://2130706433/", "public"),
            ("https://0x7f.1/", "public"),
            ("https://localhost./", "public"),
            ("https://169.254.169.254/latest/meta-data", "public"),
            ("https://[::1]/", "public"),
            ("https://[::ffff:10.0.0.1]/", "public"),
            ("https://[fd00:ec2::254]/", "public"),
            (&long, "2048"),
        ] {
            let fault = STRICT.check(url).unwrap_err();
            assert!(fault.contains(why) && !fault.contains("canary"), "{url}: {fault}");
        }
    }

    #[test]
    fn each_exception_allows_one_thing() {
        let http = WebhookUrls { allows_http: true, ..STRICT };
        assert!(http.check("http://shop.example/").is_ok() && http.check("https://shop.example/").is_ok());
        assert!(http.check("http://127.0.0.1/").unwrap_err().contains("public"));
        assert!(http.check("ftp://shop.example/").unwrap_err().contains("http://"));
        let private = WebhookUrls { allows_private: true, ..STRICT };
        assert!(private.check("https://10.0.0.1/").is_ok());
        assert!(private.check("http://10.0.0.1/").unwrap_err().contains("https://"));
    }
}
