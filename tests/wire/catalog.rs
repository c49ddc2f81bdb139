//! The list of all providers' models over real connections: each model in its provider's own words, from every kind of list.

use crate::gateway::{Gateway, Setup};
use crate::provider::{Following, Provider};
use crate::socket::Message;
use crate::words::{answer, plain};

const LIST: &str = "[models]\npaths = [\"/v1/models\", \"/v1/models/{*id}\"]\nmethods = [\"GET\"]\ncaller = \"openai\"\n\
                    call = \"models\"\n";

/// A provider that answers `GET /v1/models` with a response, and whatever else with another.
async fn provider(list: String, else_: String) -> Following {
    let answer = move |request: &Message| match &*request.start {
        "GET /v1/models HTTP/1.1" => list.clone(),
        _ => else_.clone(),
    };
    Provider::start().await.reply(answer)
}

async fn gateway(first: &Following, second: &Following) -> Gateway {
    let table = LIST.replacen("[models]", "[route.models]", 1);
    Setup::over(&[first.address, second.address]).tables(&table).start().await
}

async fn get(gateway: &Gateway, path: &str) -> (u16, String) {
    let mut caller = gateway.connect().await;
    caller.send(format!("GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n")).await;
    let message = caller.message().await;
    (message.status(), message.text().to_owned())
}

/// An item that no serializer would write.
const ODD: &str =
    "{\"id\" : \"b\", \"pricing\":{\"input\":0.10,\"n\":123456789012345678901234567890},\n\"é\":null,\"\\u0061\":1e+2}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_model_is_told_of_in_its_providers_own_words() {
    let odd = format!("{{\"object\":\"list\" ,\"data\":[ {ODD} ],\"more\":1}}");
    let broken =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\nconnection: close\r\n\r\n[{";
    let a = r#"{"id":"a","created":1}"#;
    let other = plain(&format!("[{a}]"));
    for (list, wanted) in [
        (plain(&odd), format!("[{ODD},{a}]")),
        (
            plain(&format!("\n [{ODD},{{\"id\":\"a\",\"created\":2}}]")),
            format!("[{ODD},{{\"id\":\"a\",\"created\":2}}]"),
        ),
        (plain(r#"{"data":[]}"#), format!("[{a}]")),
        (plain(r#"{"data":null}"#), format!("[{a}]")),
        (plain(r#"{"error":{"message":"no"}}"#), format!("[{a}]")),
        (answer("404 Not Found", "", "{}"), format!("[{a}]")),
        (answer("401 Unauthorized", "", "{}"), format!("[{a}]")),
        (answer("500 Internal Server Error", "", "oops"), format!("[{a}]")),
        (broken.to_owned(), format!("[{a}]")),
    ] {
        let (first, second) = (provider(list.clone(), plain("{}")).await, provider(other.clone(), plain("{}")).await);
        let gateway = gateway(&first, &second).await;
        let wanted = (200, format!("{{\"object\":\"list\",\"data\":{wanted}}}"));
        assert_eq!(get(&gateway, "/v1/models").await, wanted, "{list}");
        let asked = (first.requests().len(), second.requests().len());
        assert_eq!(get(&gateway, "/v1/models").await, wanted, "{list}");
        assert_eq!((first.requests().len(), second.requests().len()), asked, "{list}: nobody is asked again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_model_is_asked_of_the_provider_that_lists_it_and_its_item_does_where_it_cannot_tell() {
    let missing = answer("404 Not Found", "", r#"{"detail":"Not Found"}"#);
    let denied = answer("404 Not Found", "", r#"{"error":{"message":"gone","code":"model_not_found"}}"#);
    let first = provider(plain(r#"[{"id":"a"},{"id":"x/y","by":"list"}]"#), missing).await;
    let second = provider(plain(r#"{"data":[{"id":"b"},{"id":"c"}]}"#), plain(r#"{"id":"b","by":"itself"}"#)).await;
    let gateway = gateway(&first, &second).await;
    for (path, status, body) in [
        ("/v1/models/b", 200, r#"{"id":"b","by":"itself"}"#),
        ("/v1/models/a", 200, r#"{"id":"a"}"#),
        ("/v1/models/x/y", 200, r#"{"id":"x/y","by":"list"}"#),
        ("/v1/models/x%2Fy", 200, r#"{"id":"x/y","by":"list"}"#),
        ("/v1/models/nobodys", 404, r#"{"detail":"Not Found"}"#),
    ] {
        let (got, text) = get(&gateway, path).await;
        assert_eq!(got, status, "{path}: {text}");
        assert!(status != 200 || text == body, "{path}: {text}");
    }
    // A provider that knows its models is believed, whatever it listed a moment ago.
    let third = provider(plain(r#"[{"id":"d"}]"#), denied).await;
    let gateway = self::gateway(&third, &second).await;
    assert_eq!(get(&gateway, "/v1/models/d").await.0, 404);
}
