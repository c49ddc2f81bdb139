//! The program's start, when what it depends on is not there: it warns and answers.

use std::net::{SocketAddr, TcpListener};

use crate::program::{Folder, Program};
use crate::socket::Socket;

const HEALTH: &str = "GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n";

/// An address at which nobody listens.
fn nowhere() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|it| it.local_addr()).expect("a free port")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_redis_nor_published_keys_nor_providers_have_to_be_there() {
    let folder = Folder::new("start-alone");
    let text = format!(
        "defaults = false\n[server]\nport = 0\nadmin = \"off\"\n[store]\nredis_url = \"redis://{0}\"\n[auth]\n\
         jwks_url = \"http://{0}/keys\"\n[provider.p]\nkind = \"openai\"\nurl = \"http://{0}/v1\"\nkey_env = \"P_KEY\"\n\
         [route.chat]\npaths = [\"/v1/chat/completions\"]\ncaller = \"openai\"\ncall = \"chat\"\ntargets = [\"p\"]\n",
        nowhere()
    );
    folder.write("gateway.toml", &text);
    let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &[("P_KEY", "k")]).await;
    assert_eq!(program.connect().await.ask(HEALTH).await.status(), 200);
    for missing in ["the store (Redis) is unavailable", "could not refresh the JWKS"] {
        let line = program.says(missing, 1).await;
        assert!(line.contains("\"warn\""), "{line}");
    }
    program.terminate().await;
    assert_eq!(program.ended().await.0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_could_spend_the_keys_is_told_of_the_address_that_is_really_bound() {
    let folder = Folder::new("start-open");
    let open = "can spend your provider keys";
    for (host, bound, is_open) in [("127.0.0.1", [0, 0, 0, 0], true), ("0.0.0.0", [127, 0, 0, 1], false)] {
        folder.write("gateway.toml", &format!("[server]\nhost = \"{host}\"\nadmin = \"off\"\n"));
        let socket = TcpListener::bind((std::net::Ipv4Addr::from(bound), 0)).expect("a free port");
        let shell =
            "LISTEN_PID=$$ LISTEN_FDS=1 OPENAI_API_KEY=k exec \"$0\" serve --config gateway.toml 3<&0 0</dev/null";
        let program = Program::start_with_socket(&folder, shell, socket).await;
        program.says("listening on", 1).await;
        let said = program.written();
        let told: Vec<&str> = said.lines().filter(|line| line.contains(open)).collect();
        assert_eq!(told.len(), usize::from(is_open), "{said}");
        assert!(told.iter().all(|line| line.contains(&format!("0.0.0.0:{}", program.address.port()))), "{told:?}");
        program.terminate().await;
        program.ended().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_log_stops_nobody() {
    let folder = Folder::new("start-full");
    folder.write("gateway.toml", "[server]\nadmin = \"off\"\n");
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = socket.local_addr().expect("a bound port");
    let shell = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --config gateway.toml 3<&0 0</dev/null >/dev/full 2>&1";
    let program = Program::start_unheard(&folder, shell, socket);
    let mut caller = Socket::connect(address).await;
    for _ in 0..100 {
        assert_eq!(caller.ask(HEALTH).await.status(), 200);
    }
    program.terminate().await;
    assert_eq!(program.ended().await.0.code(), Some(0));
}
