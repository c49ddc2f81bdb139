//! The committed budget: what one call of each kind may cost, with how that was divided among the parts of the program, and
//! the judgement of what was counted now.
//!
//! It does not know how anything is counted.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

use crate::Fault;

/// How much more than its budget a call may cost. Counts repeat within 0.3 %; the layout of a new build's heap and code moves
/// them by up to 1 %.
pub(crate) const SLACK: f64 = 0.015;

/// The same for copies and their bytes. Which of them are calls of the C library depends on what the compiler inlines: two
/// builds of nearly the same code differed by two copies of a kilobyte in each call, and by 0.3 % of its instructions.
const SLACK_OF_COPIES: f64 = 0.1;

/// The same for clock reads. How often a runtime looks depends on how its two ends take turns.
const SLACK_OF_READS: f64 = 0.05;

/// Fewer calls or reads than this are none.
const LEAST: f64 = 0.1;

/// The share of a call below which a part is not worth a line.
const SMALL: f64 = 0.002;

/// What one call cost, or may cost.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cost {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
    /// Calls of the C library's functions that copy memory.
    pub(crate) copies: f64,
    /// Bytes that these have copied.
    pub(crate) copied_bytes: f64,
    pub(crate) clock_reads: f64,
    /// Instructions by part of the program.
    pub(crate) parts: BTreeMap<String, f64>,
}

impl Cost {
    /// Every figure with its name and its slack.
    fn figures(&self) -> [(&'static str, f64, f64); 5] {
        [
            ("instructions", self.instructions, SLACK),
            ("allocations", self.allocations, SLACK),
            ("copies", self.copies, SLACK_OF_COPIES),
            ("copied_bytes", self.copied_bytes, SLACK_OF_COPIES),
            ("clock_reads", self.clock_reads, SLACK_OF_READS),
        ]
    }
}

/// The budget.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// The tools that it was counted with: others count differently.
    pub(crate) counted_with: String,
    /// By kind of call.
    pub(crate) calls: BTreeMap<String, Cost>,
}

impl Budget {
    pub(crate) fn read(text: &str) -> Result<Self, Fault> {
        Ok(toml::from_str(text)?)
    }

    /// As it is committed.
    pub(crate) fn write(&self) -> String {
        let mut out = String::from(
            "# What one call may cost. Written by `make bench-instructions BLESS=1`, in a commit of its own that says why.\n",
        );
        let _ = writeln!(out, "counted_with = {:?}", self.counted_with);
        for (name, cost) in &self.calls {
            let _ = writeln!(out, "\n[calls.{name}]");
            for (figure, value, _) in cost.figures() {
                let _ = writeln!(out, "{figure} = {value:.1}");
            }
            let _ = writeln!(out, "\n[calls.{name}.parts]");
            let worth = |sum: f64| sum >= SMALL * cost.instructions;
            for (part, sum) in cost.parts.iter().filter(|(_, sum)| worth(**sum)) {
                let _ = writeln!(out, "{part:?} = {sum:.1}");
            }
            let small: f64 = cost.parts.values().filter(|sum| !worth(**sum)).sum();
            let _ = writeln!(out, "\"smaller parts\" = {small:.1}");
        }
        out
    }
}

/// What came of comparing a call with its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Within,
    /// So far below that the budget guards nothing.
    Below,
    Above,
}

/// Judges a figure.
fn judge(now: f64, budget: f64, slack: f64) -> Verdict {
    let slack = (slack * budget).max(LEAST);
    match now - budget {
        more if more > slack => Verdict::Above,
        more if more < -slack => Verdict::Below,
        _ => Verdict::Within,
    }
}

/// Compares a kind of call with its budget, in a line for each figure. Above: with a table of parts that says where.
pub(crate) fn compare(name: &str, now: &Cost, budget: &Cost) -> (Verdict, String) {
    let mut out = String::new();
    let mut worst = Verdict::Within;
    for ((figure, now, slack), (_, budget, _)) in now.figures().into_iter().zip(budget.figures()) {
        let verdict = judge(now, budget, slack);
        let word = match verdict {
            Verdict::Within => "",
            Verdict::Below => "  below",
            Verdict::Above => "  ABOVE",
        };
        let _ = writeln!(out, "{name:8} {figure:13} {now:10.1}, budget {budget:10.1} {}{word}", change(now, budget));
        worst = match (worst, verdict) {
            (Verdict::Above, _) | (_, Verdict::Above) => Verdict::Above,
            (Verdict::Below, _) | (_, Verdict::Below) => Verdict::Below,
            _ => Verdict::Within,
        };
    }
    if worst == Verdict::Above {
        out.push_str(&parts(name, now, budget));
    }
    (worst, out)
}

