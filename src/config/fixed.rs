//! Settings that need a restart, because a socket is bound or the log format is set.
//!
//! It does not know why a plan is replaced.

use super::plan::Plan;

/// Takes a setting over from the running gateway's plan. True if the new plan had another value.
type Keep = fn(&mut Plan, &Plan) -> bool;

/// The keys whose new values wait for a restart, each with what keeps its value until then. There is one list, so that no
/// key can be reported as waiting while its value is taken, or the other way round.
const FIXED: [(&str, Keep); 26] = [
    ("environment", |new, old| keep(&mut new.environment, &old.environment)),
    ("flags.state_file", |new, old| keep(&mut new.flags.state_file, &old.flags.state_file)),
    ("jobs.redis_url", |new, old| {
        new.jobs.address.clone_from(&old.jobs.address);
        keep(&mut new.jobs.redis_url, &old.jobs.redis_url)
    }),
    ("jobs.secret", |new, old| keep(&mut new.jobs.secret, &old.jobs.secret)),
    ("jobs.state_file", |new, old| keep(&mut new.jobs.state_file, &old.jobs.state_file)),
    ("limits.max_keys", |new, old| keep(&mut new.limits.max_keys, &old.limits.max_keys)),
    ("log.format", |new, old| keep(&mut new.log.format, &old.log.format)),
    ("log.repeats", |new, old| keep(&mut new.log.repeats, &old.log.repeats)),
    ("log.service", |new, old| keep(&mut new.log.service, &old.log.service)),
    ("sentry.dsn", |new, old| keep(&mut new.sentry.dsn, &old.sentry.dsn)),
    ("server.admin", |new, old| keep(&mut new.server.admin, &old.server.admin)),
    ("server.host", |new, old| {
        let is_other = new.server.listen.ip() != old.server.listen.ip();
        new.server.listen.set_ip(old.server.listen.ip());
        is_other
    }),
    ("server.max_buffered_bytes", |new, old| keep(&mut new.server.max_buffered_bytes, &old.server.max_buffered_bytes)),
    ("server.port", |new, old| {
        let is_other = new.server.listen.port() != old.server.listen.port();
        new.server.listen.set_port(old.server.listen.port());
        is_other
    }),
    ("store.gateways", |new, old| keep(&mut new.store.gateways, &old.store.gateways)),
    ("store.key_prefix", |new, old| keep(&mut new.store.key_prefix, &old.store.key_prefix)),
    ("store.max_in_flight", |new, old| keep(&mut new.store.max_in_flight, &old.store.max_in_flight)),
    ("store.on_store_error", |new, old| keep(&mut new.store.on_store_error, &old.store.on_store_error)),
    ("store.redis_url", |new, old| {
        new.store.address.clone_from(&old.store.address);
        keep(&mut new.store.redis_url, &old.store.redis_url)
    }),
    ("store.timeout", |new, old| keep(&mut new.store.timeout, &old.store.timeout)),
    ("tracing.endpoint", |new, old| keep(&mut new.tracing.endpoint, &old.tracing.endpoint)),
    ("tracing.headers", |new, old| keep(&mut new.tracing.headers, &old.tracing.headers)),
    ("tracing.protocol", |new, old| keep(&mut new.tracing.protocol, &old.tracing.protocol)),
    ("tracing.queue", |new, old| keep(&mut new.tracing.queue, &old.tracing.queue)),
    ("tracing.service", |new, old| keep(&mut new.tracing.service, &old.tracing.service)),
    ("tracing.timeout", |new, old| keep(&mut new.tracing.timeout, &old.tracing.timeout)),
];

fn keep<T: Clone + PartialEq>(new: &mut T, old: &T) -> bool {
    let is_other = new != old;
    new.clone_from(old);
    is_other
}

/// True if a new value of this key waits for a restart.
pub fn needs_restart(key: &str) -> bool {
    FIXED.iter().any(|(fixed, _)| *fixed == key)
}

