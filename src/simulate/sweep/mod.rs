//! Sweep: one configuration with many values of a key, or of two, played over the same traffic, and for which values goals hold.
//!
//! The result is the JSON of `--json` as it stands; table, picture and page show it. Names of fields stay. Same seed, same
//! result, byte for byte. It does not know how a run is played.

mod number;

mod axis;
mod row;

pub mod find;

mod told;

pub mod effect;
pub mod picture;
pub mod table;

pub mod page;

pub use self::axis::{Axis, Value};
pub use self::row::Row;

use serde::Serialize;

use self::find::{Found, Tried};
use super::report::About;
use super::report::goals::Goal;

/// How many values a key has that does not say it.
const USUAL: usize = 12;
/// ... and where there are two keys.
const USUAL_OF_TWO: usize = 6;
/// The most runs of a sweep before a search.
const MOST_POINTS: usize = 1_000;

/// Keys with other values, as `--set` has them.
pub type Set = Vec<(String, String)>;

/// What is varied: one key or two.
#[derive(Clone, Debug)]
pub struct Sweep {
    axes: Vec<Axis>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Swept {
    /// What was played.
    pub about: About,
    /// The configuration.
    pub config: String,
    /// The keys, with the values that they were told to have.
    pub sweep: Vec<Axis>,
    /// The goals.
    pub goals: Vec<Goal>,
    /// The configuration without the sweep.
    pub unchanged: Row,
    /// Each combination of values, in the order of the keys and their values.
    pub points: Vec<Point>,
    /// For which values all goals hold; `null`: nobody asked.
    pub found: Option<Found>,
}

/// A combination of values.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// One for each key.
    pub values: Vec<Value>,
    /// True for a value that a search tried between others.
    pub is_between: bool,
    /// True where all goals hold.
    pub is_kept: bool,
    /// What came of it.
    #[serde(flatten)]
    pub row: Row,
}

/// The part of [`Swept`] that playing gives.
#[derive(Clone, Debug)]
pub struct Played {
    /// The configuration without the sweep.
    pub unchanged: Row,
    /// See [`Swept::points`].
    pub points: Vec<Point>,
    /// See [`Swept::found`].
    pub found: Option<Found>,
}

impl Sweep {
    /// Reads what `--sweep` says, once or twice.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let usual = match texts.len() {
            1 => USUAL,
            2 => USUAL_OF_TWO,
            count => return Err(format!("--sweep was given {count} times; allowed: once or twice")),
        };
        let axis = |text: &String| Axis::parse(text, usual).map_err(|wrong| format!("--sweep {text}: {wrong}"));
        let axes: Vec<Axis> = texts.iter().map(axis).collect::<Result<_, _>>()?;
        if let [one, other] = &*axes
            && one.key == other.key
        {
            return Err(format!("--sweep was given {} twice; allowed: two different keys", one.key));
        }
        let points: usize = axes.iter().map(|axis| axis.values().len()).product();
        if points > MOST_POINTS {
            return Err(format!("{points} combinations are too many; allowed: {MOST_POINTS}"));
        }
        Ok(Self { axes })
    }

    /// The keys.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// The only key; `None`: there are two.
    pub fn only(&self) -> Option<&Axis> {
        match &*self.axes {
            [axis] => Some(axis),
            _ => None,
        }
    }

    /// Each combination of values; the last key's change first.
    pub fn points(&self) -> Vec<Vec<Value>> {
        self.axes.iter().fold(vec![Vec::new()], |points, axis| {
            let with = |point: &Vec<Value>, value: &Value| point.iter().chain([value]).cloned().collect();
            points.iter().flat_map(|point| axis.values().iter().map(move |value| with(point, value))).collect()
        })
    }

    /// A combination of values as keys that are set.
    pub fn set(&self, point: &[Value]) -> Set {
        self.axes.iter().zip(point).map(|(axis, value)| (axis.key.clone(), value.text.clone())).collect()
    }

    /// Plays the configuration as it is and with each combination, and then, where there is a search and one key, between
    /// those.
    ///
    /// `play` plays all that it is given, and says what came of each, in the same order.
    ///
    /// # Errors
    /// What `play` says.
    pub fn play<E>(&self, is_search: bool, mut play: impl FnMut(Vec<Set>) -> Result<Vec<Row>, E>) -> Result<Played, E> {
        let points = self.points();
        let sets = [Vec::new()].into_iter().chain(points.iter().map(|point| self.set(point)));
        let mut rows = play(sets.collect())?.into_iter();
        let unchanged = rows.next().unwrap_or_default();
        let Some(axis) = self.only().filter(|_| is_search) else {
            let point = |(values, row)| Point::of(values, false, row);
            return Ok(Played { unchanged, points: points.into_iter().zip(rows).map(point).collect(), found: None });
        };
        let tried = axis.values().iter().cloned().zip(rows);
        let tried = tried.map(|(value, row)| Tried { value, is_between: false, row }).collect();
        let (tried, found) =
            find::search(axis, tried, |values| play(values.into_iter().map(|value| self.set(&[value])).collect()))?;
        let point = |Tried { value, is_between, row }| Point::of(vec![value], is_between, row);
        Ok(Played { unchanged, points: tried.into_iter().map(point).collect(), found: Some(found) })
    }
}

