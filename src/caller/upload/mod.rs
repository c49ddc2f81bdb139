//! Uploads: reads one recording and a few text fields from a multipart body in memory.
//!
//! It does not know what is done with the recording, and only checks that it is one.

mod sound;

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use multer::{Field, Multipart};
use serde::de::IgnoredAny;
use zeroize::Zeroize;

use self::sound::Packing;
use crate::model::call::Audio;
use crate::model::fault::{Fault, RequestFault};
use crate::wire::media::media_type;

/// The name of the field that holds the recording.
const AUDIO: &str = "audio";
/// The name of the field that holds the menu.
const MENU_CONTEXT: &str = "menuContext";
/// The largest recording (contract of the providers).
const MAX_AUDIO: usize = 10 * 1024 * 1024;
/// The longest text field.
const MAX_TEXT: usize = 64 * 1024;
/// More parts than any honest caller sends.
const MAX_PARTS: usize = 32;
/// RFC 2046, 5.1.1: no boundary is longer.
const MAX_BOUNDARY: usize = 70;
/// File names are passed on to providers; file systems stop at this length.
const MAX_FILE_NAME: usize = 255;
/// Media types of recordings, as browsers and phones declare them, and what such a recording is.
const AUDIO_TYPES: [(&str, Packing); 11] = [
    ("audio/wav", Packing::Wav),
    ("audio/x-wav", Packing::Wav),
    ("audio/wave", Packing::Wav),
    ("audio/mpeg", Packing::Mpeg),
    ("audio/mp3", Packing::Mpeg),
    ("audio/webm", Packing::WebM),
    ("video/webm", Packing::WebM),
    ("audio/ogg", Packing::Ogg),
    ("audio/mp4", Packing::Mp4),
    ("audio/m4a", Packing::Mp4),
    ("audio/x-m4a", Packing::Mp4),
];
/// The same list for people; a test proves both equal.
const AUDIO_TYPES_TEXT: &str = "audio/wav, audio/x-wav, audio/wave, audio/mpeg, audio/mp3, audio/webm, video/webm, audio/ogg, audio/mp4, audio/m4a, audio/x-m4a";

/// What a voice caller uploaded.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The recording.
    pub(crate) audio: Audio,
    /// The menu as JSON text, when there was one.
    pub(crate) menu_context: Option<Box<str>>,
}

/// Reads an upload: exactly one recording in `audio`; fields nobody knows are skipped.
pub(crate) fn read(headers: &HeaderMap, body: Bytes) -> Result<Upload, Fault> {
    let boundary = boundary(headers)?;
    let mut form = Multipart::new(stream::iter([Ok::<_, Infallible>(body.clone())]), boundary);
    let (mut audio, mut menu_context) = (None, None);
    let mut parts = 0;
    while let Some(field) = next_field(&mut form)? {
        parts += 1;
        if parts > MAX_PARTS {
            return Err(Fault::invalid(None, format!("the form must have at most {MAX_PARTS} fields")));
        }
        match field.name() {
            Some(AUDIO) if audio.is_some() => {
                return Err(Fault::invalid(AUDIO, "`audio` must be sent exactly once"));
            }
            Some(AUDIO) => audio = Some(recording(field)?),
            Some(MENU_CONTEXT) => menu_context = menu(field)?,
            _ => {}
        }
    }
    let mut audio: Audio =
        audio.ok_or_else(|| Fault::invalid(AUDIO, "`audio` is required: a recording as a form file"))?;
    drop(form);
    audio.bytes = piece_of(&body, audio.bytes);
    Ok(Upload { audio, menu_context })
}

/// The same bytes as a piece of the body, which is counted as long as somebody holds it, and overwritten afterwards. So is the
/// copy that the reader has made.
fn piece_of(body: &Bytes, copy: Bytes) -> Bytes {
    let Some(at) = memchr::memmem::find(body, &copy) else { return copy };
    let piece = body.slice(at..at + copy.len());
    if let Ok(mut copy) = copy.try_into_mut() {
        copy.as_mut().zeroize();
    }
    piece
}

fn boundary(headers: &HeaderMap) -> Result<String, Fault> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type(content_type) != "multipart/form-data" {
        return Err(RequestFault::MediaType { allowed: "multipart/form-data" }.into());
    }
    match multer::parse_boundary(content_type) {
        Ok(boundary) if (1..=MAX_BOUNDARY).contains(&boundary.len()) => Ok(boundary),
        _ => Err(Fault::invalid(None, "the Content-Type must name the form's boundary (1 to 70 characters)")),
    }
}

