//! Transport: the trait through which the gateway reaches a provider's network. `network` implements it.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

use super::{Request, ResponseHead};
use crate::model::call::Tunnel;
use crate::model::reply::Socket;

/// How requests reach a provider.
pub trait Transport: Send + Sync {
    /// Sends a request to one instance of the provider (an index into its URLs) and returns when the response's head has
    /// come. Dropping the future or the body cancels the request.
    fn send(
        &self,
        instance: usize,
        request: Request,
        reuse: Reuse,
    ) -> Pin<Box<dyn Future<Output = Result<Response, SendFault>> + Send + '_>>;

    /// Asks one instance for a WebSocket, and returns when it has agreed or refused. Dropping the
    /// future, or what it returns, ends it.
    fn open<'a>(
        &'a self,
        instance: usize,
        request: Request,
        tunnel: &'a Tunnel,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, SendFault>> + Send + 'a>>;
}

/// Whether a request may go out on a connection that was used before. Its provider may be closing that one, and then nobody
/// knows whether the request was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It may: the request can be sent again.
    Allowed,
    /// It must not.
    Never,
}

/// What became of a wish for a conversation.
pub enum Opened {
    /// It may begin.
    Socket(Socket),
    /// An answer came instead, whatever its status.
    Refused(Response),
}

/// A response whose body is still to come.
pub struct Response {
    /// Status and headers.
    pub head: ResponseHead,
    /// The body; an error means that it was cut.
    pub body: ResponseBody,
}

/// The bytes of a response as they come.
pub type ResponseBody = Pin<Box<dyn Stream<Item = Result<Bytes, SendFault>> + Send>>;

/// Why bytes did not get through. The texts are for the log and name no URL.
#[derive(Clone, Debug)]
pub enum SendFault {
    /// Nothing was executed: there is no connection, or the provider said that it did not take the request.
    Connect(String),
    /// No connection in time: nothing was sent.
    ConnectTimeout,
    /// The connection ended before anything of an answer came. The request may have been executed.
    Closed(String),
    /// The answer broke off, or what came is not HTTP.
    Broken(String),
}

impl SendFault {
    /// What happened, in words.
    pub fn described(self) -> String {
        match self {
            SendFault::Connect(detail) => format!("no connection: {detail}"),
            SendFault::ConnectTimeout => "no connection in time".into(),
            SendFault::Closed(detail) | SendFault::Broken(detail) => detail,
        }
    }
}
