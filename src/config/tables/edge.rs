//! Edge: reads `[cors]`, `[security]` and `[compression]`: CORS, security headers and compression of responses.
//!
//! It does not know how a request is checked, nor who may call.

use http::{HeaderName, HeaderValue, Method};

use crate::config::engine::document::Value;
use crate::config::engine::reader::{At, Section};
use crate::config::engine::value;
use crate::config::engine::value::{Expected, Parsed};
use crate::config::plan::edge::{CompressionPlan, CorsPlan, EdgePlan, HeaderNames, Origins, SecurityPlan};

/// All of it.
pub(in crate::config) fn read(root: &mut Section<'_>) -> EdgePlan {
    EdgePlan { cors: cors(root), security: security(root), compression: compression(root) }
}

/// `[cors]`
fn cors(root: &mut Section<'_>) -> CorsPlan {
    let mut section = root.section("cors");
    let origins = origins(&mut section);
    let allows_credentials = section.required("credentials", value::boolean).unwrap_or_default();
    if allows_credentials && origins == Origins::Any {
        let message = "`*` with credentials would let every website read the responses to its visitors: allowed \
                       are origins by name, or `*` with `cors.credentials` false";
        section.problem("origins", message);
    }
    let methods = section.required_list("methods", value::method).unwrap_or_default();
    let methods: Vec<&str> = methods.iter().map(|at: &At<Method>| at.value.as_str()).collect();
    let max_age = section.required("max_age", value::duration).unwrap_or_default();
    let plan = CorsPlan {
        origins,
        allows_credentials,
        methods: list(&methods),
        headers: names(&mut section, "headers"),
        exposed: names(&mut section, "exposed"),
        max_age: max_age.as_secs().into(),
        csrf_cookie: section.required("csrf_cookie", cookie).unwrap_or_default().into(),
    };
    section.close();
    plan
}

/// `[security]`
fn security(root: &mut Section<'_>) -> SecurityPlan {
    let mut section = root.section("security");
    let days = section.required("hsts_days", value::few(0)).unwrap_or_default();
    let hsts = HeaderValue::try_from(format!("max-age={}", u64::from(days) * 86_400)).ok();
    let plan = SecurityPlan {
        csp: section.required("csp", policy).unwrap_or(HeaderValue::from_static("")),
        hsts: hsts.filter(|_| days > 0),
        is_https_forced: section.required("force_https", value::boolean).unwrap_or_default(),
    };
    section.close();
    plan
}

/// `[compression]`
fn compression(root: &mut Section<'_>) -> CompressionPlan {
    let mut section = root.section("compression");
    let plan = CompressionPlan {
        is_on: section.required("enabled", value::boolean).unwrap_or_default(),
        min_size: section.required("min_size", value::body_size).unwrap_or_default(),
    };
    section.close();
    plan
}

/// What a header may hold.
fn policy(value: &Value) -> Parsed<HeaderValue> {
    let text = value::text(value).ok().filter(|text| text.is_ascii());
    text.and_then(|text| HeaderValue::try_from(text).ok())
        .ok_or_else(|| Expected::new("a policy", "one line of ASCII text"))
}

fn origins(section: &mut Section<'_>) -> Origins {
    let listed = section.list("origins", origin).unwrap_or_default();
    let frontend = section.optional("frontend_url", value::url);
    if listed.iter().any(|at| &*at.value == "*") {
        return Origins::Any;
    }
    let frontend = frontend.map(|url| url.origin().ascii_serialization().into());
    Origins::Of(listed.into_iter().map(|at| at.value).chain(frontend).collect())
}

/// An origin as browsers spell it, or `*`. `null` is none: any page can make itself one.
fn origin(value: &Value) -> Parsed<Box<str>> {
    if value::text(value).is_ok_and(|text| text == "*") {
        return Ok("*".into());
    }
    let found = value::url(value).ok().filter(|url| matches!(url.path(), "" | "/"));
    let wanted = || Expected::new("an origin", "http(s)://HOST[:PORT] without a path");
    found.map(|url| url.origin().ascii_serialization().into()).ok_or_else(wanted)
}

/// A list of headers' names, and of families of them: `X-Stainless-*`.
fn names(section: &mut Section<'_>, key: &'static str) -> HeaderNames {
    let name = |value: &Value| {
        let text = value::text(value).unwrap_or_default();
        let name = text.strip_suffix("-*").unwrap_or(&text);
        let is_fine = !name.contains('*') && name.parse::<HeaderName>().is_ok();
        if is_fine {
            Ok(text)
        } else {
            Err(Expected::new("the name of a header", "letters, digits and `-`; `-*` at its end"))
        }
    };
    let mut names = HeaderNames::default();
    for text in section.list(key, name).unwrap_or_default().into_iter().map(|at| at.value) {
        match text.strip_suffix('*') {
            Some(family) => names.families.push(family.to_ascii_lowercase().into()),
            None => names.names.push(text.into()),
        }
    }
    names
}

/// Several words as one header.
fn list(words: &[&str]) -> HeaderValue {
    // Methods and headers' names are tokens: any list of them is a header.
    HeaderValue::try_from(words.join(", ")).unwrap_or(HeaderValue::from_static(""))
}

/// The name of a cookie (RFC 6265, 4.1.1).
fn cookie(value: &Value) -> Parsed<String> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let text = value::text(value).ok().filter(|text| text.len() <= 64 && text.bytes().all(is_fine));
    text.ok_or_else(|| Expected::new("the name of a cookie", "1 to 64 ASCII letters, digits, and - _ ."))
}
