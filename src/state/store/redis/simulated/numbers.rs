//! Numbers as Redis reads and writes them.

/// An integer: decimal digits with at most a minus, and no other spelling of it than the shortest (`string2ll`).
pub(super) fn integer(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let is_shortest = match digits {
        [] => false,
        [b'0', ..] => bytes == b"0",
        digits => digits.iter().all(u8::is_ascii_digit),
    };
    std::str::from_utf8(bytes).ok().filter(|_| is_shortest)?.parse().ok()
}

/// A score: any number, or an infinity; no space around it.
pub(super) fn score(bytes: &[u8]) -> Option<f64> {
    std::str::from_utf8(bytes).ok()?.parse::<f64>().ok().filter(|score| !score.is_nan())
}

/// A Lua number as an answer: without its fraction. What no integer holds, C leaves open; this is what x86-64 makes of it.
pub(super) fn truncated(number: f64) -> i64 {
    // Both ends are powers of two, and doubles.
    match (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        true => number as i64,
        false => i64::MIN,
    }
}

/// A Lua number as an argument of `redis.call`: C's `%.17g`.
pub(super) fn written(number: f64) -> Vec<u8> {
    if !number.is_finite() {
        let text = match (number.is_nan(), number.is_sign_negative()) {
            (true, true) => "-nan",
            (true, false) => "nan",
            (false, true) => "-inf",
            (false, false) => "inf",
        };
        return text.into();
    }
    let scientific = format!("{number:.16e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match exponent {
        -4..=16 => trimmed(&format!("{number:.*}", usize::try_from(16 - exponent).unwrap_or_default())),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", trimmed(digits), exponent.unsigned_abs())
        }
    }
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        for (text, number) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(integer(text.as_bytes()), Some(number), "{text}");
        }
        for odd in ["", "-", "-0", "+1", "01", " 1", "1 ", "1.0", "1e3", "9223372036854775808", "x"] {
            assert_eq!(integer(odd.as_bytes()), None, "{odd:?}");
        }
    }

    #[test]
    fn numbers_are_written_with_seventeen_digits_as_c_does() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (0.1, "0.10000000000000001"),
            (-1e-5, "-1.0000000000000001e-05"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1_767_225_600_123.0, "1767225600123"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(String::from_utf8(written(number)).unwrap(), text);
        }
    }
}
