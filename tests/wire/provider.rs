//! A provider whose part the test plays by itself, or that follows a script. It speaks plain HTTP/1.1.
//!
//! What it sends is bytes: nothing stops it from sending nonsense.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::socket::{Message, Socket, soon};

/// A provider that does nothing by itself: the test accepts, reads and writes.
pub(crate) struct Provider {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Provider {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        Self::on(TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port"))
    }

    /// Listens where the test does.
    pub(crate) fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("a bound port");
        Self { listener, address }
    }

    /// The next connection that the gateway makes.
    pub(crate) async fn connection(&self) -> Socket {
        Socket::new(soon("a connection to the provider", self.listener.accept()).await.expect("a connection").0)
    }

    /// The next connection that carries a request, with that request. One that carries none does not count: a call that was
    /// given a kept connection leaves the one that it had begun to the next call.
    pub(crate) async fn request(&self) -> (Socket, Message) {
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some((socket, request)) = open.next() => if let Ok(request) = request {
                    return (socket, request);
                },
                mut socket = self.connection() => open.push(async move {
                    let request = socket.try_message().await;
                    (socket, request)
                }),
            }
        }
    }

    /// The next request, on a connection that was kept if the gateway took it, else on a new one.
    pub(crate) async fn next_request(&self, kept: &mut Socket) -> Message {
        tokio::select! {
            Ok(request) = kept.try_message() => request,
            (socket, request) = self.request() => {
                *kept = socket;
                request
            }
        }
    }

    /// From now on probes are answered, and calls are handed to the test.
    pub(crate) fn hand_over(self) -> Handed {
        let (hand, calls) = mpsc::unbounded_channel();
        let following = self.follow(move |mut socket, request| {
            let hand = hand.clone();
            Box::pin(async move {
                if request.start.starts_with("POST ") {
                    // A test that has ended wants no more calls.
                    let _ = hand.send((socket, request));
                    return None;
                }
                socket.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
                Some(socket)
            })
        });
        Handed { following, calls }
    }

    /// From now on each request gets this answer.
    pub(crate) fn say(self, answer: impl Into<Vec<u8>>) -> Following {
        let answer = answer.into();
        self.reply(move |_| answer.clone())
    }

    /// From now on each request gets the answer that is made for it.
    pub(crate) fn reply<A: Into<Vec<u8>>>(self, answer: impl Fn(&Message) -> A + Send + Sync + 'static) -> Following {
        self.follow(move |mut socket, request| {
            let answer: Vec<u8> = answer(&request).into();
            Box::pin(async move {
                socket.send(answer).await;
                Some(socket)
            })
        })
    }

    /// From now on each request is answered by the script.
    pub(crate) fn follow(self, script: impl Script) -> Following {
        let seen = Arc::new(Seen::default());
        let is_dead = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(self.listener, seen.clone(), is_dead.clone(), Arc::new(script)));
        Following { address: self.address, seen, is_dead, tasks }
    }
}

/// What a provider does with a request: answers it, and gives the connection back if it is to be kept.
pub(crate) trait Script:
    Fn(Socket, Message) -> Pin<Box<dyn Future<Output = Option<Socket>> + Send>> + Send + Sync + 'static
{
}

impl<T> Script for T where
    T: Fn(Socket, Message) -> Pin<Box<dyn Future<Output = Option<Socket>> + Send>> + Send + Sync + 'static
{
}

/// A provider that follows a script, until it is dropped.
pub(crate) struct Following {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    is_dead: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Message>>,
}

impl Following {
    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// The requests that were read whole.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.seen.requests.lock().clone()
    }

    /// Closes the port and resets every connection. Returns when that is done.
    pub(crate) async fn die(&mut self) {
        self.is_dead.store(true, Ordering::SeqCst);
        self.tasks.shutdown().await;
    }
}

/// A provider whose calls the test answers, each on a connection of its own.
pub(crate) struct Handed {
    following: Following,
    calls: mpsc::UnboundedReceiver<(Socket, Message)>,
}

impl Handed {
    /// Where it listens.
    #[allow(dead_code, reason = "the tests of processes share this file")]
    pub(crate) fn address(&self) -> SocketAddr {
        self.following.address
    }

    /// The next call, and the connection on which it came.
    pub(crate) async fn call(&mut self) -> (Socket, Message) {
        soon("a call to the provider", self.calls.recv()).await.expect("the provider is there")
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, is_dead: Arc<AtomicBool>, script: Arc<impl Script>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let socket = Socket::new(stream).dies_with(is_dead.clone());
        connections.spawn(serve(socket, seen.clone(), script.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut socket: Socket, seen: Arc<Seen>, script: Arc<impl Script>) {
    // A connection that the gateway closes between requests is none of the test's business.
    while let Ok(request) = socket.try_message().await {
        seen.requests.lock().push(request.clone());
        match script(socket, request).await {
            Some(kept) => socket = kept,
            None => return,
        }
    }
}
