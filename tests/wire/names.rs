//! Names of providers: what they mean is asked anew, a name that has moved is noticed, and one that leads into a private network
//! is not followed where that is denied. Names mean here what the test says, through the world's own seam.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tidegate::gateway::world::World;
use tidegate::provider::connector::Lookup;
use tidegate::server::Listener;
use tokio::net::TcpListener;

use crate::gateway::Gateway;
use crate::provider::{Following, Provider};
use crate::socket::soon;
use crate::words::{chat, completion, plain};

const BEFORE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const AFTER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// A name server of one answer, which can be changed.
#[derive(Clone)]
struct Names(Arc<Mutex<Vec<IpAddr>>>);

impl Lookup for Names {
    fn addresses(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let addresses = self.0.lock().clone();
        Box::pin(async move { Ok(addresses) })
    }
}

/// Two listeners with one port.
async fn two() -> (TcpListener, TcpListener, u16) {
    loop {
        let first = TcpListener::bind((BEFORE, 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        // Somebody else may have it there.
        if let Ok(second) = TcpListener::bind((AFTER, port)).await {
            return (first, second, port);
        }
    }
}

/// A provider that answers every call with where it is.
fn serve(listener: TcpListener) -> Following {
    let provider = Provider::on(listener);
    let said = format!("at {}", provider.address.ip());
    provider.say(plain(&completion(&said)))
}

async fn gateway(names: &Names, port: u16, keys: &str) -> Gateway {
    let text = format!(
        "defaults = false\n[provider.a]\nkind = \"openai\"\nurl = \"http://provider.test:{port}/v1\"\n{keys}\n[route.chat]\n\
         paths = [\"/v1/chat/completions\"]\ncaller = \"openai\"\ncall = \"chat\"\ntargets = [\"a\"]\n"
    );
    let world = World::real().with_names(Arc::new(names.clone()));
    Gateway::of(world, Listener::Public, &text, BTreeMap::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_has_moved_is_noticed_although_its_connection_is_never_idle() {
    let (first, second, port) = two().await;
    let _serving = [serve(first), serve(second)];
    let names = Names(Arc::new(Mutex::new(vec![BEFORE])));
    let gateway = gateway(&names, port, "connection_age = \"100ms\"").await;
    let mut caller = gateway.connect().await;
    assert!(caller.ask(chat()).await.text().contains("at 127.0.0.2"));
    *names.0.lock() = vec![AFTER];
    // One call after the other, all answered: those on the old connection and those on the new one.
    soon("an answer from the new address", async {
        loop {
            let answer = caller.ask(chat()).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            if answer.text().contains("at 127.0.0.3") {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_young_connection_is_used_again_wherever_the_name_has_gone() {
    let (first, second, port) = two().await;
    let _serving = [serve(first), serve(second)];
    let names = Names(Arc::new(Mutex::new(vec![BEFORE])));
    let gateway = gateway(&names, port, "").await;
    let mut caller = gateway.connect().await;
    for _ in 0..3 {
        assert!(caller.ask(chat()).await.text().contains("at 127.0.0.2"));
        *names.0.lock() = vec![AFTER];
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_into_a_private_network_is_not_followed() {
    let (first, second, port) = two().await;
    let _serving = [serve(first), serve(second)];
    let names = Names(Arc::new(Mutex::new(vec![BEFORE, "10.0.0.1".parse().unwrap(), "::1".parse().unwrap()])));
    let gateway = gateway(&names, port, "deny_private = true").await;
    let answer = gateway.connect().await.ask(chat()).await;
    assert_eq!(answer.status(), 502, "{}", answer.text());
    assert!(answer.text().contains("could not be reached"), "{}", answer.text());
    // It is there, for who may go there.
    let allowed = Names(names.0.clone());
    let other = self::gateway(&allowed, port, "deny_private = false").await;
    let answer = other.connect().await.ask(chat()).await;
    assert!(answer.text().contains("at 127.0.0.2"), "{}", answer.text());
}
