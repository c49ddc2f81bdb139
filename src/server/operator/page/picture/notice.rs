//! A problem as the live page shows it: how much it matters, what it is about, and where to read and look on.
//!
//! It does not know which problems there are now.

use serde_json::{Value, json};
use url::form_urlencoded;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Callers notice it.
    Bad,
    /// They may soon.
    Warn,
    /// It is as the configuration wants it, and explains what callers see.
    Note,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Bad => "bad",
            Level::Warn => "warn",
            Level::Note => "note",
        }
    }
}

/// What a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server::operator::page) enum Topic {
    Draining,
    ErrorRate,
    KeyRefused,
    BreakerOpen,
    BuildPanelUnreachable,
    ProviderUnreachable,
    Fallbacks,
    StoreOut,
    ConfigRefused,
    FlagTripped,
    FlagOff,
    VariantFailing,
    RateLimits,
    Rejections,
    BudgetSpent,
    JobsStoreOut,
    JobsBacklog,
    JobsDead,
}

impl Topic {
    /// All of them, each with the heading of its entry in the runbook.
    pub(in crate::server::operator::page) const ALL: [(Topic, &'static str); 18] = [
        (Topic::Draining, "Draining"),
        (Topic::ErrorRate, "ErrorRateElevated"),
        (Topic::KeyRefused, "KeyRefused"),
        (Topic::BreakerOpen, "BreakerOpen"),
        (Topic::BuildPanelUnreachable, "BuildPanelUnreachable"),
        (Topic::ProviderUnreachable, "ProviderUnreachable"),
        (Topic::Fallbacks, "ProviderErrors"),
        (Topic::StoreOut, "StoreOut"),
        (Topic::ConfigRefused, "ConfigRefused"),
        (Topic::FlagTripped, "FlagTripped"),
        (Topic::FlagOff, "FlagOff"),
        (Topic::VariantFailing, "VariantFailing"),
        (Topic::RateLimits, "RateLimits"),
        (Topic::Rejections, "ProviderRejections"),
        (Topic::BudgetSpent, "BudgetSpent"),
        (Topic::JobsStoreOut, "TidegateJobsStoreOut"),
        (Topic::JobsBacklog, "TidegateJobsBacklog"),
        (Topic::JobsDead, "TidegateJobsDead"),
    ];

    fn heading(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// A problem.
pub(super) struct Notice {
    pub(super) level: Level,
    topic: Topic,
    /// What is wrong. It stays the same while that is so: screen readers read it once.
    text: String,
    /// How much, which changes with each second.
    detail: String,
    /// How long ago it began.
    ago_seconds: Option<i64>,
    /// Which calls show it, as the query of a list of calls.
    calls: Option<String>,
}

impl Notice {
    pub(super) fn new(level: Level, topic: Topic, text: impl Into<String>) -> Self {
        Self { level, topic, text: text.into(), detail: String::new(), ago_seconds: None, calls: None }
    }

    /// How long ago it began.
    pub(super) fn ago(self, seconds: i64) -> Self {
        Self { ago_seconds: Some(seconds), ..self }
    }

    /// How much, or how often.
    pub(super) fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Which calls show it.
    pub(super) fn calls(self, conditions: &[(&str, &str)]) -> Self {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(conditions).finish();
        Self { calls: Some(query), ..self }
    }

    pub(super) fn shown(&self) -> Value {
        json!({
            "level": self.level.as_str(),
            "text": self.text,
            "detail": self.detail,
            "agoSeconds": self.ago_seconds,
            "runbook": self.topic.heading(),
            "calls": self.calls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_is_at_its_place_in_the_list() {
        for (place, (topic, heading)) in Topic::ALL.into_iter().enumerate() {
            assert_eq!((topic as usize, topic.heading()), (place, heading));
        }
    }
}
