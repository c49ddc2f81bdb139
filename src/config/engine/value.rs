//! Value: one parser for each type of a key; each error says what is allowed.
//!
//! It does not know which key it is parsing, nor its location.

use std::any::TypeId;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::Method;
use url::Url;

use crate::config::engine::document::Value;
use crate::config::engine::secret::Secret;
use crate::config::engine::shape;
use crate::config::engine::shape::{Shape, ValueType};
use crate::model::names::Wildcard;
use crate::model::pattern::Pattern;
use crate::wire::redis_url::{Address, FORMS};

/// What a parser expected instead of what it got.
#[derive(Debug)]
pub(crate) struct Expected {
    /// With its article: `a port`.
    what: &'static str,
    /// What is allowed: `1 to 65535`.
    allowed: Cow<'static, str>,
    /// The allowed word that looks most like what was written.
    nearest: Option<String>,
    /// False when the value must not be shown: it is a secret or may hold one.
    is_public: bool,
    /// True when the value that is wanted is a secret.
    is_secret: bool,
    /// The same for programs.
    shape: Shape,
}

/// The outcome of a parser.
pub(crate) type Parsed<T> = Result<T, Expected>;

impl Expected {
    pub(crate) fn new(what: &'static str, allowed: impl Into<Cow<'static, str>>) -> Self {
        Self { what, allowed: allowed.into(), nearest: None, is_public: true, is_secret: false, shape: Shape::Text }
    }

    /// Something else than a text.
    pub(crate) fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// A secret.
    pub(crate) fn secret(what: &'static str, allowed: impl Into<Cow<'static, str>>) -> Self {
        Self { is_secret: true, ..Self::unrepeated(what, allowed) }
    }

    /// No secret, in whose place people write one by mistake.
    pub(crate) fn unrepeated(what: &'static str, allowed: impl Into<Cow<'static, str>>) -> Self {
        Self { is_public: false, ..Self::new(what, allowed) }
    }

    /// The message for a value that was refused.
    pub(crate) fn message(&self, got: &Value) -> String {
        let Self { what, allowed, .. } = self;
        let shown = match self.is_public {
            true => show(got),
            false => "***".into(),
        };
        let hint = self.nearest.as_deref().map(meant).unwrap_or_default();
        match got {
            Value::Raw(_) => format!("{shown} is not {what}: allowed {allowed}{hint}"),
            _ => format!("expected {what}, {allowed}, got {shown}{hint}"),
        }
    }
}

/// What a parser takes. It says so when it refuses, and a date is what every parser refuses.
pub(crate) fn taken<T: 'static>(parse: impl Fn(&Value) -> Parsed<T>) -> Option<ValueType> {
    let Expected { what, allowed, shape, is_secret, .. } = parse(&Value::Date).err()?;
    let is_secret = is_secret || TypeId::of::<T>() == TypeId::of::<Secret>();
    Some(ValueType { what, allowed: allowed.into_owned(), shape, is_secret })
}

/// The message for something that stands where a table belongs.
pub(crate) fn table_wanted(got: &Value) -> String {
    Expected::new("a table", "keys with values").message(got)
}

/// How much of a wrong value is shown.
const SHOWN_CHARS: usize = 60;

/// A value for a message: quoted, on one line, not too long.
fn show(value: &Value) -> String {
    match value {
        // An address with a user in it holds a password as a rule.
        Value::Text(text) | Value::Raw(text) if text.contains("://") && text.contains('@') => "***".into(),
        Value::Text(text) | Value::Raw(text) => match text.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => format!("\"{}...\"", text.get(..end).unwrap_or_default().escape_debug()),
            None => format!("\"{}\"", text.escape_debug()),
        },
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(bool) => bool.to_string(),
        Value::Date => "a date".into(),
        Value::Array(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    }
}

/// The longest word, in bytes, for which a known one is looked for: all of those are shorter.
const LONGEST_WORD: usize = 128;

