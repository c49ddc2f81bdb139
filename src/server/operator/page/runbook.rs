//! The runbook as part of the program, by its headings: the live page shows a problem's entry without the internet.
//!
//! It does not know which problems there are.

const RUNBOOK: &str = include_str!("../../../../docs/runbook.md");

/// The entry with this heading, with the heading.
pub(super) fn entry(heading: &str) -> Option<&'static str> {
    RUNBOOK.split("\n## ").skip(1).find(|entry| entry.lines().next() == Some(heading))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::picture::Topic;
    use super::*;

    #[test]
    fn every_problem_that_the_page_may_show_has_an_entry() {
        for (topic, heading) in Topic::ALL {
            let entry = entry(heading);
            assert!(
                entry.is_some_and(|entry| entry.lines().count() > 1),
                "{topic:?}: docs/runbook.md has no {heading}"
            );
        }
        assert_eq!(entry("Nothing"), None);
        assert_eq!(entry(""), None);
    }

    #[test]
    fn the_entries_are_those_of_the_alerts_and_of_the_pages_problems() {
        let rules = include_str!("../../../../deploy/prometheus/tidegate.rules.yml");
        let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        let wanted: BTreeSet<&str> = alerts.chain(Topic::ALL.map(|(_, heading)| heading)).collect();
        let entries = RUNBOOK.split("\n## ").skip(1).map(|entry| entry.split_once('\n').unwrap_or((entry, "")));
        let mut headings = BTreeSet::new();
        for (heading, text) in entries {
            assert!(headings.insert(heading), "{heading} stands twice; a link reaches only the first");
            assert!(text.trim().len() > 100, "{heading} has hardly any text");
        }
        assert_eq!(headings, wanted);
    }
}
