//! Webhooks over real sockets: what their receivers get, and where they may be.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use tidegate::gateway::world::World;
use tidegate::provider::connector::Lookup;
use tidegate::provider::webhook::Sender;
use url::Url;

use crate::provider::Provider;
use crate::socket::soon;

/// A name server that gives one answer after the other.
struct Names(Mutex<VecDeque<IpAddr>>);

impl Lookup for Names {
    fn addresses(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let next = self.0.lock().pop_front();
        Box::pin(async move { Ok(next.into_iter().collect()) })
    }
}

fn sender(answers: &[&str], denies_private: bool) -> Sender {
    let answers = answers.iter().map(|answer| answer.parse().unwrap()).collect();
    World::real().with_names(Arc::new(Names(Mutex::new(answers)))).webhooks(denies_private).unwrap()
}

async fn send(sender: &Sender, port: u16) -> Result<StatusCode, String> {
    let url = Url::parse(&format!("http://receiver.test:{port}/hooks%2Fours/?key=a%2Fb")).unwrap();
    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    soon("an answer to the webhook", sender(url, headers, Bytes::from_static(b"{\"a\":1}"))).await
}

#[tokio::test]
async fn a_receiver_gets_the_url_as_it_was_written_and_each_message_on_a_connection_of_its_own() {
    let receiver = Provider::start().await;
    let port = receiver.address.port();
    let receiver = receiver.say("HTTP/1.1 204 No Content\r\n\r\n");
    let sender = sender(&["127.0.0.1", "127.0.0.1"], false);
    for _ in 0..2 {
        assert_eq!(send(&sender, port).await, Ok(StatusCode::NO_CONTENT));
    }
    let requests = receiver.requests();
    assert_eq!((requests.len(), receiver.connections()), (2, 2));
    assert_eq!(requests[0].start, "POST /hooks%2Fours/?key=a%2Fb HTTP/1.1");
    assert_eq!(requests[0].header("host"), Some(format!("receiver.test:{port}").as_str()));
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(requests[0].text(), "{\"a\":1}");
}

#[tokio::test]
async fn a_name_that_means_something_else_when_the_connection_is_made_does_not_lead_inside() {
    let receiver = Provider::start().await;
    let port = receiver.address.port();
    let receiver = receiver.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    // Whatever it meant before: what counts is asked once, and connected to.
    let sender = sender(&["127.0.0.1", "10.0.0.1", "169.254.169.254"], true);
    for _ in 0..3 {
        let fault = send(&sender, port).await.unwrap_err();
        assert_eq!(fault, "no connection: dns error: the name has no public address, and others are denied");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (receiver, other) = (Provider::start().await, Provider::start().await);
    let port = receiver.address.port();
    let answer = format!("HTTP/1.1 307 Moved\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n", other.address);
    let (_receiver, other) = (receiver.say(answer), other.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(send(&sender(&["127.0.0.1"], false), port).await, Ok(StatusCode::TEMPORARY_REDIRECT));
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn an_answer_without_end_is_read_only_so_far() {
    let receiver = Provider::start().await;
    let port = receiver.address.port();
    let playing = async {
        let (mut socket, _) = receiver.request().await;
        socket.send("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await;
        // Until the gateway has enough of it, and closes.
        while socket.try_send(vec![b'x'; 16 * 1024]).await.is_ok() {}
    };
    let sender = sender(&["127.0.0.1"], false);
    let (status, ()) = tokio::join!(send(&sender, port), soon("the end of the connection", playing));
    assert_eq!(status, Ok(StatusCode::OK));
}