/// The known word that looks most like `word`, when one looks similar enough to be meant.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // To compare takes time with each letter, and callers write words of megabytes too.
    if word.len() > LONGEST_WORD {
        return None;
    }
    // 0.6 lets through two slips in a word of five letters and keeps out words that share a beginning only.
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(&word.to_lowercase(), other);
    let scored = known.into_iter().map(|other| (likeness(other).max(0.99 * contained(word, other)), other));
    scored.filter(|(score, _)| *score >= 0.6).max_by(|left, right| left.0.total_cmp(&right.0)).map(|(_, it)| it.into())
}

/// What a message adds where a known word looks much like `word`; else nothing.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).as_deref().map(meant).unwrap_or_default()
}

fn meant(word: &str) -> String {
    format!(", did you mean `{word}`?")
}

/// 0.7 when one word is the other with something added (`first_token_timeout`), else 0.
fn contained(word: &str, other: &str) -> f64 {
    let is_long = word.len() >= 4 && other.len() >= 4;
    if is_long && (word.contains(other) || other.contains(word)) { 0.7 } else { 0.0 }
}

/// The text of a string, from a file or a variable.
fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Raw(text) => Some(text.trim()),
        _ => None,
    }
}

/// A text that is not empty.
pub(crate) fn text(value: &Value) -> Parsed<String> {
    let found = text_of(value).filter(|text| !text.is_empty());
    found.map(Into::into).ok_or_else(|| Expected::new("a text", "not empty"))
}

/// A text that must not be shown.
pub(crate) fn secret_text(value: &Value) -> Parsed<Secret> {
    text(value).map(|text| Secret::new(&text)).map_err(|_| Expected::secret("a text", "not empty"))
}

/// `true` or `false`; in variables also `1`, `yes`, `on` and their opposites.
pub(crate) fn boolean(value: &Value) -> Parsed<bool> {
    match value {
        Value::Bool(bool) => return Ok(*bool),
        Value::Raw(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => return Ok(true),
            "false" | "0" | "no" | "off" => return Ok(false),
            _ => return Err(Expected::new("a switch", "true, false, 1, 0, yes, no, on, off")),
        },
        _ => {}
    }
    Err(Expected::new("a switch", "true or false").shaped(Shape::Switch))
}

/// A whole number within bounds.
pub(crate) fn integer(what: &'static str, min: i64, max: i64) -> impl Fn(&Value) -> Parsed<i64> {
    move |value| {
        let number = match value {
            Value::Integer(number) => Some(*number),
            Value::Raw(text) => text.trim().parse().ok(),
            _ => None,
        };
        let fits = number.filter(|number| (min..=max).contains(number));
        fits.ok_or_else(|| Expected::new(what, format!("{min} to {max}")).shaped(Shape::Whole { min, max }))
    }
}

/// A count of things, at least one.
pub(crate) fn count(value: &Value) -> Parsed<usize> {
    let number = integer("a number", 1, 1_000_000)(value)?;
    usize::try_from(number).map_err(|_| Expected::new("a number", "1 to 1000000"))
}

/// Tokens of an answer.
pub(crate) fn tokens(value: &Value) -> Parsed<u64> {
    integer("a number of tokens", 1, 10_000_000)(value).map(i64::unsigned_abs)
}

/// A small count: attempts, probes. Zero only where `min` says so.
pub(crate) fn few(min: i64) -> impl Fn(&Value) -> Parsed<u32> {
    move |value| {
        let number = integer("a number", min, 1000)(value)?;
        u32::try_from(number).map_err(|_| Expected::new("a number", format!("{min} to 1000")))
    }
}

/// A larger count, at least one.
pub(crate) fn many(value: &Value) -> Parsed<u32> {
    let number = integer("a number", 1, 100_000)(value)?;
    u32::try_from(number).map_err(|_| Expected::new("a number", "1 to 100000"))
}

/// A larger count, or none.
pub(crate) fn many_or_none(value: &Value) -> Parsed<u32> {
    let number = integer("a number", 0, 100_000)(value)?;
    u32::try_from(number).map_err(|_| Expected::new("a number", "0 to 100000"))
}

