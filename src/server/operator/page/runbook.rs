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
}
