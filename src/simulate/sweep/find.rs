//! Find: for which values of a key all goals hold: the sweep's own values first, then between neighbours of which one keeps the
//! goals and the other does not, until the two are near.
//!
//! Each round halves all such gaps at once, so that all cores have work. It does not know how a run is played.

use serde::Serialize;

use super::axis::{Axis, Value};
use super::row::Row;

/// Rounds of halving. A gap of a hundred times the lower value takes about as many.
const MOST_ROUNDS: usize = 12;

/// A value, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// The value.
    pub value: Value,
    /// True for one between those of the sweep.
    pub is_between: bool,
    /// What came of it.
    pub row: Row,
}

/// Where all goals hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Neighbouring values of which each keeps all goals; none, one, or several with others between them.
    pub ranges: Vec<Range>,
    /// True where a search could find values between those that were tried.
    pub is_cut_short: bool,
}

/// Neighbouring values that keep all goals, of those that were tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Range {
    /// The lowest.
    pub lowest: Value,
    /// The highest.
    pub highest: Value,
    /// What ends it below; `null`: the sweep does.
    pub below: Option<Stop>,
    /// What ends it above.
    pub above: Option<Stop>,
}

/// The neighbour of a range.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stop {
    /// Its value.
    pub value: Value,
    /// The places of the goals that it does not keep, among all goals.
    pub broken: Vec<usize>,
}

/// Looks between values of a sweep, which come in their order; what it tries comes among them.
///
/// # Errors
/// What `play` says.
pub fn search<E>(
    axis: &Axis,
    mut tried: Vec<Tried>,
    mut play: impl FnMut(Vec<Value>) -> Result<Vec<Row>, E>,
) -> Result<(Vec<Tried>, Found), E> {
    for _ in 0..MOST_ROUNDS {
        let middles = middles(axis, &tried);
        if middles.is_empty() {
            break;
        }
        let rows = play(middles.iter().map(|(_, value)| value.clone()).collect())?;
        // From the last on, so that the places before stay what they are.
        for ((place, value), row) in middles.into_iter().zip(rows).rev() {
            tried.insert(place, Tried { value, is_between: true, row });
        }
    }
    let is_cut_short = !middles(axis, &tried).is_empty();
    let found = Found { ranges: ranges(&tried), is_cut_short };
    Ok((tried, found))
}

/// A value between each two of which one keeps the goals, with its place among all.
fn middles(axis: &Axis, tried: &[Tried]) -> Vec<(usize, Value)> {
    let middle = |(place, pair): (usize, &[Tried])| match pair {
        [low, high] if low.row.is_kept() != high.row.is_kept() => {
            axis.middle(&low.value, &high.value).map(|value| (place + 1, value))
        }
        _ => None,
    };
    tried.windows(2).enumerate().filter_map(middle).collect()
}