/// How many times as much.
pub(crate) fn factor(value: &Value) -> Parsed<f64> {
    let number = match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        Value::Raw(text) => text.trim().parse().ok(),
        _ => None,
    };
    let shape = Shape::Number { min: 1.1, max: Some(100.0) };
    let wanted = || Expected::new("a factor", "1.1 to 100.0").shaped(shape);
    number.filter(|factor| (1.1..=100.0).contains(factor)).ok_or_else(wanted)
}

/// A part of a whole.
pub(crate) fn share(value: &Value) -> Parsed<f64> {
    let number = match value {
        Value::Float(number) => Some(*number),
        Value::Integer(0) => Some(0.0),
        Value::Integer(1) => Some(1.0),
        Value::Raw(text) => text.trim().parse().ok(),
        _ => None,
    };
    let shape = Shape::Number { min: 0.0, max: Some(1.0) };
    let wanted = || Expected::new("a share", "0.0 to 1.0").shaped(shape);
    number.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(wanted)
}

/// A TCP port.
pub(crate) fn port(value: &Value) -> Parsed<u16> {
    let shape = || Shape::Whole { min: 0, max: 65_535 };
    let wanted = || Expected::new("a port", "1 to 65535 (0 picks a free one)").shaped(shape());
    let number = integer("a port", 0, 65_535)(value).map_err(|_| wanted())?;
    u16::try_from(number).map_err(|_| wanted())
}

/// No configured time is longer: a day is beyond any sensible limit, and sums of days never overflow a clock.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A duration above zero: `"250ms"`, `"5s"`, `"2m"`, `"1h"`.
pub(crate) fn duration(value: &Value) -> Parsed<Duration> {
    let allowed = "1ms to 24h with its unit, such as \"250ms\", \"5s\", \"2m\", \"1h\"";
    let wanted = || Expected::new("a duration", allowed).shaped(shape::DURATION);
    duration_or_zero(value).ok().filter(|it| !it.is_zero()).ok_or_else(wanted)
}

/// A duration that may be zero.
pub(crate) fn duration_or_zero(value: &Value) -> Parsed<Duration> {
    let allowed = "0s to 24h with its unit, such as \"250ms\", \"5s\", \"2m\", \"1h\"";
    let wanted = || Expected::new("a duration", allowed).shaped(shape::DURATION);
    with_unit(value).filter(|it| *it <= LONGEST).ok_or_else(wanted)
}

/// How long something is kept: a duration, up to a year. A variable's plain number is in seconds; zero means not at all.
pub(crate) fn lifetime(value: &Value) -> Parsed<Duration> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let wanted = || match value {
        Value::Raw(_) => {
            Expected::new("a time to live", "0 to 31536000 seconds, or with its unit, such as \"5m\", \"24h\"")
        }
        _ => Expected::new("a time to live", "0s to 8760h with its unit, such as \"30s\", \"5m\", \"24h\"")
            .shaped(shape::DURATION),
    };
    let seconds = match value {
        Value::Raw(text) => text.trim().parse().ok().map(Duration::from_secs),
        _ => None,
    };
    seconds.or_else(|| with_unit(value)).filter(|it| *it <= YEAR).ok_or_else(wanted)
}

