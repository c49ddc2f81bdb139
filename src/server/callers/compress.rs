//! Compression: compresses text responses for callers that accept it (RFC 9110, 12.5.3).
//!
//! Event streams are never compressed, because each event must be sent immediately. Responses of providers have
//! already been decompressed by the transport. It does not know what a text says.

use std::pin::Pin;

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, stream};
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::caller::{Answered, AnsweredBody};
use crate::config::plan::CompressionPlan;
use crate::model::fault::Fault;
use crate::model::reply::ByteStream;
use crate::server::callers::cors::vary;
use crate::wire::content_coding::InTurns;
use crate::wire::media;

/// Up to this size a text is compressed in one go, so that its length is known; a larger one piece by piece, because a thread that
/// compresses megabytes serves nobody else meanwhile.
const AT_ONCE: usize = 64 * 1024;

/// The size of a piece, compressed.
const PIECE: usize = 16 * 1024;

/// The codings, the one that compresses fastest first: where a caller takes several alike, it gets that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

const CODINGS: [(Coding, &str); 3] = [(Coding::Zstd, "zstd"), (Coding::Brotli, "br"), (Coding::Gzip, "gzip")];

/// Compresses a response, if its caller accepts that and it is worth it.
///
/// The request's headers are `None` where it says nothing of that.
pub(in crate::server) fn compress(
    plan: CompressionPlan,
    request: Option<&HeaderMap>,
    mut answered: Answered,
) -> Answered {
    if !plan.is_on || !is_text(&answered) {
        return answered;
    }
    vary(&mut answered.headers, header::ACCEPT_ENCODING);
    let (AnsweredBody::Full(text), Some(request)) = (&answered.body, request) else { return answered };
    let wanted = Wanted::read(request);
    let is_worth_it = text.len() > plan.min_size || (wanted.must_be_compressed && !text.is_empty());
    let Some(coding) = wanted.coding.filter(|_| is_worth_it) else { return answered };
    let mut encoder = encoder(coding, text.clone());
    let body = match text.len() > AT_ONCE {
        true => AnsweredBody::Bytes(in_pieces(encoder)),
        false => {
            let mut compressed = Vec::with_capacity(text.len() / 2);
            // What is in memory is read without waiting. Should it fail all the same, the text is still there.
            if !matches!(encoder.read_to_end(&mut compressed).now_or_never(), Some(Ok(_))) {
                return answered;
            }
            AnsweredBody::Full(compressed.into())
        }
    };
    answered.body = body;
    answered.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(word(coding)));
    weaken(&mut answered.headers);
    answered
}

fn word(coding: Coding) -> &'static str {
    CODINGS.iter().find(|(own, _)| *own == coding).map_or("identity", |(_, word)| word)
}

/// True for content types that compress well and may be compressed.
fn is_text(answered: &Answered) -> bool {
    if answered.headers.contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    // Has no type any more, but must vary like the answer that it stands for (RFC 9110, 15.4.5).
    if answered.status == StatusCode::NOT_MODIFIED {
        return true;
    }
    let Some(content_type) = answered.headers.get(header::CONTENT_TYPE) else { return false };
    let essence = media::essence_of(content_type);
    let is = |other: &str| essence.eq_ignore_ascii_case(other.as_bytes());
    let begins = |with: &[u8]| essence.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    let is_json = is("application/json") || media::is_json_suffixed(essence);
    is_json || is("application/openmetrics-text") || (begins(b"text/") && !is("text/event-stream"))
}

/// What a caller wants.
struct Wanted {
    /// The coding that it likes best, and better than none.
    coding: Option<Coding>,
    /// It does not accept an uncompressed response.
    must_be_compressed: bool,
}

impl Wanted {
    fn read(request: &HeaderMap) -> Self {
        let (mut weights, mut identity, mut others) = ([None; CODINGS.len()], None, None);
        let lists = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for item in lists.flat_map(|list| list.split(',')) {
            let (name, weight) = weighed(item);
            let place = match name.to_ascii_lowercase().as_str() {
                "*" => &mut others,
                "identity" => &mut identity,
                "x-gzip" => &mut weights[2],
                name => match CODINGS.iter().position(|(_, word)| *word == name) {
                    Some(index) => &mut weights[index],
                    None => continue,
                },
            };
            *place = Some(weight);
        }
        let weights = weights.map(|weight| weight.or(others).unwrap_or(0.0));
        // Of several that are liked alike the first: `max_by` would take the last.
        let best = (0..CODINGS.len()).rev().max_by(|left, right| weights[*left].total_cmp(&weights[*right]));
        let is_liked = |index: &usize| weights[*index] > 0.0 && weights[*index] >= identity.unwrap_or(0.0);
        Self {
            coding: best.filter(is_liked).map(|index| CODINGS[index].0),
            must_be_compressed: identity.or(others) == Some(0.0),
        }
    }
}

