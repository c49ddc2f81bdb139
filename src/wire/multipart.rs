//! Writes `multipart/form-data` bodies: text fields and files, assembled in memory.
//!
//! It does not know what the fields mean, and needs no randomness: the boundary is derived from the content.

use bytes::{BufMut, Bytes};
use http::HeaderValue;

use crate::model::buffers;

/// A form under construction. Parts are written in the order in which they were added.
#[derive(Default)]
pub(crate) struct Form {
    parts: Vec<Part>,
}

struct Part {
    /// The lines between the boundary and the empty line, each with its ending.
    head: String,
    content: Bytes,
}

impl Form {
    /// An empty form.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a text field.
    #[must_use]
    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        let head = format!("Content-Disposition: form-data; name=\"{}\"\r\n", escape(name));
        self.parts.push(Part { head, content: Bytes::copy_from_slice(value.as_bytes()) });
        self
    }

    /// Adds a file. A content type that could not stand in a header becomes `application/octet-stream`.
    #[must_use]
    pub(crate) fn file(mut self, name: &str, file_name: &str, content_type: &str, bytes: Bytes) -> Self {
        let content_type =
            match content_type.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !content_type.is_empty() {
                true => content_type,
                false => "application/octet-stream",
            };
        let head = format!(
            "Content-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: {content_type}\r\n",
            escape(name),
            escape(file_name),
        );
        self.parts.push(Part { head, content: bytes });
        self
    }

    /// The `Content-Type` with its boundary, and the body.
    pub(crate) fn finish(self) -> (HeaderValue, Bytes) {
        let boundary = self.boundary();
        let length: usize =
            self.parts.iter().map(|part| part.head.len() + part.content.len() + boundary.len() + 8).sum();
        let mut body = Vec::with_capacity(length + boundary.len() + 6);
        for part in &self.parts {
            body.put_slice(b"--");
            body.put_slice(boundary.as_bytes());
            body.put_slice(b"\r\n");
            body.put_slice(part.head.as_bytes());
            body.put_slice(b"\r\n");
            body.put_slice(&part.content);
            body.put_slice(b"\r\n");
        }
        body.put_slice(b"--");
        body.put_slice(boundary.as_bytes());
        body.put_slice(b"--\r\n");
        #[expect(clippy::expect_used, reason = "the message states the invariant")]
        let content_type = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"))
            .expect("the boundary consists of hexadecimal digits");
        (content_type, buffers::keep(body, None))
    }

    /// A hash of everything in the form. To contain it, a form would have to contain its own hash.
    fn boundary(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in &self.parts {
            for piece in [part.head.as_bytes(), &part.content] {
                hasher.update(&(piece.len() as u64).to_le_bytes());
                hasher.update(piece);
            }
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

/// Escapes a name as browsers do (HTML, "multipart form data"; RFC 7578, 4.2).
fn escape(name: &str) -> String {
    name.replace('\r', "%0D").replace('\n', "%0A").replace('"', "%22")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_files_are_spelt_in_order() {
        let (content_type, body) = Form::new()
            .text("restaurantId", "r1")
            .file("audio", "a\"b\r\n.wav", "audio/wav", Bytes::from_static(b"RIFF"))
            .finish();
        let content_type = content_type.to_str().unwrap();
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"restaurantId\"\r\n\r\nr1\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"audio\"; filename=\"a%22b%0D%0A.wav\"\r\n\
             Content-Type: audio/wav\r\n\r\nRIFF\r\n--{boundary}--\r\n"
        );
        assert_eq!(body, expected);
    }

    #[test]
    fn the_same_form_is_spelt_the_same_way_and_another_one_is_not() {
        let spelt = |value| Form::new().text("a", value).finish();
        assert_eq!(spelt("1"), spelt("1"));
        assert_ne!(spelt("1").0, spelt("2").0);
    }

    #[test]
    fn a_content_type_cannot_add_a_header() {
        let (_, body) = Form::new().file("f", "f", "a/b\r\nX-Evil: 1", Bytes::new()).finish();
        assert!(!String::from_utf8_lossy(&body).contains("X-Evil"));
    }
}