/// A number with a unit of time.
fn with_unit(value: &Value) -> Option<Duration> {
    let (number, unit) = text_of(value).and_then(split_unit)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// Memory that is used for one purpose: 1 MiB to 1 TiB.
pub(crate) fn memory(value: &Value) -> Parsed<usize> {
    size(1 << 20, 1 << 40, "1MiB to 1024GiB")(value)
}

/// Bytes within bounds: `"512B"`, `"32KiB"`, `"10MiB"`.
pub(crate) fn size(min: u64, max: u64, range: &'static str) -> impl Fn(&Value) -> Parsed<usize> {
    move |value| {
        let parsed = text_of(value).and_then(split_unit).and_then(|(number, unit)| {
            let bytes = match unit {
                "B" => 1,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return None,
            };
            number.checked_mul(bytes)
        });
        let fits = parsed.filter(|bytes| (min..=max).contains(bytes)).and_then(|bytes| usize::try_from(bytes).ok());
        let allowed = || format!("{range} with its unit, such as \"512B\", \"32KiB\", \"10MiB\"");
        fits.ok_or_else(|| Expected::new("a size", allowed()).shaped(shape::SIZE))
    }
}

/// A body or an answer: 1 byte to 1 GiB.
pub(crate) fn body_size(value: &Value) -> Parsed<usize> {
    size(1, 1 << 30, "1B to 1GiB")(value)
}

/// `250ms` becomes 250 and `ms`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// One of the allowed words, in any case.
pub(crate) fn word<T: Copy>(what: &'static str, words: &'static [(T, &'static str)]) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let text = text_of(value).unwrap_or_default();
        if let Some((found, _)) = words.iter().find(|(_, word)| word.eq_ignore_ascii_case(text)) {
            return Ok(*found);
        }
        let known = || words.iter().map(|(_, word)| *word);
        let allowed = known().collect::<Vec<_>>().join(", ");
        let shape = Shape::Words(known().collect());
        Err(Expected { nearest: nearest(text, known()), shape, ..Expected::new(what, format!("one of {allowed}")) })
    }
}

/// An `http` or `https` address to which paths are appended.
pub(crate) fn url(value: &Value) -> Parsed<Url> {
    let text = text_of(value).unwrap_or_default();
    let parsed = Url::parse(text).ok().filter(|url| {
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_base = url.query().is_none() && url.fragment().is_none();
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some() && is_plain && is_base
    });
    match parsed {
        Some(mut url) => {
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&path);
            Ok(url)
        }
        None => {
            let allowed = "http:// or https://, a host, and no user, password, query or fragment";
            Err(Expected::new("an address", allowed).shaped(shape::URL))
        }
    }
}

/// The address of a Redis server.
pub(crate) fn redis_url(value: &Value) -> Parsed<Secret> {
    let text = text_of(value).unwrap_or_default();
    let is_fine = Address::parse(text).is_some();
    match is_fine {
        true => Ok(Secret::new(text)),
        false => Err(Expected::secret("a Redis URL", FORMS)),
    }
}

/// A path on a provider.
pub(crate) fn path(value: &Value) -> Parsed<String> {
    let is_fine = |text: &&str| {
        text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
    };
    let found = text_of(value).filter(is_fine);
    found.map(Into::into).ok_or_else(|| Expected::new("a path", "ASCII, starting with `/`, without a query"))
}

/// An HTTP method that a route can have.
pub(crate) fn method(value: &Value) -> Parsed<Method> {
    const WORDS: &[(usize, &str)] = &[(0, "GET"), (1, "POST"), (2, "PUT"), (3, "PATCH"), (4, "DELETE")];
    let index = word("a method", WORDS)(value)?;
    Ok([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE][index].clone())
}

/// A model's name or the beginning of one.
pub(crate) fn pattern(value: &Value) -> Parsed<Pattern> {
    let parsed = text_of(value).and_then(|text| Pattern::parse(text).ok());
    parsed.ok_or_else(|| Expected::new("a model", "a name, or a prefix followed by `*`"))
}

/// A pattern of models' names that may be open at either end.
pub(crate) fn wildcard(value: &Value) -> Parsed<Wildcard> {
    let parsed = text_of(value).and_then(|text| Wildcard::parse(text).ok());
    parsed.ok_or_else(|| Expected::new("a model pattern", "a name, with an optional `*` before or after it"))
}

/// The name of an environment variable. People put the secret itself here by mistake, so it is not repeated.
pub(crate) fn variable_name(value: &Value) -> Parsed<String> {
    let is_fine = |text: &&str| {
        let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        text.bytes().next().is_some_and(is_letter) && text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
    };
    let found = text_of(value).filter(is_fine);
    found.map(Into::into).ok_or_else(|| {
        Expected::unrepeated(
            "the name of an environment variable",
            "capital letters, digits and `_` (not the secret itself)",
        )
    })
}

/// An address to listen at: an IP address or `localhost`.
pub(crate) fn host(value: &Value) -> Parsed<IpAddr> {
    let parsed = match text_of(value) {
        Some("localhost") => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(text) => text.trim_start_matches('[').trim_end_matches(']').parse().ok(),
        None => None,
    };
    parsed.ok_or_else(|| Expected::new("a listen address", "an IP address such as 0.0.0.0, 127.0.0.1 or ::"))
}

/// The admin address, or `off`.
pub(crate) fn admin(value: &Value) -> Parsed<Option<SocketAddr>> {
    let text = text_of(value).unwrap_or_default();
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map(Some).map_err(|_| Expected::new("an admin address", "IP:PORT such as 127.0.0.1:9901, or \"off\""))
}

/// The levels of log lines.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A log filter: a level, or a list such as `info,tidegate::policy=debug`.
pub(crate) fn log_level(value: &Value) -> Parsed<String> {
    let text = text_of(value).unwrap_or_default().to_ascii_lowercase();
    // The filter's own parser takes any word for a module's name; a mistyped level would then log nothing.
    let is_directive = |part: &str| match part.trim().split_once('=') {
        Some((target, level)) => !target.is_empty() && LEVELS.contains(&level),
        None => LEVELS.contains(&part.trim()),
    };
    if !text.is_empty() && text.split(',').all(is_directive) {
        return Ok(text);
    }
    let allowed = format!("one of {}, or a list such as info,tidegate=debug", LEVELS.join(", "));
    Err(Expected { nearest: nearest(&text, LEVELS), ..Expected::new("a log level", allowed) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn durations_have_a_unit_and_an_end() {
        assert_eq!(duration(&written("250ms")).unwrap(), Duration::from_millis(250));
        assert_eq!(duration(&written("2m")).unwrap(), Duration::from_secs(120));
        for wrong in ["", "5", "s", "0s", "-1s", "1d", "25h", "99999999999999999999s", "18446744073709551615h", "1.5s"]
        {
            assert!(duration(&written(wrong)).is_err(), "{wrong}");
        }
        assert!(duration(&Value::Integer(5)).is_err());
        assert!(duration_or_zero(&written("0s")).unwrap().is_zero());
    }

    #[test]
    fn a_known_word_is_meant_by_one_like_it_and_by_none_of_megabytes() {
        assert_eq!(hint("town_nmae", ["name", "town_name"]), ", did you mean `town_name`?");
        assert_eq!(hint("elsewhere", ["name", "town_name"]), "");
        // All that is like it is longer than the longest that is compared.
        let long = "name".repeat(1 << 20);
        assert_eq!(hint(&long, ["name", &long]), "");
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(body_size(&written("10MiB")).unwrap(), 10 << 20);
        assert_eq!(body_size(&written("512B")).unwrap(), 512);
        for wrong in ["10", "10MB", "0B", "2GiB", "99999999999999999999B"] {
            assert!(body_size(&written(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_http_without_anything_that_could_leak() {
        assert_eq!(url(&written("https://a.example/v1/")).unwrap().as_str(), "https://a.example/v1");
        for wrong in ["ftp://a", "a.example", "http://u:pw@a/", "http://a/?k=v", "http://a/#f", "http://"] {
            assert!(url(&written(wrong)).is_err(), "{wrong}");
        }
        let refused = url(&written("http://user:canary@a/")).unwrap_err();
        assert!(!refused.message(&written("http://user:canary@a/")).contains("canary"));
    }

    #[test]
    fn a_mistyped_log_level_is_not_taken_for_a_module() {
        assert_eq!(log_level(&written("INFO")).unwrap(), "info");
        assert_eq!(log_level(&written("warn,tidegate=debug")).unwrap(), "warn,tidegate=debug");
        assert!(log_level(&written("inof")).unwrap_err().message(&written("inof")).contains("did you mean `info`"));
    }

    #[test]
    fn words_suggest_the_nearest() {
        assert_eq!(nearest("frist_token", ["first_byte", "first_token", "idle"]).as_deref(), Some("first_token"));
        assert_eq!(nearest("togeter", ["openai", "together"]).as_deref(), Some("together"));
        assert_eq!(nearest("zebra", ["openai", "together"]), None);
    }

    #[test]
    fn wrong_values_are_shown_on_one_short_line() {
        let long = "x\n".repeat(100);
        let shown = Expected::new("a thing", "short").message(&written(&long));
        assert!(!shown.contains('\n') && shown.len() < 250, "{shown}");
    }
}
