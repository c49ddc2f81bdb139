//! The rows of a traffic trace that the calls of a scenario must make.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use tidegate::model::recorded::RecordedCall;
use tidegate::telemetry::record::Recorder;

/// Keeps rows as they are.
#[derive(Default)]
pub(super) struct Rows(Mutex<Vec<RecordedCall>>);

impl Recorder for Rows {
    fn question(&self, canonical: &dyn Fn() -> Option<Vec<u8>>) -> Option<Arc<str>> {
        canonical().map(|canonical| blake3::hash(&canonical).to_hex().as_str().into())
    }

    fn note(&self, call: RecordedCall) {
        self.0.lock().unwrap().push(call);
    }
}

impl Rows {
    /// What is not as expected, where each row must have the `wanted` members. A text that begins with `$` stands for whatever
    /// is there: the same where the word is the same, and something else where it is not. `none` names members that must not
    /// be there.
    pub(super) fn compare(&self, wanted: &[Map<String, Value>]) -> Vec<String> {
        let rows = self.0.lock().unwrap();
        let mut problems = Vec::new();
        if rows.len() != wanted.len() {
            problems.push(format!("there are {} rows instead of {}: {rows:#?}", rows.len(), wanted.len()));
        }
        let mut words = BTreeMap::new();
        for (number, (row, wanted)) in rows.iter().zip(wanted).enumerate() {
            let row = serde_json::to_value(row).unwrap();
            compare(&format!("row {}", number + 1), &row, wanted, &mut words, &mut problems);
        }
        problems
    }
}

fn compare(
    place: &str,
    got: &Value,
    wanted: &Map<String, Value>,
    words: &mut BTreeMap<String, Value>,
    problems: &mut Vec<String>,
) {
    for (name, wanted) in wanted {
        let (place, value) = (format!("{place}, {name}"), got.get(name));
        match wanted {
            Value::Array(gone) if name == "none" => {
                let there = gone.iter().filter(|name| got.get(name.as_str().unwrap()).is_some());
                problems.extend(there.map(|name| format!("{place}: {name} is there: {got}")));
            }
            Value::Array(list) if list.iter().all(Value::is_object) => {
                let value = value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                if value.len() != list.len() {
                    problems.push(format!("{place}: {} instead of {}: {got}", value.len(), list.len()));
                }
                for (number, (value, wanted)) in value.iter().zip(list).enumerate() {
                    let wanted = wanted.as_object().unwrap();
                    compare(&format!("{place} {}", number + 1), value, wanted, words, problems);
                }
            }
            Value::String(word) if word.starts_with('$') => {
                let is_wanted = value.is_some_and(|value| match words.get(word) {
                    Some(known) => known == value,
                    None if words.values().any(|other| other == value) => false,
                    None => words.insert(word.clone(), value.clone()).is_none(),
                });
                if !is_wanted {
                    problems.push(format!("{place} is {value:?} instead of {word} (known: {words:?})"));
                }
            }
            wanted if value != Some(wanted) => {
                problems.push(format!("{place} is {value:?} instead of {wanted}: {got}"));
            }
            _ => {}
        }
    }
}
