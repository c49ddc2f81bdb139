//! Goals: what a run must keep, in one line: `p95<5s, refused<1%, chat:ttft_p95<800ms, cost<100/day`.
//!
//! Comparisons separated by commas, each of a measure with a bound in the measure's unit, and of one route where its name is
//! before a colon. `--fail-if` is written the same way, with what must not be. It does not know how a measure is taken.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::column::Column;
use super::measure::{Kind, Measure};

/// Bounds are kept as whole millionths, so that what was written is printed again.
const MILLION: u64 = 1_000_000;
/// The most digits before the point: with the millionths they fit into a `u64`.
const MOST_DIGITS: usize = 12;

/// Comparisons, of which none is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goals(Vec<Goal>);

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// The route that it is about; `None`: all calls.
    pub route: Option<String>,
    /// What is compared.
    pub measure: Measure,
    operator: Operator,
    bound: Bound,
    /// Where it stands in the text, in characters, for errors that are found later.
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The longer ones first: `<=` begins like `<`.
const OPERATORS: [(&str, Operator); 4] =
    [("<=", Operator::LessOrEqual), (">=", Operator::GreaterOrEqual), ("<", Operator::Less), (">", Operator::Greater)];

/// A number with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    millionths: u64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    One,
    Percent,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
    PerDay,
}

/// How units are written.
const UNITS: [(&str, Unit); 7] = [
    ("", Unit::One),
    ("%", Unit::Percent),
    ("ms", Unit::Milliseconds),
    ("s", Unit::Seconds),
    ("min", Unit::Minutes),
    ("h", Unit::Hours),
    ("/day", Unit::PerDay),
];

/// Why a text states no goals: where, what is wrong, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoalError {
    text: String,
    /// In characters, from 0.
    at: usize,
    what: String,
}

impl fmt::Display for GoalError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, at, what } = self;
        write!(out, "character {}: {what}\n  {text}\n  {}^", at + 1, " ".repeat(*at))
    }
}

impl std::error::Error for GoalError {}

impl Goals {
    /// Reads them.
    pub fn parse(text: &str) -> Result<Self, GoalError> {
        let mut goals = Vec::new();
        let mut at = 0;
        for part in text.split(',') {
            let goal = Goal::parse(part, at);
            goals.push(goal.map_err(|(at, what)| GoalError { text: one_line(text), at, what })?);
            at += part.chars().count() + 1;
        }
        Ok(Self(goals))
    }

    /// Refuses goals of a route that is not among these.
    pub fn check(&self, routes: &[Arc<str>]) -> Result<(), GoalError> {
        let is_unknown =
            |goal: &&Goal| goal.route.as_ref().is_some_and(|wanted| routes.iter().all(|route| **route != **wanted));
        let Some(goal) = self.0.iter().find(is_unknown) else { return Ok(()) };
        let route = goal.route.as_deref().unwrap_or_default();
        let known: Vec<&str> = routes.iter().map(|route| &**route).collect();
        let what = format!("there is no route `{route}`{} (there are: {})", meant(route, &known), known.join(", "));
        Err(GoalError { text: self.to_string(), at: self.place(goal), what })
    }

    /// Where a goal stands in what `Display` writes.
    fn place(&self, wanted: &Goal) -> usize {
        let before = self.0.iter().take_while(|goal| goal.at != wanted.at);
        before.map(|goal| goal.to_string().chars().count() + ", ".len()).sum()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Goal> {
        self.0.iter()
    }

    /// True when all hold for a run.
    pub fn hold(&self, column: &Column) -> bool {
        self.0.iter().all(|goal| goal.judge(column).holds == Some(true))
    }
}

/// Written as they are read.
impl fmt::Display for Goals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, goal) in self.0.iter().enumerate() {
            write!(out, "{}{goal}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(route) = &self.route {
            write!(out, "{route}:")?;
        }
        // Of a day or not is told by the bound.
        let name = if self.measure == Measure::CostPerDay { Measure::Cost.name() } else { self.measure.name() };
        let operator = OPERATORS.iter().find(|(_, operator)| *operator == self.operator).map_or("", |(word, _)| word);
        write!(out, "{name}{operator}{}", self.bound)
    }
}

impl Serialize for Goal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, unit)| *unit == self.unit).map_or("", |(word, _)| word);
        let (whole, part) = (self.millionths / MILLION, self.millionths % MILLION);
        match part {
            0 => write!(out, "{whole}{unit}"),
            part => write!(out, "{whole}.{}{unit}", format!("{part:06}").trim_end_matches('0')),
        }
    }
}

