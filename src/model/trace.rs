//! Trace: the trace and span ids of a call, as W3C Trace Context (levels 1 and 2) propagates them.
//!
//! It reads and writes the two headers. It does not know what is done with spans, nor who samples them.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue};

/// `traceparent`
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The bits of `trace-flags` that mean something: sampled, and (level 2) that the trace's id is random.
const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// The most members of a `tracestate` (3.3.1.1), and the most characters of one that is passed on: the least that the
/// specification asks for (3.3.1.5).
const MOST_MEMBERS: usize = 32;
const MOST_STATE: usize = 512;

/// A trace's id; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

/// A span's id; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub u64);

impl fmt::Display for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

/// What a caller says of the trace that its request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub id: TraceId,
    /// The caller's span.
    pub span: SpanId,
    /// True when the caller keeps the trace.
    pub is_sampled: bool,
    is_random: bool,
    state: Option<Arc<str>>,
}

impl Parent {
    /// Reads the headers of a request. Whatever is not exactly as specified is as good as absent.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let parent = all.next()?;
        if all.next().is_some() {
            return None;
        }
        Some(Self { state: state(headers), ..Self::parse(parent.as_bytes())? })
    }

    /// Reads `VERSION-TRACE-SPAN-FLAGS`. Of a version that is not known yet the beginning counts (3.2.4).
    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(55)?;
        if [known[2], known[35], known[52]] != [b'-'; 3] {
            return None;
        }
        let ([version], [flags]) = (hex(&known[..2])?, hex(&known[53..])?);
        let is_whole = match version {
            0 => rest.is_empty(),
            255 => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let (id, span) = (u128::from_be_bytes(hex(&known[3..35])?), u64::from_be_bytes(hex(&known[36..52])?));
        (is_whole && id != 0 && span != 0).then_some(Self {
            id: TraceId(id),
            span: SpanId(span),
            is_sampled: flags & SAMPLED != 0,
            is_random: flags & RANDOM != 0,
            state: None,
        })
    }
}

/// The bytes that two lower-case hexadecimal digits each spell, if they are exactly `N`.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (digits.len() == 2 * N).then(|| HEXLOWER.decode_mut(digits, &mut bytes).ok())??;
    Some(bytes)
}

/// The whole `tracestate`, or nothing if any of it is wrong: half of it might say something else.
fn state(headers: &HeaderMap) -> Option<Arc<str>> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    for header in headers.get_all(TRACESTATE) {
        for member in header.to_str().ok()?.split(',') {
            // Blanks around members are optional, and empty members are allowed (3.3.1.1).
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let is_new = members.iter().all(|(other, _)| *other != key);
            if !is_new || !is_key(key) || !is_value(value) || members.len() == MOST_MEMBERS {
                return None;
            }
            members.push((key, value));
        }
    }
    let text = members.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
    (!text.is_empty() && text.len() <= MOST_STATE).then(|| text.into())
}

/// `key` of 3.3.1.3.1: a simple one, or `TENANT@SYSTEM`.
fn is_key(key: &str) -> bool {
    let is_rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
    let is_part = |part: &str, most: usize, may_begin_with_digit: bool| {
        let begins = part
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase() || may_begin_with_digit && byte.is_ascii_digit());
        begins && part.len() <= most && part.bytes().all(is_rest)
    };
    match key.split_once('@') {
        None => is_part(key, 256, true),
        Some((tenant, system)) => is_part(tenant, 241, true) && is_part(system, 14, false),
    }
}

/// `value` of 3.3.1.3.2: printable ASCII but `,` and `=`, not ending in a blank.
fn is_value(value: &str) -> bool {
    let is_fine = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(is_fine) && !value.ends_with(' ')
}

/// The trace that a call belongs to, and its own place in it.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The span that caused the call, if any.
    pub parent: Option<SpanId>,
    /// The call's own span.
    pub span: SpanId,
    /// True when it was decided at the beginning that the trace is kept.
    pub is_sampled: bool,
    is_random: bool,
    state: Option<Arc<str>>,
}

impl Trace {
    /// A trace that begins here. Zero is no id; it is as rare as any other number.
    pub fn begin(bits: [u64; 3], is_sampled: impl FnOnce(TraceId) -> bool) -> Self {
        let [high, low, span] = bits;
        let id = TraceId(((u128::from(high) << 64) | u128::from(low)).max(1));
        Self { id, parent: None, span: SpanId(span.max(1)), is_sampled: is_sampled(id), is_random: true, state: None }
    }

