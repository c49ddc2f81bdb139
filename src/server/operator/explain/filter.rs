//! Which calls are listed, and how: the conditions of a query.
//!
//! It does not know what is shown of a call.

use std::time::Duration;

use http::header;
use http::request::Parts;

use crate::server::operator::answer::Problem;
use crate::telemetry::explain::CallRecord;
use crate::telemetry::traffic::Ended;

/// How many calls are listed unless the request says.
const SHOWN: usize = 50;

/// The most that are listed.
const MOST: usize = 1000;

const ALLOWED: &str = "state (ended, running or all), route, outcome (ok, failed, refused, cancelled, degraded, fallback or a fault's code), \
                       tenant, provider, variant, limit_rule, budget, slow, limit and format (json or text)";

/// Which calls are listed, and how.
#[derive(Default)]
pub(super) struct CallFilter {
    pub(super) is_text: bool,
    pub(super) limit: usize,
    pub(super) state: State,
    route: Option<String>,
    outcome: Option<String>,
    tenant: Option<String>,
    provider: Option<String>,
    variant: Option<String>,
    /// The rule of a rate limit that refused the call.
    rule: Option<String>,
    /// A budget that it did not fit into.
    budget: Option<String>,
    slower_than: Duration,
}

/// Which calls are listed by how far they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Those that are over.
    #[default]
    Ended,
    /// Those in flight.
    Running,
    /// Both.
    All,
}

impl CallFilter {
    pub(super) fn read(parts: &Parts) -> Result<Self, Problem> {
        let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let mut filter = Self { is_text: accept.starts_with("text/plain"), limit: SHOWN, ..Self::default() };
        let wrong = |detail: String| Problem::bad_request(detail);
        for (name, value) in url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            let text = || Some(value.clone().into_owned());
            match (&*name, &*value) {
                ("format", "text") => filter.is_text = true,
                ("format", "json") => filter.is_text = false,
                ("state", "ended") => filter.state = State::Ended,
                ("state", "running") => filter.state = State::Running,
                ("state", "all") => filter.state = State::All,
                ("limit", number) => {
                    let number = number.parse().ok().filter(|number| (1..=MOST).contains(number));
                    filter.limit = number.ok_or_else(|| wrong(format!("`limit` must be between 1 and {MOST}")))?;
                }
                ("slow", number) => {
                    let number = number
                        .parse()
                        .map_err(|_| wrong("`slow` must be a number of milliseconds, such as 500".into()))?;
                    filter.slower_than = Duration::from_millis(number);
                }
                ("route", _) => filter.route = text(),
                ("outcome", _) => filter.outcome = text(),
                ("tenant", _) => filter.tenant = text(),
                ("provider", _) => filter.provider = text(),
                ("variant", _) => filter.variant = text(),
                ("limit_rule", _) => filter.rule = text(),
                ("budget", _) => filter.budget = text(),
                _ => return Err(wrong(format!("unknown parameter {name}={value}; allowed: {ALLOWED}"))),
            }
        }
        Ok(filter)
    }

    /// True for a call that meets the conditions. `pseudonym` is how a tenant is shown to whoever may not read names.
    pub(super) fn matches(&self, record: &CallRecord, pseudonym: impl Fn(&str) -> String) -> bool {
        let facts = &record.facts;
        let is = |wanted: &Option<String>, given: Option<&str>| wanted.as_deref().is_none_or(|it| given == Some(it));
        let has = |wanted: &Option<String>, given: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(given);
        self.is_outcome(record)
            && record.took >= self.slower_than
            && is(&self.route, Some(&record.route))
            && is(&self.variant, facts.variant.as_ref().map(|taken| &*taken.name))
            && has(&self.provider, &|name| facts.attempts.iter().any(|attempt| *attempt.provider == *name))
            && has(&self.rule, &|name| facts.refusing_rules().any(|rule| **rule == *name))
            && has(&self.budget, &|name| facts.budgets.iter().any(|fact| !fact.fits && *fact.budget == *name))
            && has(&self.tenant, &|name| {
                record.tenant.as_deref().is_some_and(|own| own == name || pseudonym(own) == name)
            })
    }

    fn is_outcome(&self, record: &CallRecord) -> bool {
        match self.outcome.as_deref() {
            None => true,
            Some("ok") => record.ended() == Some(Ended::Well),
            Some("failed") => record.ended() == Some(Ended::Failed),
            Some("refused") => record.ended() == Some(Ended::Refused),
            Some("cancelled") => record.ended() == Some(Ended::Left),
            Some("degraded") => record.facts.degraded.is_some(),
            Some("fallback") => record.facts.fallback().is_some(),
            Some(word) => record.outcome == word,
        }
    }
}
