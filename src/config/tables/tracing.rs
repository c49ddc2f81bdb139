//! Tracing: reads `[tracing]`: where the spans of calls are exported, and which are sampled.
//!
//! It does not know what is in a span.

use http::{HeaderName, HeaderValue};
use url::Url;

use crate::config::engine::document::Value;
use crate::config::engine::reader::Section;
use crate::config::engine::secret::Secret;
use crate::config::engine::value;
use crate::config::engine::value::{Expected, Parsed};
use crate::config::plan::telemetry::{Propagation, Protocol, TenantShown, TracingPlan};

/// The port at which collectors speak gRPC (IANA: opentelemetry).
const GRPC_PORT: u16 = 4317;

const PROTOCOLS: &[(Protocol, &str)] = &[(Protocol::Grpc, "grpc"), (Protocol::Http, "http/protobuf")];

const TENANTS: &[(TenantShown, &str)] =
    &[(TenantShown::Hash, "hash"), (TenantShown::Name, "name"), (TenantShown::Off, "off")];

/// The words for [`Propagation`].
pub(in crate::config) const PROPAGATIONS: &[(Propagation, &str)] =
    &[(Propagation::None, "none"), (Propagation::Parent, "traceparent"), (Propagation::All, "all")];

/// `[tracing]`; `service` is the one of the log, for who names no other.
pub(in crate::config) fn read(root: &mut Section<'_>, service: &str) -> TracingPlan {
    let mut section = root.section("tracing");
    let endpoint = section.optional("endpoint", value::url);
    let usual = match endpoint.as_ref().and_then(Url::port) {
        Some(GRPC_PORT) => Protocol::Grpc,
        _ => Protocol::Http,
    };
    let headers: Vec<_> = section.list("headers", header).unwrap_or_default().into_iter().map(|at| at.value).collect();
    let whole = headers.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect::<Vec<_>>().join(",");
    section.hide("headers", Some(&Secret::new(&whole)).filter(|_| !headers.is_empty()));
    let plan = TracingPlan {
        protocol: section.optional("protocol", value::word("a protocol", PROTOCOLS)).unwrap_or(usual),
        endpoint,
        headers,
        service: section.optional("service", value::text).unwrap_or_else(|| service.into()).into(),
        ratio: section.required("ratio", value::share).unwrap_or_default(),
        follows_parent: section.required("follow_parent", value::boolean).unwrap_or_default(),
        tenant: section.required("tenant", value::word("a choice", TENANTS)).unwrap_or(TenantShown::Hash),
        queue: section.required("queue", value::count).unwrap_or_default(),
        timeout: section.required("timeout", value::duration).unwrap_or_default(),
    };
    section.close();
    plan
}

/// `NAME=VALUE`, the value percent-encoded where it has to be (OpenTelemetry: OTEL_EXPORTER_OTLP_HEADERS).
fn header(value: &Value) -> Parsed<(HeaderName, Secret)> {
    let wanted = || Expected::secret("a header", "NAME=VALUE, with special characters as %XX");
    let text = value::secret_text(value)?;
    let (name, value) = text.expose().split_once('=').ok_or_else(wanted)?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| wanted())?;
    let value = decoded(value.trim()).ok_or_else(wanted)?;
    HeaderValue::from_str(&value).map_err(|_| wanted())?;
    Ok((name, Secret::new(&value)))
}

/// Text with its `%XX` read.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            plain => bytes.push(*plain),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Variables, load};

    fn plan(text: &str, variables: &[(&str, &str)]) -> TracingPlan {
        let map: BTreeMap<_, _> = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        load(Some(("x.toml", text)), &Variables::new(map, BTreeMap::new())).unwrap().tracing
    }

    #[test]
    fn the_usual_variables_are_enough() {
        let plan = plan(
            "",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20canary,x-team = one"),
                ("OTEL_SERVICE_NAME", "gate"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ],
        );
        assert_eq!((plan.protocol, &*plan.service, plan.ratio), (Protocol::Http, "gate", 0.25));
        let headers: Vec<_> = plan.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(headers, [("api-key", "a canary"), ("x-team", "one")]);
        assert!(!format!("{plan:?}").contains("canary"));
    }

    #[test]
    fn the_port_for_grpc_means_grpc_unless_something_else_is_said() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        assert_eq!(plan("", &[endpoint]).protocol, Protocol::Grpc);
        let said = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        assert_eq!(plan("", &[endpoint, said]).protocol, Protocol::Http);
    }

    #[test]
    fn a_header_that_is_none_is_refused_without_being_shown() {
        for wrong in ["canary", "a b=canary", "a=%zzcanary", "a=%"] {
            let text = format!("[tracing]\nheaders = [{wrong:?}]\n");
            let problems = load(Some(("x.toml", &text)), &Variables::default()).unwrap_err().to_string();
            assert!(problems.contains("x.toml:2:12: tracing.headers") && !problems.contains("canary"), "{problems}");
        }
    }
}