/// `gzip;q=0.5` becomes `gzip` and 0.5. A weight that cannot be read is none.
fn weighed(item: &str) -> (&str, f32) {
    let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
    let parameter = parameters.trim();
    let number = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
    let weight = match (parameter.is_empty(), number.and_then(|number| number.trim().parse::<f32>().ok())) {
        (true, _) => 1.0,
        (false, Some(weight)) if (0.0..=1.0).contains(&weight) => weight,
        (false, _) => 0.0,
    };
    (name.trim(), weight)
}

type Encoder = Pin<Box<dyn AsyncRead + Send>>;

fn encoder(coding: Coding, text: Bytes) -> Encoder {
    // A text that says the same again and again gets very small: nothing may come of much of it.
    let text = InTurns::new(text);
    // Each compresses a text of 4 KiB to about 30 % in 20 to 40 us; the next higher levels of br and gzip take several times as
    // long for larger ones and save a tenth.
    match coding {
        Coding::Zstd => Box::pin(ZstdEncoder::with_quality(text, Level::Precise(3))),
        Coding::Brotli => Box::pin(BrotliEncoder::with_quality(text, Level::Precise(4))),
        Coding::Gzip => Box::pin(GzipEncoder::with_quality(text, Level::Precise(4))),
    }
}

/// Compresses when somebody reads, and lets others work between two pieces.
fn in_pieces(encoder: Encoder) -> ByteStream {
    Box::pin(stream::try_unfold(encoder, async |mut encoder| {
        tokio::task::yield_now().await;
        let mut piece = BytesMut::with_capacity(PIECE);
        let failed = |fault: std::io::Error| Fault::Internal { detail: format!("compression: {fault}") };
        let read = encoder.read_buf(&mut piece).await.map_err(failed)?;
        Ok((read > 0).then(|| (piece.freeze(), encoder)))
    }))
}