/// A text in which nothing ends a line.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// The names that are near what was written.
fn meant(word: &str, names: &[&str]) -> String {
    let near = names.iter().map(|name| (strsim::jaro_winkler(word, name), name)).filter(|(near, _)| *near > 0.8);
    let best = near.max_by(|(left, _), (right, _)| left.total_cmp(right));
    best.map(|(_, name)| format!(", did you mean `{name}`?")).unwrap_or_default()
}

/// What is allowed in a goal's first place.
fn measures() -> Vec<&'static str> {
    Measure::ALL.iter().filter(|measure| **measure != Measure::CostPerDay).map(|measure| measure.name()).collect()
}

/// What a goal looks like.
const FORM: &str = "a goal is a measure, `<`, `<=`, `>` or `>=`, and a bound: `p95<5s`, or `ROUTE:p95<5s` of one route";

type Found<T> = Result<T, (usize, String)>;

impl Goal {
    /// Reads a goal that begins at this character of the whole.
    fn parse(text: &str, at: usize) -> Found<Self> {
        let spaces = |text: &str| text.chars().take_while(|letter| letter.is_whitespace()).count();
        let begin = at + spaces(text);
        if text.trim().is_empty() {
            return Err((at, format!("a goal is missing; {FORM}")));
        }
        let Some(middle) = text.find(['<', '>']) else {
            return Err((begin, format!("`{}` compares nothing; {FORM}", one_line(text.trim()))));
        };
        let (left, right) = text.split_at(middle);
        let begins = |(word, _): &&(&str, Operator)| right.starts_with(word);
        let (word, operator) = OPERATORS.iter().find(begins).copied().unwrap_or(("<", Operator::Less));
        let right = right.get(word.len()..).unwrap_or_default();
        let (route, name) = match left.rsplit_once(':') {
            Some((route, name)) => (Some(route.trim()), name),
            None => (None, left),
        };
        if route.is_some_and(str::is_empty) {
            return Err((begin, format!("the name of a route is missing before `:`; {FORM}")));
        }
        if route.is_some_and(|route| route.contains(char::is_control)) {
            return Err((begin, "the name of a route holds no control characters".to_owned()));
        }
        let name_at = at + (left.chars().count() - name.chars().count()) + spaces(name);
        let name = name.trim();
        let Some(measure) = Measure::named(name) else {
            let names = measures();
            let what = if name.is_empty() {
                "the name of a measure is missing".to_owned()
            } else {
                format!("`{}` is no measure{}", one_line(name), meant(name, &names))
            };
            return Err((name_at, format!("{what} (there are: {})", names.join(", "))));
        };
        let bound_at = at + left.chars().count() + word.len() + spaces(right);
        let bound = Bound::parse(right.trim(), measure).map_err(|what| (bound_at, what))?;
        let measure = if bound.unit == Unit::PerDay { Measure::CostPerDay } else { measure };
        let route = route.map(str::to_owned);
        Ok(Self { route, measure, operator, bound, at: begin })
    }

    /// The bound, in the unit of the measure.
    pub fn bound(&self) -> f64 {
        self.bound.value()
    }

    /// Whether it holds for a run.
    pub fn judge(&self, column: &Column) -> Judgement {
        let measured = match &self.route {
            None => self.measure.of(column),
            Some(route) => column.routes.get(&**route).and_then(|numbers| self.measure.of_numbers(numbers)),
        };
        let bound = self.bound.value();
        let holds = measured.map(|value| match self.operator {
            Operator::Less => value < bound,
            Operator::LessOrEqual => value <= bound,
            Operator::Greater => value > bound,
            Operator::GreaterOrEqual => value >= bound,
        });
        Judgement { measured, holds }
    }
}

/// What a goal says of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// The measure's value; `None`: there is nothing to measure.
    pub measured: Option<f64>,
    /// True when the comparison holds; `None`: there is nothing to compare.
    pub holds: Option<bool>,
}

