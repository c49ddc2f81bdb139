//! Data URLs that have base64 in them (RFC 2397).
//!
//! It does not know what the bytes are of.

/// The media type of a URL, its parameters included, and the base64; `None` for any other URL.
pub(crate) fn read(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?, data))
}

/// The URL of bytes of this type.
pub(crate) fn write(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (media_type, data) in [("image/png", "QUFB"), ("text/plain;charset=utf-8", "QQ=="), ("", "")] {
            assert_eq!(read(&write(media_type, data)), Some((media_type, data)));
        }
        for other in ["data:text/plain,a;base64,QUFB", "data:;base64", "https://example.com/;base64,QUFB", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