/// The bytes are not those that a strong tag speaks of (RFC 9110, 8.8.3).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        headers.insert(header::ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use futures_util::StreamExt;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::content_coding::TURN;

    const PLAN: CompressionPlan = CompressionPlan { is_on: true, min_size: 1024 };

    fn accepting(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, line.parse().unwrap());
        }
        headers
    }

    fn chosen(lines: &[&str]) -> &'static str {
        Wanted::read(&accepting(lines)).coding.map_or("-", word)
    }

    #[test]
    fn the_coding_is_the_one_that_the_caller_likes_best() {
        for (accepts, coding) in [
            (&[][..], "-"),
            (&[""], "-"),
            (&["identity"], "-"),
            (&["deflate, compress"], "-"),
            (&["gzip, deflate, br, zstd"], "zstd"),
            (&["gzip, deflate, br"], "br"),
            (&["GZIP"], "gzip"),
            (&["x-gzip"], "gzip"),
            (&["gzip;q=1.0, br;q=0.5, zstd;q=0.1"], "gzip"),
            (&["gzip;q=0.2", "br ; q=0.8"], "br"),
            (&["gzip;q=0"], "-"),
            (&["*"], "zstd"),
            (&["*, zstd;q=0"], "br"),
            (&["gzip, *;q=0"], "gzip"),
            (&["gzip;q=0.5, identity"], "-"),
            (&["gzip;q=0.5, identity;q=0.1"], "gzip"),
            (&["gzip;q=two"], "-"),
            (&["gzip;q=2"], "-"),
        ] {
            assert_eq!(chosen(accepts), coding, "{accepts:?}");
        }
        assert!(Wanted::read(&accepting(&["gzip, identity;q=0"])).must_be_compressed);
        assert!(Wanted::read(&accepting(&["gzip, *;q=0"])).must_be_compressed);
        assert!(!Wanted::read(&accepting(&["gzip, identity;q=0.1, *;q=0"])).must_be_compressed);
    }

    fn answer(content_type: &'static str, text: &[u8]) -> Answered {
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (header::ETAG, HeaderValue::from_static("\"1\"")),
        ]);
        let body = AnsweredBody::Full(Bytes::copy_from_slice(text));
        Answered { status: StatusCode::OK, headers, body }
    }

    #[test]
    fn only_texts_that_are_worth_it_are_packed() {
        let compressed = |content_type, length, accepts| {
            let answered = compress(PLAN, Some(&accepting(&[accepts])), answer(content_type, &vec![b'a'; length]));
            answered.headers.contains_key(header::CONTENT_ENCODING)
        };
        assert!(compressed("application/json", 1025, "gzip"));
        assert!(!compressed("application/json", 1024, "gzip"));
        assert!(compressed("application/json", 1, "gzip, identity;q=0"));
        assert!(!compressed("application/json", 0, "gzip, identity;q=0"));
        assert!(compressed("Application/Problem+JSON; charset=utf-8", 2000, "gzip"));
        assert!(compressed("text/plain", 2000, "gzip"));
        assert!(!compressed("text/event-stream; charset=utf-8", 2000, "gzip"));
        assert!(!compressed("audio/mpeg", 2000, "gzip"));
        let mut encoded = answer("application/json", &[b'a'; 2000]);
        encoded.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(
            matches!(compress(PLAN, Some(&accepting(&["br"])), encoded).body, AnsweredBody::Full(text) if text.len() == 2000)
        );
    }

    #[test]
    fn caches_are_told_that_the_answer_varies_and_that_its_tag_means_the_text_and_not_the_bytes() {
        let compressed = compress(PLAN, Some(&accepting(&["gzip"])), answer("application/json", &[b'a'; 2000]));
        assert_eq!(
            (&compressed.headers[header::ETAG], &compressed.headers[header::VARY]),
            (&"W/\"1\"".parse().unwrap(), &"accept-encoding".parse().unwrap())
        );
        let plain = compress(PLAN, Some(&accepting(&[])), answer("application/json", &[b'a'; 2000]));
        assert_eq!(
            (&plain.headers[header::ETAG], &plain.headers[header::VARY]),
            (&"\"1\"".parse().unwrap(), &"accept-encoding".parse().unwrap())
        );
    }

    fn decompress(coding: &str, compressed: &[u8]) -> Vec<u8> {
        use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
        let mut decoder: Pin<Box<dyn AsyncRead + '_>> = match coding {
            "zstd" => Box::pin(ZstdDecoder::new(compressed)),
            "br" => Box::pin(BrotliDecoder::new(compressed)),
            _ => Box::pin(GzipDecoder::new(compressed)),
        };
        let mut text = Vec::new();
        decoder.read_to_end(&mut text).now_or_never().unwrap().unwrap();
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn whatever_is_compressed_decompresses_to_the_same(
            word in proptest::collection::vec(any::<u8>(), 1..200), times in 1_usize..2000, coding in 0_usize..3,
        ) {
            let (text, coding) = (word.repeat(times), CODINGS[coding].1);
            let compressed = compress(PLAN, Some(&accepting(&[coding])), answer("application/json", &text));
            let compressed = match compressed.body {
                AnsweredBody::Full(bytes) if text.len() <= PLAN.min_size => {
                    prop_assert_eq!(&bytes[..], &text[..]);
                    return Ok(());
                }
                AnsweredBody::Full(bytes) => bytes.to_vec(),
                AnsweredBody::Bytes(pieces) => {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    let pieces: Vec<_> = runtime.block_on(pieces.map(Result::unwrap).collect());
                    pieces.concat()
                }
                AnsweredBody::Events(..) | AnsweredBody::Socket(..) => Vec::new(),
            };
            prop_assert_eq!(decompress(coding, &compressed), text);
        }

        #[test]
        fn a_text_that_gets_very_small_is_packed_in_turns_with_what_others_do(coding in 0_usize..3) {
            let text = Bytes::from(vec![b'a'; 1 << 20]);
            let (mut pieces, mut turns) = (in_pieces(encoder(CODINGS[coding].0, text)), 0);
            let mut context = Context::from_waker(std::task::Waker::noop());
            while !matches!(pieces.poll_next_unpin(&mut context), Poll::Ready(None)) {
                turns += 1;
            }
            prop_assert!(turns >= (1 << 20) / TURN, "{turns}");
        }

        #[test]
        fn no_header_makes_it_panic(line in "[ -~]{0,60}") {
            Wanted::read(&accepting(&[&line]));
        }
    }
}
