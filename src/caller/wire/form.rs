//! Form: parses a multipart body (RFC 7578) so strictly that no other parser can find other fields in it. What
//! honest programs send passes; ambiguous forms are rejected.
//!
//! It does not know what the fields mean.

use std::ops::Range;

use memchr::memmem;

use crate::model::fault::Fault;

/// More parts than any honest form has: files, a model and some options.
const MAX_PARTS: usize = 64;

/// RFC 2046, 5.1.1: no boundary is longer.
const MAX_BOUNDARY: usize = 70;

/// One field.
#[derive(Debug)]
pub(super) struct Part {
    /// Its name.
    pub(super) name: String,
    /// True when it has a file name.
    pub(super) is_file: bool,
    /// Its bytes, as a place in the body.
    pub(super) content: Range<usize>,
}

/// The fields of a form, in their order.
pub(super) fn read(content_type: &str, body: &[u8]) -> Result<Vec<Part>, Fault> {
    let delimiter = format!("--{}", boundary(content_type)?);
    let delimiter = delimiter.as_bytes();
    let mut parts = Vec::new();
    let mut begin: Option<usize> = None;
    let mut is_closed = false;
    for at in memmem::find_iter(body, delimiter) {
        let is_at_line = at == 0 || body[..at].ends_with(b"\r\n");
        if is_closed || !is_at_line {
            return Err(broken());
        }
        match begin {
            Some(begin) => parts.push(part(body, begin..at - 2)?),
            // What stands in front of the first part is for nobody.
            None if at <= 2 => {}
            None => return Err(broken()),
        }
        if parts.len() > MAX_PARTS {
            return Err(Fault::invalid(None, format!("the form must have at most {MAX_PARTS} fields")));
        }
        let after = &body[at + delimiter.len()..];
        is_closed = matches!(after, b"--" | b"--\r\n");
        if !is_closed && !after.starts_with(b"\r\n") {
            return Err(broken());
        }
        begin = Some(at + delimiter.len() + 2);
    }
    if is_closed { Ok(parts) } else { Err(broken()) }
}

fn broken() -> Fault {
    Fault::invalid(None, "the multipart body is malformed")
}

/// The boundary that the `Content-Type` names, once.
fn boundary(content_type: &str) -> Result<&str, Fault> {
    let wrong = || {
        Fault::invalid(
            "Content-Type",
            "the header `Content-Type` must name the multipart boundary once (1 to 70 characters)",
        )
    };
    let mut found = None;
    for (name, value) in params(content_type).ok_or_else(wrong)?.1 {
        match name.to_ascii_lowercase().as_str() {
            "boundary" if found.is_none() => found = Some(value),
            name if name.starts_with("boundary") => return Err(wrong()),
            _ => {}
        }
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let is_fine =
        |text: &&str| (1..=MAX_BOUNDARY).contains(&text.len()) && text.bytes().all(is_plain) && !text.ends_with(' ');
    found.filter(is_fine).ok_or_else(wrong)
}

/// A part that stands between two delimiters.
fn part(body: &[u8], place: Range<usize>) -> Result<Part, Fault> {
    let bytes = body.get(place.clone()).ok_or_else(broken)?;
    let end = memmem::find(bytes, b"\r\n\r\n").ok_or_else(broken)?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| broken())?;
    let (mut disposition, mut has_type) = (None, false);
    for line in head.split("\r\n") {
        // A line feed by itself is a line's end to some readers, and a line that begins with a blank goes on with the one before.
        if line.starts_with([' ', '\t']) || line.contains(['\r', '\n', '\0']) {
            return Err(broken());
        }
        let (name, value) = line.split_once(':').ok_or_else(broken)?;
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if disposition.is_none() => disposition = Some(value.trim()),
            "content-type" if !has_type => {
                has_type = true;
                check_type(value)?;
            }
            "content-disposition" | "content-type" => return Err(broken()),
            "content-transfer-encoding" if !matches!(value.trim(), "binary" | "8bit" | "7bit") => {
                return Err(Fault::invalid(
                    None,
                    "a field of the form is encoded (Content-Transfer-Encoding); send it unencoded",
                ));
            }
            name if name.is_empty() || name.contains([' ', '\t']) => return Err(broken()),
            _ => {}
        }
    }
    let (name, is_file) = named(disposition.ok_or_else(broken)?)?;
    Ok(Part { name, is_file, content: place.start + end + 4..place.end })
}

