//! Answer: the response to a request to a gateway, read with a bound. It may come from any other server: nothing is taken for
//! granted.
//!
//! It does not know what was requested.

use bytes::{Bytes, BytesMut};
use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::text::clean;
use crate::wire::media;

/// Longer than any answer of a gateway.
const LONGEST: usize = 64 * 1024 * 1024;

/// The most characters of another program that a message repeats.
const REPEATED: usize = 2000;

/// A response, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// Reads a response. The error says what came in its place.
    pub(super) async fn read(mut response: reqwest::Response) -> Result<Self, String> {
        let too_long = || format!("a response of more than {} MiB", LONGEST >> 20);
        if response.content_length().is_some_and(|length| length > LONGEST as u64) {
            return Err(too_long());
        }
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(|_| "an invalid response".to_owned())? {
            if body.len() + part.len() > LONGEST {
                return Err(too_long());
            }
            body.extend_from_slice(&part);
        }
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        Ok(Self { status, headers, body: body.freeze() })
    }

    /// Where it sends its reader instead.
    pub(super) fn redirection(&self) -> Option<String> {
        let location = self.headers.get(LOCATION).filter(|_| self.status.is_redirection())?;
        Some(repeated(&String::from_utf8_lossy(location.as_bytes())))
    }

    /// What it says is wrong.
    pub(super) fn detail(&self) -> Option<String> {
        let problem: Value = self.json().ok()?;
        // Faults of the query have the shape of OpenAI's errors; so have those of callers' routes, where nothing is found.
        let is_found = self.status != StatusCode::NOT_FOUND;
        let detail = problem["detail"].as_str().or(problem["error"]["message"].as_str().filter(|_| is_found));
        detail.map(repeated)
    }

    /// Its JSON. The error says why there is none of this shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        if !media::is_json(&self.headers) {
            return Err(self.unlike("JSON"));
        }
        serde_json::from_slice(&self.body).map_err(|fault| repeated(&fault.to_string()))
    }

    /// Its text of this media type.
    pub(super) fn text(&self, wanted: &str) -> Result<String, String> {
        if media::essence(&self.headers) != wanted {
            return Err(self.unlike(wanted));
        }
        String::from_utf8(self.body.to_vec()).map_err(|_| "it is not UTF-8".into())
    }

    fn unlike(&self, wanted: &str) -> String {
        format!("{wanted} is expected, not {}", repeated(&media::named(&self.headers)))
    }

    /// What it holds, as it came.
    pub(super) fn into_body(self) -> Bytes {
        self.body
    }
}

/// What another program has said, in one line of a message.
fn repeated(text: &str) -> String {
    clean(&text.chars().take(REPEATED).collect::<String>())
}