fn ranges(tried: &[Tried]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut before: Option<&Tried> = None;
    for next in tried {
        let was_kept = before.is_some_and(|before| before.row.is_kept());
        let stop = |tried: &Tried| Stop { value: tried.value.clone(), broken: tried.row.broken() };
        match (next.row.is_kept(), ranges.last_mut().filter(|_| was_kept)) {
            (true, Some(range)) => range.highest = next.value.clone(),
            (true, None) => {
                let (lowest, highest) = (next.value.clone(), next.value.clone());
                ranges.push(Range { lowest, highest, below: before.map(stop), above: None });
            }
            (false, Some(range)) => range.above = Some(stop(next)),
            (false, None) => {}
        }
        before = Some(next);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn grid(axis: &Axis, holds: impl Fn(&str) -> Vec<bool>) -> Vec<Tried> {
        let tried = |value: &Value| Tried { value: value.clone(), is_between: false, row: row(holds(&value.text)) };
        axis.values().iter().map(tried).collect()
    }

    fn row(holds: Vec<bool>) -> Row {
        Row::invented(&holds.into_iter().map(Some).collect::<Vec<_>>(), &[])
    }

    fn number(text: &str) -> u64 {
        text.trim_end_matches("/min").parse().unwrap()
    }

    /// Goals that hold from and up to a number, each.
    fn searched(text: &str, goals: &[(u64, u64)]) -> (Vec<Tried>, Found) {
        let axis = Axis::parse(text, 12).unwrap();
        let holds = |text: &str| goals.iter().map(|(from, to)| (*from..=*to).contains(&number(text))).collect();
        let play = |values: Vec<Value>| {
            Ok::<_, Infallible>(values.iter().map(|value| row(holds(&value.text))).collect::<Vec<_>>())
        };
        search(&axis, grid(&axis, holds), play).unwrap()
    }

    fn stop(text: &str, broken: &[usize]) -> Option<(String, Vec<usize>)> {
        Some((text.to_owned(), broken.to_vec()))
    }

    #[test]
    fn both_ends_are_found_with_the_goal_that_stops_each() {
        let (tried, found) = searched("limit.ai.rate=10/min..120/min", &[(23, u64::MAX), (0, 64)]);
        let [range] = &*found.ranges else { panic!("{found:?}") };
        let told = |stop: &Option<Stop>| stop.as_ref().map(|stop| (stop.value.text.clone(), stop.broken.clone()));
        assert_eq!((&*range.lowest.text, told(&range.below)), ("23/min", stop("22/min", &[0])));
        assert_eq!((&*range.highest.text, told(&range.above)), ("64/min", stop("65/min", &[1])));
        assert!(!found.is_cut_short && tried.len() <= 20, "{}", tried.len());
        assert!(tried.windows(2).all(|pair| number(&pair[0].value.text) < number(&pair[1].value.text)));
    }

    #[test]
    fn all_none_and_several_ranges_are_what_they_are() {
        let (tried, all) = searched("k=10..120", &[(0, 500)]);
        assert!(matches!(&*all.ranges, [Range { below: None, above: None, .. }]) && tried.len() == 12);
        let (tried, none) = searched("k=10..120", &[(0, 5)]);
        assert!(none.ranges.is_empty() && tried.len() == 12);
        let axis = Axis::parse("k=10,20,30,40,50", 12).unwrap();
        let two = grid(&axis, |text| vec![text != "30"]);
        let (tried, two) = search(&axis, two, |_| Ok::<_, Infallible>(Vec::new())).unwrap();
        let ends: Vec<_> = two.ranges.iter().map(|range| (&*range.lowest.text, &*range.highest.text)).collect();
        assert_eq!((ends, tried.len()), (vec![("10", "20"), ("40", "50")], 5), "a list is not searched");
    }

    proptest! {
        #[test]
        fn goals_hold_at_an_end_and_not_at_its_neighbour(from in 0..2_000_u64, to in 1..2_000_u64, low in 0..100_u64, more in 1..1_000_u64) {
            let high = low + more;
            let (tried, found) = searched(&format!("k={low}..{high}"), &[(from, to)]);
            prop_assert!(!found.is_cut_short && tried.len() < 40);
            let holds = |value: &Value| (from..=to).contains(&number(&value.text));
            for range in &found.ranges {
                prop_assert!(holds(&range.lowest) && holds(&range.highest));
                for stop in [&range.below, &range.above].into_iter().flatten() {
                    prop_assert!(!holds(&stop.value));
                }
                // The neighbours are as near as a search goes.
                let near = |inside: &Value, outside: &Value| {
                    let (inside, outside) = (number(&inside.text), number(&outside.text));
                    inside.abs_diff(outside) <= (inside.min(outside) / 50).max(1) * 2
                };
                prop_assert!(range.below.as_ref().is_none_or(|stop| near(&range.lowest, &stop.value)), "{range:?}");
                prop_assert!(range.above.as_ref().is_none_or(|stop| near(&range.highest, &stop.value)), "{range:?}");
                prop_assert_eq!(range.below.is_none(), range.lowest.text == low.to_string());
                prop_assert_eq!(range.above.is_none(), range.highest.text == high.to_string());
            }
        }
    }
}