/// A text in another alphabet could say something else.
fn check_type(content_type: &str) -> Result<(), Fault> {
    let (media_type, params) = params(content_type).ok_or_else(broken)?;
    let is_text = |value: &str| value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("us-ascii");
    match params.iter().all(|(name, value)| !name.eq_ignore_ascii_case("charset") || is_text(value)) {
        true if !media_type.to_ascii_lowercase().starts_with("multipart/") => Ok(()),
        true => Err(Fault::invalid(None, "a field of the form is itself a multipart form")),
        false => Err(Fault::invalid(None, "a field of the form is not UTF-8")),
    }
}

/// A field's name, and whether it is a file (RFC 7578, 4.2).
fn named(disposition: &str) -> Result<(String, bool), Fault> {
    let (kind, params) = params(disposition).ok_or_else(broken)?;
    let (mut name, mut file, mut longer) = (None, false, false);
    for (param, value) in params {
        let is_new = match param.to_ascii_lowercase().as_str() {
            "name" => name.replace(value).is_none(),
            "filename" => !std::mem::replace(&mut file, true),
            "filename*" => !std::mem::replace(&mut longer, true),
            _ => false,
        };
        if !is_new {
            return Err(broken());
        }
    }
    // Readers differ in what a backslash or an escape in a name is.
    let is_plain = |name: &&str| !name.is_empty() && !name.contains(['\\', '%', '"']);
    let name = name.filter(is_plain).ok_or_else(broken)?;
    match kind.eq_ignore_ascii_case("form-data") && name != "_charset_" {
        true => Ok((name.to_owned(), file || longer)),
        false => Err(broken()),
    }
}