impl Plan {
    /// Takes over from the running gateway's plan what cannot change while it runs. Returns the keys whose new values
    /// wait for a restart.
    pub fn keep_fixed(&mut self, running: &Plan) -> Vec<&'static str> {
        let mut kept = Vec::new();
        for (key, keep) in FIXED {
            if keep(self, running) {
                self.effective.keep(key, &running.effective);
                kept.push(key);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Variables, load};

    /// Every key that waits for a restart, with a value.
    const RUNNING: &str = "
        environment = 'development'
        flags = { state_file = '/tmp/a' }
        jobs = { state_file = '/tmp/c', secret_env = 'ONE', redis_url = 'redis://127.0.0.1:3' }
        limits = { max_keys = 1000 }
        log = { format = 'json', repeats = 5, service = 'a' }
        sentry = { dsn = 'https://a@sentry.example/1' }
        [server]
        host = '127.0.0.1'
        port = 1111
        admin = '127.0.0.1:2222'
        max_buffered_bytes = '100MiB'
        [store]
        redis_url = 'redis://127.0.0.1:1'
        key_prefix = 'p'
        gateways = 1
        max_in_flight = 10
        timeout = '50ms'
        on_store_error = 'local'
        [tracing]
        endpoint = 'http://127.0.0.1:4317'
        headers = ['x=a']
        protocol = 'grpc'
        service = 'b'
        timeout = '1s'
        queue = 100
    ";

    fn plan(text: &str) -> Plan {
        let keys = [("OPENAI_API_KEY", "k"), ("TOGETHER_API_KEY", "k"), ("ONE", "1"), ("TWO", "2")];
        let keys = keys.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        load(Some(("x.toml", text)), &Variables::new(keys, BTreeMap::new())).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    /// The whole plan as text, with the secrets that its Debug form hides.
    fn told(plan: &Plan) -> String {
        let headers = plan.tracing.headers.iter().map(|(name, value)| format!("{name}={}", value.expose()));
        let headers = headers.collect::<Vec<_>>().join(",");
        let redis = plan.store.redis_url.as_ref().map(|url| url.expose().to_owned());
        let of_jobs = plan.jobs.redis_url.as_ref().map(|url| url.expose().to_owned());
        let jobs = plan.jobs.secret.as_ref().map(|secret| secret.expose().to_owned());
        let sentry = plan.sentry.dsn.as_ref().map(|dsn| dsn.key.expose().to_owned());
        format!("{plan:?} {headers} {redis:?} {sentry:?} {jobs:?} {of_jobs:?}")
    }

    /// Where two texts differ first, with a little around it: a whole plan fills the screen.
    fn difference(one: &str, other: &str) -> String {
        let at = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
        let part =
            |text: &str| String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(60)..]).chars().take(120).collect();
        let [one, other]: [String; 2] = [one, other].map(part);
        format!("{one}\n{other}")
    }

    #[test]
    fn a_reload_keeps_the_value_of_each_key_that_waits_for_a_restart() {
        let changes = [
            ("environment", "'development'", "'staging'"),
            ("flags.state_file", "'/tmp/a'", "'/tmp/b'"),
            ("jobs.redis_url", "redis://127.0.0.1:3", "redis://127.0.0.1:4"),
            ("jobs.secret", "'ONE'", "'TWO'"),
            ("jobs.state_file", "'/tmp/c'", "'/tmp/d'"),
            ("limits.max_keys", "max_keys = 1000", "max_keys = 2000"),
            ("log.format", "format = 'json'", "format = 'pretty'"),
            ("log.repeats", "repeats = 5", "repeats = 6"),
            ("log.service", "service = 'a'", "service = 'c'"),
            ("sentry.dsn", "https://a@sentry", "https://b@sentry"),
            ("server.admin", ":2222", ":2223"),
            ("server.host", "host = '127.0.0.1'", "host = '127.0.0.2'"),
            ("server.max_buffered_bytes", "100MiB", "200MiB"),
            ("server.port", "port = 1111", "port = 1112"),
            ("store.gateways", "gateways = 1", "gateways = 2"),
            ("store.key_prefix", "'p'", "'q'"),
            ("store.max_in_flight", "max_in_flight = 10", "max_in_flight = 11"),
            ("store.on_store_error", "'local'", "'deny'"),
            ("store.redis_url", "redis://127.0.0.1:1", "redis://127.0.0.1:2"),
            ("store.timeout", "'50ms'", "'60ms'"),
            ("tracing.endpoint", ":4317", ":4318"),
            ("tracing.headers", "x=a", "x=b"),
            ("tracing.protocol", "'grpc'", "'http/protobuf'"),
            ("tracing.queue", "queue = 100", "queue = 101"),
            ("tracing.service", "service = 'b'", "service = 'c'"),
            ("tracing.timeout", "'1s'", "'2s'"),
        ];
        assert_eq!(changes.map(|(key, ..)| key), FIXED.map(|(key, _)| key), "each key has its row");
        let running = plan(RUNNING);
        for (key, before, after) in changes {
            assert_eq!(RUNNING.matches(before).count(), 1, "{key}");
            let mut new = plan(&RUNNING.replace(before, after));
            assert!(told(&new) != told(&running), "{key} makes no difference");
            assert_eq!(new.keep_fixed(&running), [key]);
            if key == "environment" {
                // Its name waits. Defaults that depend on it, such as `cache.enabled`, are keys of their own and apply.
                assert_eq!(new.environment, running.environment);
                continue;
            }
            if key == "jobs.secret" {
                // Which variable has it is a key of its own.
                let secret = |plan: &Plan| plan.jobs.secret.as_ref().map(|secret| secret.expose().to_owned());
                assert_eq!(secret(&new), secret(&running));
                continue;
            }
            assert!(told(&new) == told(&running), "{key}: {}", difference(&told(&new), &told(&running)));
        }
    }
}
