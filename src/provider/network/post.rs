//! Post: single requests to URLs that callers chose, each on a connection of its own that ends with it.
//!
//! It keeps no connection for the next request, and knows no credentials.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use url::{Position, Url};

use super::http1::{self, Home, Lost};
use super::target::Target;
use crate::model::ip_ranges::names_private;
use crate::provider::connector::{Connector, Lookup, Origin, Terms};
use crate::provider::response::received;
use crate::provider::transport::{Response, SendFault};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Sends single requests.
pub struct Post {
    connector: Connector,
    denies_private: bool,
}

impl Post {
    /// One that goes to public addresses only where `denies_private`, whatever a name means when the connection is made.
    pub fn new(lookup: &Arc<dyn Lookup>, denies_private: bool) -> Result<Self, String> {
        let terms = Terms { lookup, denies_private, roots: &[], within: CONNECT, is_secure: true };
        let connector = Connector::new(&terms).map_err(|fault| fault.to_string())?;
        Ok(Self { connector, denies_private })
    }

    /// Sends a body, in HTTP/1.1, which every server speaks. Redirects are not followed: who may be reached was checked for this
    /// URL.
    pub async fn send(&self, url: &Url, headers: HeaderMap, body: Bytes) -> Result<Response, SendFault> {
        // An address is not looked up, so the connector does not check it.
        if self.denies_private && names_private(url) {
            return Err(SendFault::Connect("the URL has no public address".into()));
        }
        let origin = Origin::of(url).map_err(SendFault::Connect)?;
        let request = outgoing(url, headers, body).map_err(SendFault::Connect)?;
        let (stream, _) = self.connector.connect(&origin, false).await?;
        let connection = http1::Connection::begin(stream, Weak::<Nowhere>::new());
        match http1::send(connection, request).await {
            Ok(response) => received(response, http1::Body::is_over),
            Err(Lost::Unsent(_)) => Err(SendFault::Connect("the connection was closed before it was used".into())),
            Err(Lost::Fault(fault)) => Err(fault),
        }
    }
}

/// The request in the spelling of its URL: unlike a provider's base URL it has nothing below it that could be left.
fn outgoing(url: &Url, headers: HeaderMap, body: Bytes) -> Result<Request<Bytes>, String> {
    let target = Target::new(url, &[])?;
    let path = url[Position::BeforePath..Position::AfterQuery].to_owned();
    let path = PathAndQuery::try_from(path).map_err(|fault| format!("bad path: {fault}"))?;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    for (name, value) in [(header::ACCEPT, "*/*"), (header::ACCEPT_ENCODING, "identity")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    target.address_http1(&mut request, &path);
    Ok(request)
}

/// Where connections go that are not used again.
struct Nowhere;

impl Home for Nowhere {
    fn take_back(&self, _: Box<http1::Connection>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_asked_for_as_it_is_written() {
        for (url, path, host) in [
            ("https://shop.example/a%2Fb/../c/?k=%2F&x=a b", "/c/?k=%2F&x=a%20b", "shop.example"),
            ("https://shop.example", "/", "shop.example"),
            ("http://[::1]:9/?", "/?", "[::1]:9"),
        ] {
            let request = outgoing(&url.parse().unwrap(), HeaderMap::new(), Bytes::from_static(b"{}")).unwrap();
            assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::POST, path));
            assert_eq!(request.headers()["host"], host);
        }
    }

    #[tokio::test]
    async fn an_address_that_is_not_public_is_not_asked() {
        let lookup: Arc<dyn Lookup> = Arc::new(crate::provider::connector::System);
        let post = Post::new(&lookup, true).unwrap();
        let sent = post.send(&"http://127.0.0.1:1/".parse().unwrap(), HeaderMap::new(), Bytes::new()).await;
        assert!(matches!(sent, Err(SendFault::Connect(text)) if text.contains("public")));
    }
}
