//! Unserved: variables of the deployments for things that this version does not do. They are checked all the same,
//! so that a typo does not wait for the day they count, and each one set says plainly what it does not protect.
//!
//! It does not know the features themselves; an entry leaves this file when its feature arrives.

use url::Url;

use super::document::Value;
use super::environment::Variables;
use super::problem::Report;
use super::value::{Parsed, Wanted};

/// One variable (with its aliases): how it must look, and what is not done with it.
struct Unserved {
    names: &'static [&'static str],
    check: fn(&Value) -> Parsed<()>,
    /// Follows "NAME is set, but this version".
    truth: &'static str,
}

const UNSERVED: &[Unserved] =
    &[Unserved { names: &["SENTRY_DSN"], check: dsn, truth: "does not report errors to Sentry yet" }];

/// Checks them all and says what is not done.
pub(super) fn check(variables: &Variables, report: &Report, warnings: &mut Vec<String>) {
    for entry in UNSERVED {
        let Some((name, value, origin)) = variables.first_of(entry.names) else { continue };
        let raw = Value::Raw(value.into());
        if let Err(wanted) = (entry.check)(&raw) {
            report.add(&origin, "", wanted.message(&raw));
            continue;
        }
        warnings.push(format!("{name} is set, but this version {}", entry.truth));
    }
}

fn dsn(value: &Value) -> Parsed<()> {
    let parsed = match value {
        Value::Raw(text) => Url::parse(text).ok(),
        _ => None,
    };
    let is_fine = parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    match is_fine {
        true => Ok(()),
        false => Err(Wanted::secret("a Sentry address", "https://KEY@HOST/PROJECT")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::environment::{Meaning, VARIABLES};
    use super::*;

    #[test]
    fn both_tables_name_the_same_variables() {
        let listed: Vec<_> =
            VARIABLES.iter().filter(|(_, it)| *it == Meaning::Unserved).map(|(names, _)| *names).collect();
        let checked: Vec<_> = UNSERVED.iter().map(|entry| entry.names).collect();
        assert_eq!(listed, checked);
    }
}