impl Bound {
    fn parse(text: &str, measure: Measure) -> Result<Self, String> {
        let kind = measure.kind();
        let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
        let (number, word) = text.split_at(end);
        let shown = one_line(text);
        let allowed = |kind| match kind {
            Kind::Count => "a plain number, such as 1000",
            Kind::Share => "a number of per cent, such as 1% or 0.1%",
            Kind::Time => "a time with its unit (ms, s, min or h), such as 800ms or 5s",
            Kind::Money | Kind::MoneyPerDay => "an amount in USD, such as 3 or 2.50, or one in a day, such as 100/day",
        };
        let wrong = |why: &str| format!("`{shown}` is no bound of `{}`{why}: write {}", measure.name(), allowed(kind));
        let unit = UNITS.iter().find(|(unit, _)| *unit == word.trim()).map(|(_, unit)| *unit);
        let unit = match (kind, unit) {
            (Kind::Count | Kind::Money, Some(Unit::One))
            | (Kind::Share, Some(Unit::Percent))
            | (Kind::Time, Some(Unit::Milliseconds | Unit::Seconds | Unit::Minutes | Unit::Hours))
            | (Kind::Money, Some(Unit::PerDay)) => unit,
            (Kind::MoneyPerDay, Some(Unit::One | Unit::PerDay)) => Some(Unit::PerDay),
            _ => None,
        };
        if number.is_empty() {
            return Err(if shown.is_empty() {
                format!("a bound is missing: write {}", allowed(kind))
            } else {
                wrong("")
            });
        }
        let Some(unit) = unit else { return Err(wrong("")) };
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number(whole) || !is_number(part) {
            return Err(wrong(""));
        }
        if whole.trim_start_matches('0').len() > MOST_DIGITS {
            return Err(wrong(", it is too large"));
        }
        let part = part.trim_end_matches('0');
        if part.len() > 6 {
            return Err(wrong(", it has more than six digits after the point"));
        }
        let millionths = format!("{whole}{part:0<6}").parse().map_err(|_| wrong(", it is too large"))?;
        Ok(Self { millionths, unit })
    }

