//! Row: what is kept of a run of a sweep: its measures, and whether the goals hold. The rest of it is forgotten, so that a sweep
//! needs no more memory than the runs that are played at the same time.
//!
//! It does not know which values were played.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::simulate::report::column::Column;
use crate::simulate::report::goals::{Goal, Judgement};
use crate::simulate::report::measure::Measure;
use crate::simulate::tally::{Ending, Tally};

/// A run, shortened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    measures: Measures,
    /// What each of the goals says.
    pub goals: Vec<Judgement>,
}

/// In the order of [`Measure::ALL`].
#[derive(Clone, Debug, Default, PartialEq)]
struct Measures(Vec<Option<f64>>);

impl Serialize for Measures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (measure, value) in Measure::ALL.iter().zip(&self.0) {
            map.serialize_entry(measure, value)?;
        }
        map.end()
    }
}

impl Row {
    /// What is kept of a run.
    pub fn of(tally: &Tally, ending: &Ending, goals: &[Goal]) -> Self {
        let column = Column::of("", None, false, tally, ending);
        let measures = Measures(Measure::ALL.iter().map(|measure| measure.of(&column)).collect());
        Self { measures, goals: goals.iter().map(|goal| goal.judge(&column)).collect() }
    }

    /// The value of a measure; `None`: there is nothing to measure.
    pub fn measure(&self, wanted: Measure) -> Option<f64> {
        let at = Measure::ALL.iter().position(|measure| *measure == wanted)?;
        self.measures.0.get(at).copied().flatten()
    }

    /// True where all goals hold. A goal about nothing does not.
    pub fn is_kept(&self) -> bool {
        self.goals.iter().all(|goal| goal.holds == Some(true))
    }

    /// The places of the goals that do not hold.
    pub fn broken(&self) -> Vec<usize> {
        let goals = self.goals.iter().enumerate();
        goals.filter(|(_, goal)| goal.holds != Some(true)).map(|(place, _)| place).collect()
    }

    /// True where nothing that was measured differs.
    pub fn is_same(&self, other: &Self) -> bool {
        self.measures == other.measures
    }
}

#[cfg(test)]
impl Row {
    /// A run of which only this is known.
    pub(super) fn invented(holds: &[Option<bool>], values: &[(Measure, f64)]) -> Self {
        let value = |wanted: &Measure| values.iter().find(|(measure, _)| measure == wanted).map(|(_, value)| *value);
        let goal = |holds: &Option<bool>| Judgement { measured: holds.map(|_| 0.5), holds: *holds };
        Self { measures: Measures(Measure::ALL.iter().map(value).collect()), goals: holds.iter().map(goal).collect() }
    }
}