    /// The next span of a caller's trace.
    pub fn go_on(parent: Parent, span: u64, is_sampled: impl FnOnce(&Parent) -> bool) -> Self {
        Self {
            is_sampled: is_sampled(&parent),
            id: parent.id,
            parent: Some(parent.span),
            span: SpanId(span.max(1)),
            is_random: parent.is_random,
            state: parent.state,
        }
    }

    /// The span of an attempt, by its number. Made from the call's own, so that nothing needs to be kept for it.
    pub fn attempt(&self, index: usize) -> SpanId {
        // A step that is odd visits every number once, so that no two attempts share one.
        let steps = (index as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        SpanId(self.span.0.wrapping_add(steps).max(1))
    }

    /// `traceparent` for whom this span asks.
    pub fn traceparent(&self, span: SpanId) -> Option<HeaderValue> {
        let flags = (u8::from(self.is_sampled) * SAMPLED) | (u8::from(self.is_random) * RANDOM);
        HeaderValue::try_from(format!("00-{}-{span}-{flags:02x}", self.id)).ok()
    }

    /// `tracestate` as it came: nothing of it is ours.
    pub fn tracestate(&self) -> Option<HeaderValue> {
        self.state.as_deref().and_then(|state| HeaderValue::from_str(state).ok())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FINE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(parents: &[&str], states: &[&str]) -> Option<Parent> {
        let mut headers = HeaderMap::new();
        for (name, values) in [(TRACEPARENT, parents), (TRACESTATE, states)] {
            headers.extend(values.iter().map(|value| (name.clone(), value.parse().unwrap())));
        }
        Parent::read(&headers)
    }

    #[test]
    fn a_parent_is_read_as_specified() {
        let parent = read(&[FINE], &["rojo=00f067aa0ba902b7, ,congo=t61rcWkgMzE", "1a-2*@sys/x=a b"]).unwrap();
        assert_eq!(parent.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span.to_string(), "00f067aa0ba902b7");
        assert!(parent.is_sampled && !parent.is_random);
        assert_eq!(parent.state.as_deref(), Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,1a-2*@sys/x=a b"));
        let later = read(&[&FINE.replacen("00", "cc", 1)], &[]).unwrap();
        assert_eq!(later.id, parent.id);
        assert!(read(&[&format!("{}-what-the-future-is-like", FINE.replacen("00", "cc", 1))], &[]).is_some());
        assert!(!read(&[&FINE.replace("-01", "-fe")], &[]).unwrap().is_sampled);
    }

    #[test]
    fn what_is_not_exactly_a_parent_is_none() {
        let wrong = [
            String::new(),
            FINE.to_uppercase(),
            format!("{FINE}-"),
            format!("{FINE}0"),
            format!(" {FINE}").trim_start().replacen("00-", "ff-", 1),
            FINE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            FINE.replace("00f067aa0ba902b7", &"0".repeat(16)),
            FINE.replace('f', "g"),
            FINE.replace("-01", "_01"),
            FINE[..54].to_owned(),
            format!("{}.", FINE.replacen("00", "cc", 1)),
        ];
        for text in &wrong {
            assert_eq!(read(&[text], &[]), None, "{text}");
        }
        assert_eq!(read(&[FINE, FINE], &[]), None);
        assert_eq!(read(&[], &["a=b"]), None);
    }

    #[test]
    fn a_state_that_is_wrong_anywhere_is_left_out_and_the_parent_stays() {
        let many = (0..33).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        let long = format!("a={}", "x".repeat(257));
        for state in ["a=1,a=2", "A=1", "a", "=1", "a=", "a=b=c", "a@1b=1", "a@b@c=1", "a=\t1", &many, &long] {
            assert_eq!(read(&[FINE], &[state]).unwrap().state, None, "{state}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_is_read_again(bits in any::<[u64; 3]>(), is_sampled: bool, attempt in 0usize..100) {
            let trace = Trace::begin(bits, |_| is_sampled);
            let span = trace.attempt(attempt);
            let header = trace.traceparent(span).unwrap();
            let parent = Parent::parse(header.as_bytes()).unwrap();
            prop_assert_eq!((parent.id, parent.span, parent.is_sampled), (trace.id, span, is_sampled));
            prop_assert!(parent.is_random);
            prop_assert_ne!(span, trace.span);
        }

        #[test]
        fn nothing_that_comes_can_break_it(parent in any::<Vec<u8>>(), state in any::<Vec<u8>>()) {
            let mut headers = HeaderMap::new();
            for (name, bytes) in [(TRACEPARENT, parent), (TRACESTATE, state)] {
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    headers.append(name, value);
                }
            }
            let _ = Parent::read(&headers);
        }
    }
}