    /// In the unit in which measures are taken: whole ones, parts of one, milliseconds, USD. One division, so that 0.7 % is
    /// the float that 7 of 1000 are.
    fn value(self) -> f64 {
        let millionths = u128::from(self.millionths);
        let (times, by) = match self.unit {
            Unit::One | Unit::PerDay | Unit::Milliseconds => (1, 1e6),
            Unit::Percent => (1, 1e8),
            Unit::Seconds => (1, 1e3),
            Unit::Minutes => (60, 1e3),
            Unit::Hours => (3600, 1e3),
        };
        (millionths * times) as f64 / by
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simulate::tally::{Ending, Tally};

    fn refused(text: &str) -> String {
        Goals::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_goal_is_a_measure_and_a_bound_of_its_unit() {
        let text = "p95<5s, chat-route:ttft_p95<=800ms, refused<1%, errors<0.1%, hits>20%, cost<100/day, cost<2.5, calls>=1000";
        let goals = Goals::parse(text).unwrap();
        assert_eq!(goals.to_string(), text);
        let bounds: Vec<f64> = goals.iter().map(|goal| goal.bound.value()).collect();
        assert_eq!(bounds, [5000.0, 800.0, 0.01, 0.001, 0.2, 100.0, 2.5, 1000.0]);
        let measures: Vec<_> = goals.iter().map(|goal| goal.measure).collect();
        assert_eq!(measures[5..7], [Measure::CostPerDay, Measure::Cost]);
        assert_eq!(goals.iter().nth(1).unwrap().route.as_deref(), Some("chat-route"));
        assert_eq!(Goals::parse(" p95 < 5 s,a:b : refused>0.70 %").unwrap().to_string(), "p95<5s, a:b:refused>0.7%");
        assert_eq!(Goals::parse("cost/day<7").unwrap().to_string(), "cost<7/day");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_what_is_allowed() {
        assert_eq!(
            refused("refused<1%, p96<5s"),
            format!(
                "character 13: `p96` is no measure, did you mean `p99`? (there are: {})\n  refused<1%, p96<5s\n              ^",
                measures().join(", ")
            )
        );
        for (text, character, what) in [
            ("", 1, "a goal is missing; a goal is a measure"),
            ("p95<5s,", 8, "a goal is missing"),
            (" p95", 2, "`p95` compares nothing; a goal is"),
            (":p95<5s", 1, "the name of a route is missing before `:`"),
            ("a\tb:p95<5s", 1, "no control characters"),
            ("<5s", 1, "the name of a measure is missing (there are: calls, refused,"),
            ("p95<5", 5, "`5` is no bound of `p95`: write a time with its unit (ms, s, min or h), such as 800ms or 5s"),
            ("p95<", 5, "a bound is missing: write a time"),
            ("ü:p95< 5%", 8, "`5%` is no bound of `p95`"),
            ("refused<1", 9, "`1` is no bound of `refused`: write a number of per cent, such as 1% or 0.1%"),
            ("cost<3$", 6, "`3$` is no bound of `cost`: write an amount in USD"),
            ("cost<1.2.3", 6, "`1.2.3` is no bound"),
            ("cost<.5", 6, "`.5` is no bound"),
            ("cost<=>5", 7, "`>5` is no bound"),
            ("calls<9999999999999", 7, "it is too large"),
            ("calls<0.0000001", 7, "more than six digits"),
        ] {
            let said = refused(text);
            assert!(said.starts_with(&format!("character {character}: ")) && said.contains(what), "{text}: {said}");
            let [_, shown, caret] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
            assert_eq!((shown, caret.chars().count()), (&*format!("  {}", one_line(text)), character + 2), "{said}");
        }
    }

    #[test]
    fn a_route_that_is_not_there_is_named_with_those_that_are() {
        let routes: [Arc<str>; 2] = ["chat".into(), "menu".into()];
        let goals = Goals::parse("p95<5s,  chat:p95<5s,chad:p95<5s").unwrap();
        let said = goals.check(&routes).unwrap_err().to_string();
        let wanted = "character 22: there is no route `chad`, did you mean `chat`? (there are: chat, menu)\n  p95<5s, chat:p95<5s, chad:p95<5s\n";
        assert!(said.starts_with(wanted), "{said}");
        assert_eq!(Goals::parse("p95<5s, chat:p95<5s").unwrap().check(&routes), Ok(()));
    }

    #[test]
    fn a_goal_holds_or_fails_with_what_was_measured() {
        use crate::model::recorded::RecordedCall;
        let mut tally = Tally::default();
        for number in 0..1000 {
            let outcome = if number < 7 { "rate_limited" } else { "ok" };
            tally.note(&RecordedCall {
                route: "chat".into(),
                outcome: outcome.into(),
                took_ms: 500,
                status: 200,
                ..RecordedCall::default()
            });
        }
        let column = Column::of("A", None, false, &tally, &Ending::default());
        let judge = |text: &str| Goals::parse(text).unwrap().iter().next().unwrap().judge(&column);
        let told = |measured, holds| Judgement { measured: Some(measured), holds: Some(holds) };
        // 7 of 1000 are 0.7 %, and neither more nor less.
        assert_eq!(judge("refused<=0.7%"), told(0.007, true));
        assert_eq!(judge("refused<0.7%"), told(0.007, false));
        assert_eq!(judge("refused>0.7%"), told(0.007, false));
        assert_eq!(judge("chat:p95<0.6s"), told(500.0, true));
        assert_eq!(judge("calls>=1000"), told(1000.0, true));
        // No call consulted a cache, and no call came by the other route.
        assert_eq!(judge("hits>1%"), Judgement { measured: None, holds: None });
        assert_eq!(judge("menu:p95<5s"), Judgement { measured: None, holds: None });
        assert!(!Goals::parse("p95<5s, hits>1%").unwrap().hold(&column));
        assert!(Goals::parse("p95<5s, refused<1%").unwrap().hold(&column));
    }

    fn written() -> impl Strategy<Value = String> {
        let route = prop::option::of("[a-zäß][a-z0-9 ._:-]{0,8}[a-z0-9]");
        let operator = prop::sample::select(&["<", "<=", ">", ">="][..]);
        let number = (0..1_000_000_000_000_u64, prop::option::of("[0-9]{0,5}[1-9]"));
        let goal = (route, prop::sample::select(Measure::ALL), operator, number, 0..4_usize);
        goal.prop_map(|(route, measure, operator, (whole, part), unit)| {
            let (name, unit) = match measure.kind() {
                Kind::Count | Kind::Money => (measure.name(), ""),
                Kind::Share => (measure.name(), "%"),
                Kind::Time => (measure.name(), ["ms", "s", "min", "h"][unit]),
                Kind::MoneyPerDay => (Measure::Cost.name(), "/day"),
            };
            let route = route.map(|route| format!("{route}:")).unwrap_or_default();
            let part = part.map(|part| format!(".{part}")).unwrap_or_default();
            format!("{route}{name}{operator}{whole}{part}{unit}")
        })
    }

    proptest! {
        #[test]
        fn goals_are_written_as_they_were_read(all in prop::collection::vec(written(), 1..5)) {
            let text = all.join(", ");
            let goals = Goals::parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(goals.to_string(), text.clone());
            prop_assert_eq!(Goals::parse(&goals.to_string()).unwrap(), goals.clone());
        }

        #[test]
        fn any_text_states_goals_or_is_told_what_is_wrong(text in "\\PC{0,40}") {
            if let Err(error) = Goals::parse(&text) {
                prop_assert!(error.at <= text.chars().count());
            }
        }
    }
}
