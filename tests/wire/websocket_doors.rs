//! WebSockets and who may open them: tokens and keys wherever callers can put them, pages of other websites, TLS at both
//! ends, and a configuration that changes meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rustls::pki_types::ServerName;
use serde_json::json;
use tidegate::config::Variables;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::gateway::Gateway;
use crate::program::{Folder, Program};
use crate::secure::{Authority, Paper};
use crate::socket::soon;
use crate::talk::{Far, Http2, VOICE, agreement, ask, carry, code, config, gateway, head_of, header, open, refused};
use crate::tokens::{SECRET, head, signed};
use crate::websocket::messages;

const KEY: &str = "canary-api-key-0123456789";

fn token(claims: &serde_json::Value, secret: &str) -> String {
    signed(&head(SECRET), claims, secret)
}

/// A token that is good for the tenant `r1`.
fn good() -> String {
    token(&json!({"sub": "u1", "restaurant_id": "r1", "exp": 4_000_000_000u64}), SECRET)
}

/// A gateway that wants to know who calls.
async fn guarded(far: &Far) -> Gateway {
    let hash = tidegate::model::api_key::Digest::of(KEY);
    let more = format!(
        "[auth]\nfailures = \"1000/min\"\n[api_key.shop]\nhash = \"{hash}\"\ntenant = \"r7\"\n\
         [cors]\norigins = [\"https://app.example\"]\n"
    );
    let variables = [("VOICE_KEY", "sk-voice"), ("REALTIME_KEY", "sk-realtime"), ("SUPABASE_JWT_SECRET", SECRET)];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Gateway::start(&config(&[far.address], "max_per_address = 50\n", &more), BTreeMap::from(variables)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_known_or_not_allowed_opens_nothing() {
    let far = Far::start().await;
    let gateway = guarded(&far).await;
    let good = good();
    let late = token(&json!({"sub": "u1", "restaurant_id": "r1", "exp": 1}), SECRET);
    let forged = token(&json!({"sub": "u1", "restaurant_id": "r1", "exp": 4_000_000_000u64}), "other");
    let published = token(&json!({"role": "anon", "restaurant_id": "r1", "exp": 4_000_000_000u64}), SECRET);
    let bearer = |token: &str| format!("Bearer {token}");
    let by = |token: &str| format!("{VOICE}?token={token}");
    for (path, headers, status) in [
        (by(&published), vec![], 401),
        (VOICE.to_owned(), vec![], 401),
        (by(""), vec![], 401),
        (by(&late), vec![], 401),
        (by(&forged), vec![], 401),
        (by("%00"), vec![], 401),
        (VOICE.to_owned(), vec![("authorization", bearer(&forged))], 401),
        // A bad one is not skipped for a better one.
        (by(&good), vec![("authorization", bearer(&forged))], 401),
        (by(&good), vec![("x-restaurant-id", "r2".to_owned())], 403),
        (by(&good), vec![("origin", "https://elsewhere.example".to_owned())], 403),
        (by(&good), vec![("origin", "null".to_owned())], 403),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(refused(gateway.address, &path, &headers).await, status, "{path} {headers:?}");
    }
    let mut second = Http2::connect(&gateway).await;
    for path in [VOICE, &by(&forged)] {
        assert_eq!(second.ask(path).await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    // Here it names another tenant.
    assert_eq!(second.ask(&by(&good)).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_known_gets_in_by_header_address_or_subprotocol_and_the_provider_reads_what_was_proved() {
    let far = Far::start().await;
    let gateway = guarded(&far).await;
    let (good, key) = (good(), format!("realtime, openai-insecure-api-key.{KEY}"));
    let bearer = format!("Bearer {good}");
    let any = token(&json!({"sub": "boss", "role": "admin", "exp": 4_000_000_000u64}), SECRET);
    let by = |token: &str| format!("{VOICE}?token={token}");
    for (path, headers, tenant, user) in [
        (VOICE.to_owned(), vec![("authorization", bearer.as_str()), ("x-user-id", "u9")], "r1", Some("u1")),
        (by(&good), vec![("origin", "https://app.example"), ("x-restaurant-id", "r1")], "r1", Some("u1")),
        (by(&any), vec![("x-restaurant-id", "r3")], "r3", Some("boss")),
        ("/v1/realtime?model=m".to_owned(), vec![("sec-websocket-protocol", key.as_str())], "", None),
    ] {
        let is_realtime = path.starts_with("/v1");
        let lines = if is_realtime { "sec-websocket-protocol: realtime\r\n" } else { "" };
        let (near, (mut there, head)) = tokio::join!(ask(gateway.address, &path, &headers), far.agrees_with(lines));
        let mut near = near.unwrap().0;
        carry(&mut near, &mut there, "hello").await;
        assert!(!head.contains(&good) && !head.contains(KEY) && !head.contains("token="), "{head}");
        if !is_realtime {
            assert_eq!((header(&head, "x-restaurant-id"), header(&head, "x-user-id")), (Some(tenant), user), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_a_token_in_the_address_is_as_good() {
    let far = Far::start().await;
    let gateway = guarded(&far).await;
    let claims = json!({"sub": "u1", "restaurant_id": "r2", "exp": 4_000_000_000u64});
    let path = format!("{VOICE}?token={}", token(&claims, SECRET));
    let mut second = Http2::connect(&gateway).await;
    let (answer, (_there, head)) = tokio::join!(second.ask(&path), far.agrees());
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(head.starts_with("GET /voice-stream HTTP/1.1\r\n"), "{head}");
    assert_eq!((header(&head, "x-restaurant-id"), header(&head, "x-user-id")), (Some("r2"), Some("u1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_through_tls_at_both_ends() {
    let authority = Authority::new("websocket-tls");
    authority.write("server");
    let provider = authority.provider(Paper::Good, &["http/1.1"]).await;
    let (certificate, key) = (authority.path_of("server.pem"), authority.path_of("server.key"));
    let text =
        config(&[provider.address], "", &format!("[server.tls]\ncert_file = {certificate:?}\nkey_file = {key:?}\n"));
    let secure = format!("url = \"https://{}\"\nca_file = {:?}\n", provider.address, authority.file());
    let text = text.replacen(&format!("url = \"http://{}\"\n", provider.address), &secure, 1);
    let variables = ["VOICE_KEY", "REALTIME_KEY"].map(|name| (name.to_owned(), "sk".to_owned()));
    let gateway = Gateway::start(&text, BTreeMap::from(variables)).await;
    let calling = async {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = authority.caller(&["http/1.1"], None).connect(name, stream).await.unwrap();
        client_async(format!("wss://gateway{VOICE}"), stream).await.unwrap().0
    };
    let providing = async {
        let mut stream = provider.connection().await;
        let head = head_of(&mut stream).await;
        stream.write_all(agreement(&head, "").as_bytes()).await.unwrap();
        WebSocketStream::from_raw_socket(stream, Role::Server, None).await
    };
    let (mut near, mut there) = soon("a WebSocket", async { tokio::join!(calling, providing) }).await;
    for message in messages() {
        carry(&mut near, &mut there, message.clone()).await;
        carry(&mut there, &mut near, message).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_configuration_leaves_open_ones_alone_and_holds_for_the_next() {
    const STATUS: &str = "GET /health/status HTTP/1.1\r\nhost: gateway\r\n\r\n";
    let far = Far::start().await;
    let folder = Folder::new("websocket-reload");
    let write = |keys: &str| {
        let text = config(&[far.address], keys, "[server]\nport = 0\nadmin = \"off\"\n");
        folder.write("gateway.toml", &text);
    };
    write("");
    let variables = [("VOICE_KEY", "sk-voice"), ("REALTIME_KEY", "sk-realtime")];
    let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &variables).await;
    let providing = async {
        loop {
            // Probes come as well.
            let (mut stream, head) = far.asked().await;
            if head.starts_with("GET /voice-stream") {
                stream.write_all(agreement(&head, "").as_bytes()).await.unwrap();
                return WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            }
        }
    };
    let (near, mut there) = tokio::join!(ask(program.address, VOICE, &[]), providing);
    let mut near = near.unwrap().0;
    write("max_per_address = 1\nmax_message = \"1KiB\"\n");
    let mut operator = program.connect().await;
    let reloaded = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let status = operator.ask(STATUS).await.json();
            if status["config"]["generation"] == 2 {
                return status;
            }
        }
    };
    let status = soon("the second generation", reloaded).await;
    assert_eq!(status["services"]["websocket"]["connections"], 1, "{status}");
    // More than is allowed now: it goes on as it was agreed to, while what is new counts it.
    for message in messages() {
        carry(&mut near, &mut there, message.clone()).await;
        carry(&mut there, &mut near, message).await;
    }
    assert_eq!(code(&mut ask(program.address, VOICE, &[]).await.unwrap().0).await, 1008);
    carry(&mut near, &mut there, "still here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_one_keeps_no_generation_of_the_configuration() {
    let far = Far::start().await;
    let gateway = gateway(&[far.address], "", "").await;
    let (mut near, mut there) = open(&gateway, &far).await;
    let mut second = Http2::connect(&gateway).await;
    let (mut second_near, mut second_there, _) = second.open(&far).await;
    let first = Arc::downgrade(&gateway.current.gateway());
    let variables = ["VOICE_KEY", "REALTIME_KEY"].map(|name| (name.to_owned(), "sk".to_owned()));
    let text = config(&[far.address], "", "");
    let plan = tidegate::config::load(Some(("x.toml", &text)), &Variables::new(variables.into(), BTreeMap::new()));
    gateway.current.replace(plan.unwrap()).unwrap();
    let freed = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while first.strong_count() > 0 {
            ticks.tick().await;
        }
    };
    soon("the end of the first generation", freed).await;
    carry(&mut near, &mut there, "still here").await;
    carry(&mut second_near, &mut second_there, "still here").await;
}
