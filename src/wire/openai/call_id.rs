//! The ids of calls, as OpenAI takes them in requests.
//!
//! Other providers, and callers, have longer ones. A call and its result name the same id, so both are shortened alike. It does
//! not know whose id it is.

use std::borrow::Cow;

/// The longest id that Chat takes; Responses takes 64.
const LONGEST: usize = 40;

/// How much of a longer one is kept. The hash of all of it is put behind.
const KEPT: usize = 23;

/// Digits of the hash.
const DIGITS: usize = 16;

/// An id that is no longer than it may be.
pub(super) fn short(id: &str) -> Cow<'_, str> {
    if id.len() <= LONGEST {
        return Cow::Borrowed(id);
    }
    let kept = &id[..id.floor_char_boundary(KEPT)];
    let hash = blake3::hash(id.as_bytes()).to_hex();
    let digits = hash.get(..DIGITS).unwrap_or_default();
    format!("{kept}_{digits}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_id_is_shortened_and_stays_apart_from_others() {
        assert_eq!(short("call_1"), "call_1");
        let long = |end: &str| format!("call_chatcmpl-{}_{end}", "é".repeat(20));
        let (first, second) = (long("0"), long("1"));
        assert_eq!(short(&first), short(&first));
        assert_ne!(short(&first), short(&second));
        assert!(short(&first).len() <= LONGEST && short(&first).starts_with("call_chatcmpl-"));
    }
}
