//! Axis: a key of the configuration and the values that it is to have: `limit.ai.rate=10/min..120/min`.
//!
//! A range is spread over a few values, `KEY=FROM..TO`, or over as many as it says, `KEY=FROM..TO:12`; `KEY=A,B,C` lists them.
//! No unit holds a colon, so that a count is not taken for one. It does not know which keys there are, nor what they take.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::number::{Number, Scale};

/// The most values of one key.
const MOST: usize = 100;

const FORM: &str = "write KEY=FROM..TO (limit.ai.rate=10/min..120/min), KEY=FROM..TO:COUNT, or a list, KEY=A,B,C";

/// A key and its values.
#[derive(Clone, Debug)]
pub struct Axis {
    /// The key, with dots.
    pub key: String,
    values: Vec<Value>,
    range: Option<Range>,
}

/// One value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// As it is written in a configuration.
    pub text: String,
    /// Where it is of a range.
    number: Option<Number>,
}

#[derive(Clone, Debug)]
struct Range {
    scale: Scale,
    unit: String,
}

impl Value {
    /// Where it is of a range, in its unit.
    pub fn place(&self) -> Option<f64> {
        self.number.map(Number::as_f64)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl Serialize for Axis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut axis = serializer.serialize_struct("Axis", 2)?;
        axis.serialize_field("key", &self.key)?;
        axis.serialize_field("values", &self.values)?;
        axis.end()
    }
}

impl Axis {
    /// Reads what `--sweep` says; `usual` is how many values a range has that does not say it.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub fn parse(text: &str, usual: usize) -> Result<Self, String> {
        let (key, values) = text.split_once('=').ok_or_else(|| format!("there is no `=`: {FORM}"))?;
        let (key, values) = (key.trim(), values.trim());
        if key.is_empty() || values.is_empty() {
            let place = if key.is_empty() { "before" } else { "after" };
            return Err(format!("nothing is {place} the `=`: {FORM}"));
        }
        let (values, range) = match values.split_once("..") {
            Some((from, to)) if !values.contains(',') => range(from, to, usual)?,
            _ => (list(values)?, None),
        };
        Ok(Self { key: key.to_owned(), values, range })
    }

    /// Its values, in their order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// True where there are values between those that there are.
    pub fn is_range(&self) -> bool {
        self.range.is_some()
    }

    /// The unit of a range, as it is written: `/min`; `None`: it is a list.
    pub fn unit(&self) -> Option<&str> {
        self.range.as_ref().map(|range| &*range.unit)
    }

    /// A round value between two of a range, about in the middle; `None`: there is none, or they are near enough.
    pub fn middle(&self, low: &Value, high: &Value) -> Option<Value> {
        let range = self.range.as_ref()?;
        range.scale.middle(low.number?, high.number?).map(|number| range.value(number))
    }
}

impl Range {
    fn value(&self, number: Number) -> Value {
        Value { text: format!("{number}{}", self.unit), number: Some(number) }
    }
}

fn range(from: &str, to: &str, usual: usize) -> Result<(Vec<Value>, Option<Range>), String> {
    let (to, count) = match to.rsplit_once(':') {
        Some((to, count)) => (to, Some(count_of(count.trim())?)),
        None => (to, None),
    };
    let amount = |text: &str| {
        let written = format!("`{}` is no number with a unit, such as 10/min, 250ms, 64MiB or 0.2", text.trim());
        Number::split(text).map(|(number, unit)| (number, unit.replace(' ', ""))).ok_or(written)
    };
    let ((from, its_unit), (to, unit)) = (amount(from)?, amount(to)?);
    if !its_unit.is_empty() && its_unit != unit {
        return Err(format!(
            "{from}{its_unit} and {to}{unit} have different units: write both in one, as in {from}..{to}{}",
            if unit.is_empty() { &its_unit } else { &unit }
        ));
    }
    if from >= to {
        let what = if from == to { "both ends are the same" } else { "it ends below where it begins" };
        return Err(format!("{what}: write the lower value first, as in {}..{}{unit}", from.min(to), from.max(to)));
    }
    let scale = Scale::of(from, to);
    let range = Range { scale, unit };
    let values = scale.spread(from, to, count, usual).into_iter().map(|number| range.value(number)).collect();
    Ok((values, Some(range)))
}

fn count_of(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (2..=MOST).contains(count));
    count.ok_or_else(|| format!("`{text}` is no count of values: write 2 to {MOST} after the `:`"))
}