/// Instructions by part, now and in the budget; what grew most comes first.
fn parts(name: &str, now: &Cost, budget: &Cost) -> String {
    let is_known = |part: &String| budget.parts.contains_key(part);
    let mut beside: BTreeMap<&str, (f64, f64)> =
        budget.parts.iter().map(|(part, sum)| (part.as_str(), (0.0, *sum))).collect();
    for (part, sum) in &now.parts {
        let is_small = !is_known(part) && *sum < SMALL * budget.instructions;
        beside.entry(if is_small { "smaller parts" } else { part }).or_default().0 += sum;
    }
    let mut rows: Vec<_> = beside.into_iter().collect();
    rows.sort_by(|(_, left), (_, right)| f64::total_cmp(&(right.0 - right.1), &(left.0 - left.1)));
    let mut out = format!("\n  {name}: instructions of one call by part\n");
    for (part, (now, budget)) in rows {
        let _ = writeln!(out, "  {part:24} {now:10.1}, budget {budget:10.1} {:+10.1}", now - budget);
    }
    out.push('\n');
    out
}

fn change(now: f64, budget: f64) -> String {
    if budget == 0.0 { String::new() } else { format!("{:+6.1} %", (now / budget - 1.0) * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(instructions: f64, parts: &[(&str, f64)]) -> Cost {
        let parts = parts.iter().map(|(name, sum)| ((*name).to_owned(), *sum)).collect();
        Cost { instructions, allocations: 83.0, copies: 374.0, copied_bytes: 77_100.0, clock_reads: 8.0, parts }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let cost = cost(143_080.0, &[("hyper", 140_000.0), ("policy/limit", 3_000.0), ("stack", 80.0)]);
        let budget = Budget { counted_with: "valgrind \"3\"".into(), calls: [("chat".to_owned(), cost)].into() };
        let read = Budget::read(&budget.write()).unwrap();
        assert_eq!(read.counted_with, "valgrind \"3\"");
        assert_eq!(read.calls["chat"].instructions, 143_080.0);
        let expected = [("hyper", 140_000.0), ("policy/limit", 3_000.0), ("smaller parts", 80.0)];
        assert_eq!(read.calls["chat"].parts, expected.map(|(name, sum)| (name.to_owned(), sum)).into());
    }

    #[test]
    fn a_figure_may_be_above_its_budget_by_the_slack() {
        assert_eq!(judge(101_500.0, 100_000.0, SLACK), Verdict::Within);
        assert_eq!(judge(101_501.0, 100_000.0, SLACK), Verdict::Above);
        assert_eq!(judge(98_500.0, 100_000.0, SLACK), Verdict::Within);
        assert_eq!(judge(98_499.0, 100_000.0, SLACK), Verdict::Below);
        // Of a handful the slack would be nothing.
        assert_eq!(judge(2.09, 2.0, SLACK), Verdict::Within);
        assert_eq!(judge(2.2, 2.0, SLACK), Verdict::Above);
        assert_eq!(judge(0.0, 0.0, SLACK), Verdict::Within);
        assert_eq!(judge(110_000.0, 100_000.0, SLACK_OF_COPIES), Verdict::Within);
    }

    #[test]
    fn one_figure_above_is_enough_and_the_table_says_where() {
        let budget = cost(100_000.0, &[("hyper", 60_000.0), ("policy/limit", 39_900.0), ("smaller parts", 100.0)]);
        let now = cost(104_000.0, &[("hyper", 59_000.0), ("policy/limit", 44_900.0), ("stack", 100.0)]);
        let (verdict, table) = compare("chat", &now, &budget);
        assert_eq!(verdict, Verdict::Above);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "chat     instructions    104000.0, budget   100000.0   +4.0 %  ABOVE");
        assert_eq!(lines[1], "chat     allocations         83.0, budget       83.0   +0.0 %");
        assert_eq!(lines[7], "  policy/limit                44900.0, budget    39900.0    +5000.0");
        assert_eq!(lines[8], "  smaller parts                 100.0, budget      100.0       +0.0");
        assert_eq!(lines[9], "  hyper                       59000.0, budget    60000.0    -1000.0");
    }

    #[test]
    fn a_call_below_its_budget_says_so_without_a_table() {
        let (verdict, table) = compare("hit", &cost(90_000.0, &[]), &cost(100_000.0, &[]));
        assert_eq!(verdict, Verdict::Below);
        assert_eq!(table.lines().count(), 5);
        assert!(table.lines().next().unwrap().ends_with("-10.0 %  below"), "{table}");
        let (verdict, _) = compare("hit", &cost(100_000.0, &[]), &cost(100_000.0, &[]));
        assert_eq!(verdict, Verdict::Within);
    }
}
