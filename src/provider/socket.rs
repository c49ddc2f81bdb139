//! Opens a WebSocket at a provider (RFC 6455, 4.1) and returns it when the provider accepts.
//!
//! It does not know what is sent through it, nor who asked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, SinkExt, Stream, StreamExt, TryStreamExt};
use http::header::{
    self, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

use super::response::{chain, received};
use super::transport::{Opened, SendFault};
use crate::config::engine::secret::Secret;
use crate::model::call::Tunnel;
use crate::model::reply::{Framed, Socket, Talk};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// The headers that ask for a WebSocket, and the key that the answer must prove to have read.
pub(super) fn ask(tunnel: &Tunnel, headers: &mut HeaderMap) -> String {
    // Drawn by the library from the operating system, as frames' masks are: what is said must not be foreseen by those on
    // the way (RFC 6455, 10.3). Nothing is decided by it.
    let key = generate_key();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    if let Ok(key) = HeaderValue::try_from(&*key) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    if !tunnel.protocols.is_empty()
        && let Ok(offered) = HeaderValue::try_from(tunnel.protocols.join(", "))
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, offered);
    }
    // Nobody has agreed to compress messages, and what is no message is an error: short.
    headers.remove(header::ACCEPT_ENCODING);
    key
}

/// Takes a provider's answer: a conversation, when it has agreed to one as it should.
pub(super) async fn take(
    response: http::Response<Incoming>,
    tunnel: &Tunnel,
    key: &str,
    provider: &Arc<str>,
    secret: Option<&Secret>,
) -> Result<Opened, SendFault> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let is_over = response.body().is_end_stream();
        let body = |body: Incoming| body.into_data_stream().map_err(|fault| SendFault::Broken(chain(&fault)));
        return Ok(Opened::Refused(received(response.map(body), |_| is_over)?));
    }
    let protocol = check(response.headers(), tunnel, key).map_err(|wrong| SendFault::Broken(wrong.into()))?;
    let stream = hyper::upgrade::on(response).await.map_err(|fault| SendFault::Broken(fault.to_string()))?;
    let talk =
        Discreet { talk: Framed::new(TokioIo::new(stream), Role::Client, tunnel.terms).await, secret: secret.cloned() };
    Ok(Opened::Socket(Socket::new(talk, provider.clone(), protocol)))
}

/// Returns the subprotocol that was chosen.
fn check(headers: &HeaderMap, tunnel: &Tunnel, key: &str) -> Result<Option<HeaderValue>, &'static str> {
    let is_websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    if !headers.get(UPGRADE).is_some_and(is_websocket) {
        return Err("status 101 for a protocol other than WebSocket");
    }
    let proof = derive_accept_key(key.as_bytes());
    if headers.get(SEC_WEBSOCKET_ACCEPT).is_none_or(|given| given.as_bytes() != proof.as_bytes()) {
        return Err("a WebSocket with a missing or wrong Sec-WebSocket-Accept");
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Err("a WebSocket with extensions that were not offered");
    }
    let protocol = headers.get(SEC_WEBSOCKET_PROTOCOL).cloned();
    match &protocol {
        Some(chosen) if !tunnel.protocols.iter().any(|offered| offered.as_bytes() == chosen.as_bytes()) => {
            Err("a WebSocket with a subprotocol that was not offered")
        }
        _ => Ok(protocol),
    }
}

/// A conversation with somebody who knows the gateway's key: it is in no reason that is given for its end.
struct Discreet<T> {
    talk: T,
    secret: Option<Secret>,
}

impl<T> Discreet<T> {
    fn without_secret(&self, message: Message) -> Message {
        let Message::Close(Some(CloseFrame { code, reason })) = &message else { return message };
        let is_told = |secret: &Secret| reason.as_str().contains(secret.expose());
        match self.secret.as_ref().is_some_and(is_told) {
            true => Message::Close(Some(CloseFrame { code: *code, reason: Utf8Bytes::default() })),
            false => message,
        }
    }
}

impl<T: Talk> Talk for Discreet<T> {
    fn taken(&self) -> u64 {
        self.talk.taken()
    }
}

impl<T: Talk> Stream for Discreet<T> {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.talk.poll_next_unpin(cx));
        Poll::Ready(item.map(|message| message.map(|message| self.without_secret(message))))
    }
}

impl<T: Talk> Sink<Message> for Discreet<T> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.talk.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.talk.start_send_unpin(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.talk.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.talk.poll_close_unpin(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reply::Terms;

    fn tunnel() -> Tunnel {
        let terms = Terms { max_message: 1024, buffer: 1024 };
        Tunnel {
            query: "".into(),
            model: None,
            contents: crate::model::call::Contents::default(),
            protocols: vec!["realtime".into()],
            terms,
        }
    }

    #[test]
    fn only_an_answer_to_this_very_question_is_agreement() {
        // RFC 6455, 1.3.
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let fine = [("upgrade", "WebSocket"), ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];
        let answer = |more: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fine.iter().chain(more) {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            check(&headers, &tunnel(), key)
        };
        assert_eq!(answer(&[]), Ok(None));
        assert_eq!(answer(&[("sec-websocket-protocol", "realtime")]), Ok(Some(HeaderValue::from_static("realtime"))));
        for wrong in [
            ("upgrade", "h2c"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("sec-websocket-protocol", "other"),
        ] {
            assert!(answer(&[wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_key_is_in_no_reason_for_the_end() {
        let discreet = Discreet { talk: (), secret: Some(Secret::new("sk-canary")) };
        let close = |reason: &'static str| {
            Message::Close(Some(CloseFrame { code: 3000.into(), reason: Utf8Bytes::from_static(reason) }))
        };
        assert_eq!(discreet.without_secret(close("no such key: sk-canary")), close(""));
        assert_eq!(discreet.without_secret(close("no such model")), close("no such model"));
    }
}