fn list(text: &str) -> Result<Vec<Value>, String> {
    let mut values: Vec<Value> = Vec::new();
    for text in text.split(',').map(str::trim) {
        if text.is_empty() {
            return Err("a value of the list is empty: write KEY=A,B,C".to_owned());
        }
        if values.iter().any(|value| value.text == text) {
            return Err(format!("{text} is listed twice"));
        }
        values.push(Value { text: text.to_owned(), number: None });
    }
    match values.len() {
        1 => {
            Err(format!("one value is no sweep: {FORM}; --set compares the configuration with itself after one change"))
        }
        2..=MOST => Ok(values),
        more => Err(format!("{more} values are listed; allowed: 2 to {MOST}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(axis: &Axis) -> String {
        axis.values.iter().map(|value| &*value.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_range_and_a_list_become_values_as_a_configuration_has_them() {
        for (text, wanted) in [
            ("limit.ai.rate=10/min..120/min:4", "10/min 25/min 50/min 120/min"),
            (" limit.ai.rate = 10 .. 60 / min : 3 ", "10/min 35/min 60/min"),
            ("limit.ai.rate=10/15min..40/15min:4", "10/15min 20/15min 30/15min 40/15min"),
            ("timeout.total=1s..5s", "1s 2s 3s 4s 5s"),
            ("cache.max_bytes=16MiB..256MiB:3", "16MiB 60MiB 256MiB"),
            ("breaker.failure_share=0.2..0.8:3", "0.2 0.5 0.8"),
            ("cache.scope=tenant, user,shared", "tenant user shared"),
            ("limit.ai.rate=10/min,100/h", "10/min 100/h"),
        ] {
            assert_eq!(texts(&Axis::parse(text, 12).unwrap()), wanted, "{text}");
        }
        assert_eq!(Axis::parse("a.b=1..100", 6).unwrap().values().len(), 6);
        assert!(Axis::parse("a.b=1,2", 6).is_ok_and(|axis| !axis.is_range() && axis.key == "a.b"));
    }

    #[test]
    fn what_is_wrong_with_a_sweep_is_told_with_what_is_allowed() {
        for (text, wanted) in [
            ("limit.ai.rate", "there is no `=`: write KEY=FROM..TO (limit.ai.rate=10/min..120/min)"),
            ("=1..2", "nothing is before the `=`"),
            ("a=", "nothing is after the `=`"),
            ("a=ten..20", "`ten` is no number with a unit, such as 10/min, 250ms"),
            ("a=..20", "`` is no number"),
            ("a=250ms..2s", "250ms and 2s have different units: write both in one, as in 250..2s"),
            ("a=10/min..20", "10/min and 20 have different units: write both in one, as in 10..20/min"),
            ("a=20/min..10/min", "it ends below where it begins: write the lower value first, as in 10..20/min"),
            ("a=5s..5s", "both ends are the same"),
            ("a=1..9:1", "`1` is no count of values: write 2 to 100 after the `:`"),
            ("a=1..9:x", "`x` is no count"),
            ("a=20/min", "one value is no sweep"),
            ("a=1,,2", "a value of the list is empty"),
            ("a=1,2,1", "1 is listed twice"),
        ] {
            let said = Axis::parse(text, 12).unwrap_err();
            assert!(said.starts_with(wanted), "{text}: {said}");
        }
        let long = (0..101).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(Axis::parse(&format!("a={long}"), 12).unwrap_err(), "101 values are listed; allowed: 2 to 100");
    }

    proptest! {
        #[test]
        fn any_text_is_a_sweep_or_is_told_what_is_wrong(key in "\\PC{0,8}", values in "[0-9.,:/a-z ]{0,24}|\\PC{0,24}") {
            if let Ok(axis) = Axis::parse(&format!("{key}={values}"), 12) {
                prop_assert!((2..=MOST).contains(&axis.values().len()));
            }
        }

        #[test]
        fn ranges_of_any_size_have_values(from in 0..1_000_000_000_000_u64, to in 0..1_000_000_000_000_u64, count in 2..100_usize) {
            prop_assume!(from < to);
            let axis = Axis::parse(&format!("k={from}..{to}s:{count}"), 12).unwrap();
            prop_assert!((2..=count + 1).contains(&axis.values().len()));
            prop_assert_eq!(&axis.values()[0].text, &format!("{from}s"));
        }
    }
}