impl Point {
    fn of(values: Vec<Value>, is_between: bool, row: Row) -> Self {
        Self { values, is_between, is_kept: row.is_kept(), row }
    }
}

impl Swept {
    /// True where the values differ in nothing that was measured.
    pub fn is_flat(&self) -> bool {
        self.points.windows(2).all(|pair| matches!(pair, [one, next] if one.row.is_same(&next.row)))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn sweep(texts: &[&str]) -> Result<Sweep, String> {
        Sweep::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn two_keys_are_combined_in_their_order() {
        let sweep = sweep(&["a.b=1,2", "c.d=x,y"]).unwrap();
        let sets: Vec<String> = sweep
            .points()
            .iter()
            .map(|point| sweep.set(point).iter().map(|(key, value)| format!("{key}={value};")).collect())
            .collect();
        assert_eq!(sets, ["a.b=1;c.d=x;", "a.b=1;c.d=y;", "a.b=2;c.d=x;", "a.b=2;c.d=y;"]);
        assert!(sweep.only().is_none());
    }

    #[test]
    fn what_was_played_comes_back_in_order_after_the_configuration_as_it_is() {
        let mut told = Vec::new();
        let played = sweep(&["a.b=10..20:3"]).unwrap().play(true, |sets| {
            let row =
                |set: &Set| Row::invented(&[Some(set.first().is_some_and(|(_, value)| value.as_str() < "13"))], &[]);
            let rows = sets.iter().map(row).collect();
            told.push(sets);
            Ok::<_, Infallible>(rows)
        });
        let played = played.unwrap();
        assert!(told[0][0].is_empty() && told[0].len() == 4 && told[1].len() == 1, "{told:?}");
        let values: Vec<_> =
            played.points.iter().map(|point| (&*point.values[0].text, point.is_between, point.is_kept)).collect();
        assert_eq!(values[..3], [("10", false, true), ("12", true, true), ("13", true, false)]);
        assert!(!played.unchanged.is_kept());
    }

    #[test]
    fn too_much_is_refused_before_anything_is_played() {
        assert_eq!(sweep(&["a=1,2", "a=3,4"]).unwrap_err(), "--sweep was given a twice; allowed: two different keys");
        assert_eq!(sweep(&["a=1,2"; 3]).unwrap_err(), "--sweep was given 3 times; allowed: once or twice");
        assert_eq!(sweep(&["a=1..99:99", "b=1..99:99"]).unwrap_err(), "9801 combinations are too many; allowed: 1000");
        assert!(sweep(&["a=1"]).unwrap_err().starts_with("--sweep a=1: one value is no sweep"));
    }
}