fn next_field(form: &mut Multipart<'static>) -> Result<Option<Field<'static>>, Fault> {
    match form.next_field().now_or_never() {
        Some(Ok(field)) => Ok(field),
        // The whole body is in memory, so the reader has nothing to wait for: where it would, the form is cut short.
        Some(Err(_)) | None => Err(malformed()),
    }
}

/// The content of a field. The reader hands it out in one piece, as the whole body is in its buffer.
fn content(mut field: Field<'static>) -> Result<Bytes, Fault> {
    let first = piece(&mut field)?.unwrap_or_default();
    let Some(second) = piece(&mut field)? else { return Ok(first) };
    let mut whole = Vec::from(first);
    whole.extend_from_slice(&second);
    while let Some(next) = piece(&mut field)? {
        whole.extend_from_slice(&next);
    }
    Ok(whole.into())
}

fn piece(field: &mut Field<'static>) -> Result<Option<Bytes>, Fault> {
    match field.chunk().now_or_never() {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(_)) | None => Err(malformed()),
    }
}

fn recording(field: Field<'static>) -> Result<Audio, Fault> {
    let declared = field.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if declared.is_none() && field.file_name().is_none() {
        return Err(Fault::invalid(AUDIO, "`audio` must be a file, got a text field"));
    }
    let known = |declared: &str| AUDIO_TYPES.iter().find(|(name, _)| *name == media_type(declared));
    let Some((declared, (name, packing))) =
        declared.and_then(|declared| known(&declared).map(|known| (declared, known)))
    else {
        return Err(RequestFault::MediaType { allowed: AUDIO_TYPES_TEXT }.into());
    };
    let file_name = file_name(field.file_name());
    let bytes = content(field)?;
    match bytes.len() {
        0 => Err(Fault::invalid(AUDIO, "`audio` must not be empty")),
        // Whatever else it is, no provider should have to find out.
        1..=MAX_AUDIO if !packing.begins(&bytes) => Err(Fault::invalid(
            AUDIO,
            format!("`audio` is declared as {name}, but its first bytes do not match that format"),
        )),
        1..=MAX_AUDIO => Ok(Audio { bytes, file_name, content_type: declared.into() }),
        _ => Err(RequestFault::TooLarge { limit: MAX_AUDIO }.into()),
    }
}

/// The last part of the name that the caller gave: no directories and nothing that cannot be printed.
fn file_name(given: Option<&str>) -> Box<str> {
    let last = given.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    let mut name = String::new();
    for char in last.trim().chars().filter(|char| !char.is_control()) {
        if name.len() + char.len_utf8() > MAX_FILE_NAME {
            break;
        }
        name.push(char);
    }
    match name.is_empty() {
        true => AUDIO.into(),
        false => name.into(),
    }
}

fn menu(field: Field<'static>) -> Result<Option<Box<str>>, Fault> {
    let bytes = content(field)?;
    if bytes.len() > MAX_TEXT {
        let message = format!("`{MENU_CONTEXT}` must be at most {MAX_TEXT} bytes long, got {}", bytes.len());
        return Err(Fault::invalid(MENU_CONTEXT, message));
    }
    let not_json = || Fault::invalid(MENU_CONTEXT, format!("`{MENU_CONTEXT}` must be JSON text"));
    let text = std::str::from_utf8(&bytes).map_err(|_| not_json())?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    super::json::check_depth(&bytes)?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|_| not_json())?;
    Ok(Some(text.into()))
}

