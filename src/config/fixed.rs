//! Fixed: what a running gateway cannot change, because a socket is bound or a log line has its form.
//!
//! It does not know why a plan is replaced.

use super::plan::{Plan, TracingPlan};

/// The keys whose new values wait for a restart.
pub const FIXED: [&str; 23] = [
    "environment",
    "flags.state_file",
    "limits.max_keys",
    "log.format",
    "log.repeats",
    "log.service",
    "sentry.dsn",
    "server.admin",
    "server.host",
    "server.max_buffered_bytes",
    "server.port",
    "store.gateways",
    "store.key_prefix",
    "store.max_in_flight",
    "store.on_store_error",
    "store.redis_url",
    "store.timeout",
    "tracing.endpoint",
    "tracing.headers",
    "tracing.protocol",
    "tracing.queue",
    "tracing.service",
    "tracing.timeout",
];

impl Plan {
    /// Takes over from the running gateway's plan what cannot change while it runs. Returns the keys whose new values
    /// therefore do not count.
    pub fn keep_fixed(&mut self, running: &Plan) -> Vec<&'static str> {
        let (new, old) = (&*self, running);
        let is_changed = |key: &&str| match *key {
            "environment" => new.environment != old.environment,
            "flags.state_file" => new.flags.state_file != old.flags.state_file,
            "log.format" => new.log.format != old.log.format,
            "log.repeats" => new.log.repeats != old.log.repeats,
            "sentry.dsn" => new.sentry != old.sentry,
            "log.service" => new.log.service != old.log.service,
            "server.admin" => new.server.admin != old.server.admin,
            "server.host" => new.server.listen.ip() != old.server.listen.ip(),
            "server.max_buffered_bytes" => new.server.max_buffered_bytes != old.server.max_buffered_bytes,
            "server.port" => new.server.listen.port() != old.server.listen.port(),
            "store.gateways" => new.store.gateways != old.store.gateways,
            "store.key_prefix" => new.store.key_prefix != old.store.key_prefix,
            "store.max_in_flight" => new.store.max_in_flight != old.store.max_in_flight,
            "store.on_store_error" => new.store.on_store_error != old.store.on_store_error,
            "store.timeout" => new.store.timeout != old.store.timeout,
            "limits.max_keys" => new.limits.max_keys != old.limits.max_keys,
            "tracing.endpoint" => new.tracing.endpoint != old.tracing.endpoint,
            "tracing.headers" => new.tracing.headers != old.tracing.headers,
            "tracing.protocol" => new.tracing.protocol != old.tracing.protocol,
            "tracing.queue" => new.tracing.queue != old.tracing.queue,
            "tracing.service" => new.tracing.service != old.tracing.service,
            "tracing.timeout" => new.tracing.timeout != old.tracing.timeout,
            _ => new.store.redis_url != old.store.redis_url,
        };
        let kept: Vec<&'static str> = FIXED.into_iter().filter(is_changed).collect();
        self.environment = old.environment;
        self.flags.state_file.clone_from(&old.flags.state_file);
        self.log.format = old.log.format;
        self.log.service.clone_from(&old.log.service);
        self.log.repeats = old.log.repeats;
        self.sentry = old.sentry.clone();
        self.server.admin = old.server.admin;
        self.server.listen = old.server.listen;
        self.server.max_buffered_bytes = old.server.max_buffered_bytes;
        self.store = old.store.clone();
        self.limits.max_keys = old.limits.max_keys;
        let TracingPlan { ratio, follows_parent, tenant, .. } = self.tracing;
        self.tracing = TracingPlan { ratio, follows_parent, tenant, ..old.tracing.clone() };
        for key in &kept {
            self.effective.keep(key, &old.effective);
        }
        kept
    }
}