/// A header's value and its parameters: `value; name=token; name="text"`. `None` where that is in doubt.
fn params(header: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (value, mut rest) = header.split_once(';').map_or((header, ""), |(value, rest)| (value, rest));
    let mut found = Vec::new();
    while !rest.trim().is_empty() {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_ascii_start();
        if name.is_empty() || name.contains([' ', '"', ';', '\t']) {
            return None;
        }
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"')?;
                // To some readers this quote is a part of the text.
                if quoted[..end].ends_with('\\') {
                    return None;
                }
                (&quoted[..end], quoted[end + 1..].trim_ascii_start())
            }
            None => {
                let end = after.find(';').unwrap_or(after.len());
                let token = after[..end].trim_ascii_end();
                if token.is_empty() || token.contains([' ', '"', '\t', '=']) {
                    return None;
                }
                (token, &after[end..])
            }
        };
        found.push((name, value));
        rest = match left.strip_prefix(';') {
            Some(rest) => rest,
            None if left.is_empty() => left,
            None => return None,
        };
    }
    Some((value.trim(), found))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=b";

    fn fields(content_type: &str, body: &str) -> Option<Vec<(String, String, bool)>> {
        let parts = read(content_type, body.as_bytes()).ok()?;
        Some(parts.into_iter().map(|part| (part.name, body[part.content].to_owned(), part.is_file)).collect())
    }

    fn one(head: &str) -> Option<Vec<(String, String, bool)>> {
        fields(TYPE, &format!("--b\r\n{head}\r\n\r\nx\r\n--b--\r\n"))
    }

    #[test]
    fn what_honest_programs_send_is_read() {
        let is = |name: &str, is_file| Some(vec![(name.to_owned(), "x".to_owned(), is_file)]);
        assert_eq!(one("Content-Disposition: form-data; name=\"model\""), is("model", false));
        assert_eq!(one("content-disposition: form-data; name=model"), is("model", false));
        assert_eq!(
            one(
                "Content-Disposition: form-data; name=\"file\"; filename=\"a b;c.wav\"\r\nContent-Type: audio/wav\r\nContent-Length: 1"
            ),
            is("file", true)
        );
        assert_eq!(
            one(
                "Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''%e2%82%ac.wav\r\nContent-Transfer-Encoding: binary"
            ),
            is("file", true)
        );
        assert_eq!(
            one("Content-Type: text/plain; charset=UTF-8\r\nContent-Disposition: form-data; name=\"p\""),
            is("p", false)
        );
        let two = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n\r\n--b--";
        let (a, b) = (("a".into(), "1\r\n".into(), false), ("b".into(), String::new(), false));
        assert_eq!(fields("multipart/form-data; charset=utf-8; boundary=\"b\"", two), Some(vec![a, b]));
        assert_eq!(fields(TYPE, "--b--\r\n"), Some(vec![]));
    }

    #[test]
    fn what_two_readers_may_read_differently_is_refused() {
        for head in [
            "Content-Disposition: form-data; name=\"a\"; name=\"model\"",
            "Content-Disposition: form-data; name=\"a\"; name*=UTF-8''model",
            "Content-Disposition: form-data; name=\"mod\\el\"",
            "Content-Disposition: form-data; name=\"a\\\"; filename=\"x\"",
            "Content-Disposition: form-data; name=\"a\"; filename=\"x\\\"; name=\"model\"",
            "Content-Disposition: form-data; name=\"mod%65l\"",
            "Content-Disposition: form-data; name=\"_charset_\"",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"model\"",
            "Content-Disposition: form-data;\r\n name=\"model\"",
            "Content-Disposition: form-data; name=\"a\"\nContent-Disposition: form-data; name=\"model\"",
            "Content-Disposition: attachment; name=\"a\"",
            "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64",
            "Content-Disposition: form-data; name=\"model\"\r\nContent-Type: text/plain; charset=utf-16",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: multipart/mixed; boundary=c",
            "Content-Type: text/plain",
            "nothing",
        ] {
            assert_eq!(one(head), None, "{head}");
        }
        let part = "Content-Disposition: form-data; name=\"a\"\r\n\r\nx";
        for body in [
            format!("--b\r\n{part}\r\n--b\r\n"),
            format!("--b\r\n{part}\r\n--b--\r\nmore"),
            format!("preamble\r\n--b\r\n{part}\r\n--b--"),
            format!("--b\r\n{part}\n--b\nContent-Disposition: form-data; name=\"model\"\n\ny\r\n--b--"),
            format!("--b\r\n{part}--b\r\n--b--"),
            format!("--bc\r\n{part}\r\n--b--"),
            format!("--b \r\n{part}\r\n--b--"),
            format!("--b\r\n{part}\r\n--b--\r\n--b\r\n{part}\r\n--b--"),
            String::new(),
        ] {
            assert_eq!(fields(TYPE, &body), None, "{body}");
        }
        let fine = format!("--b\r\n{part}\r\n--b--");
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=b; boundary=c",
            "multipart/form-data; boundary=b; boundary*=c",
            "multipart/form-data; boundary=\"b\\\"",
            "multipart/form-data; boundary=b c",
        ] {
            assert_eq!(fields(content_type, &fine), None, "{content_type}");
        }
    }

    proptest! {
        #[test]
        fn a_form_is_read_as_it_was_written(
            parts in proptest::collection::vec(("[a-z_]{1,8}(\\[\\])?", "[ -~\r\n]{0,40}"), 0..6),
        ) {
            let mut body = String::new();
            for (name, value) in &parts {
                body += &format!("--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            }
            body += "--b0undary--\r\n";
            let found = fields("multipart/form-data; boundary=b0undary", &body).unwrap();
            let found: Vec<(String, String)> = found.into_iter().map(|(name, value, _)| (name, value)).collect();
            prop_assert_eq!(found, parts);
        }

        #[test]
        fn no_bytes_make_it_panic(body in "(--b|\r\n|Content-Disposition: form-data; name=|\"|[a-z;=\\\\ ]|--){0,24}") {
            let _ = read(TYPE, body.as_bytes());
        }
    }
}