fn malformed() -> Fault {
    Fault::invalid(None, "the body is not a complete multipart form")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use http::{HeaderValue, StatusCode};
    use proptest::prelude::*;

    use super::*;

    fn headers(content_type: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap())])
    }

    fn upload(parts: &[(&str, &[u8])]) -> Result<Upload, Fault> {
        let mut body = Vec::new();
        for (head, content) in parts {
            body.extend_from_slice(format!("--b\r\n{head}\r\n\r\n").as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b--\r\n");
        read(&headers("multipart/form-data; boundary=b"), body.into())
    }

    const SOUND: &[u8] = b"RIFF\x24\x08\0\0WAVEfmt ";
    const WAV: &str = "Content-Disposition: form-data; name=\"audio\"; filename=\"a.wav\"\r\nContent-Type: audio/wav";

    fn refused(result: Result<Upload, Fault>) -> (StatusCode, String) {
        let fault = result.expect_err("a refusal");
        (fault.status(), fault.public().into_owned())
    }

    #[test]
    fn a_recording_and_a_menu_are_read() {
        let menu = ("Content-Disposition: form-data; name=\"menuContext\"", &b"[{\"id\":1}]"[..]);
        let extra = ("Content-Disposition: form-data; name=\"lang\"", &b"en"[..]);
        let opus = "Content-Disposition: form-data; name=\"audio\"; filename=\"../x/a.webm\"\r\nContent-Type: audio/webm;codecs=opus";
        let read = upload(&[menu, extra, (opus, b"\x1A\x45\xDF\xA3webm\x00\r\n--\xff")]).unwrap();
        assert_eq!(read.audio.bytes, &b"\x1A\x45\xDF\xA3webm\x00\r\n--\xff"[..]);
        assert_eq!(&*read.audio.file_name, "a.webm");
        assert_eq!(&*read.audio.content_type, "audio/webm;codecs=opus");
        assert_eq!(read.menu_context.as_deref(), Some("[{\"id\":1}]"));
    }

    #[test]
    fn one_recording_is_wanted_no_more_and_no_less() {
        let text = "Content-Disposition: form-data; name=\"audio\"";
        for (parts, wrong) in [
            (&[][..], "required"),
            (&[(WAV, SOUND), (WAV, SOUND)][..], "exactly once"),
            (&[(WAV, &b""[..])][..], "not be empty"),
            (&[(text, &b"x"[..])][..], "must be a file"),
        ] {
            let (status, message) = refused(upload(parts));
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(message.contains("`audio`") && message.contains(wrong), "{message}");
        }
    }

    #[test]
    fn only_recordings_of_a_known_type_and_size_are_read() {
        let pdf = "Content-Disposition: form-data; name=\"audio\"; filename=\"a\"\r\nContent-Type: application/pdf";
        let (status, message) = refused(upload(&[(pdf, b"x")]));
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(message.contains("audio/x-m4a"));
        let sound = |length| [SOUND, &vec![0; length - SOUND.len()]].concat();
        assert!(upload(&[(WAV, &sound(MAX_AUDIO))]).is_ok());
        for (other, said) in [(&b"%PDF-1.7"[..], "audio/wav"), (b"OggS\0\x02", "audio/wav")] {
            let (status, message) = refused(upload(&[(WAV, other)]));
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(message.contains(said), "{message}");
        }
        assert_eq!(refused(upload(&[(WAV, &sound(MAX_AUDIO + 1))])).0, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn a_menu_must_be_short_json() {
        let menu = "Content-Disposition: form-data; name=\"menuContext\"";
        for content in [&b"{canary"[..], b"\xff", &vec![b' '; MAX_TEXT + 1]] {
            let (status, message) = refused(upload(&[(WAV, SOUND), (menu, content)]));
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(message.contains("`menuContext`") && !message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn what_is_not_a_form_is_refused_for_what_it_is() {
        let read_as = |content_type| refused(read(&headers(content_type), Bytes::from_static(b"--b--\r\n"))).0;
        assert_eq!(read_as("application/json"), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(read_as("multipart/mixed; boundary=b"), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(read_as("multipart/form-data"), StatusCode::BAD_REQUEST);
        assert_eq!(read_as("multipart/form-data; boundary=\"\""), StatusCode::BAD_REQUEST);
        assert_eq!(read_as("multipart/form-data; boundary=other"), StatusCode::BAD_REQUEST);
        assert_eq!(refused(read(&HeaderMap::new(), Bytes::new())).0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[test]
    fn a_form_cut_short_is_refused_wherever_it_is_cut() {
        let whole = format!("--b\r\n{WAV}\r\n\r\nxyz\r\n--b--");
        for cut in 0..whole.len() {
            let body = Bytes::copy_from_slice(&whole.as_bytes()[..cut]);
            assert!(read(&headers("multipart/form-data; boundary=b"), body).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn the_list_for_people_is_the_list() {
        assert_eq!(AUDIO_TYPES.map(|(name, _)| name).join(", "), AUDIO_TYPES_TEXT);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in "(--b|\r\n|--|Content-Disposition: form-data; name=|\"audio\"|[\\x00-\\x7f]){0,30}") {
            let _ = read(&headers("multipart/form-data; boundary=b"), body.into());
        }

        #[test]
        fn no_content_type_makes_it_panic(content_type in "(multipart/form-data)?[ -~]{0,60}") {
            let _ = read(&headers(&content_type), Bytes::from_static(b"--b--"));
        }
    }
}
