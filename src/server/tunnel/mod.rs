//! Tunnel: a caller's WebSocket, from the upgrade of the connection until both sides are closed.
//!
//! It does not know how a provider was found, nor what is said. The upgrade is in `handshake`, messages are
//! forwarded in `relay`, and closing is in `end`.

mod end;
mod over;

mod relay;

pub(super) mod handshake;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};
use tokio_util::sync::CancellationToken;

use self::end::{CloseReason, Farewell};
use self::over::RefusedSocket;
use self::relay::{MessageCounts, Relay};
use crate::config::plan::{CallerKind, TunnelPlan};
use crate::model::call::Tunnel as TunnelRequest;
use crate::model::fault::Fault;
use crate::model::reply::{End, Framed, Socket, Talk, Terms};
use crate::model::trail::TunnelFact;
use crate::policy::admit::Tunnels;
use crate::policy::observe::Watch;

/// How long a connection may take to be handed over once the answer is on its way.
const OPENING: Duration = Duration::from_secs(10);

/// How long an end may take to answer that it is closed, and to read why.
const CLOSING: Duration = Duration::from_secs(2);

/// What is still read from a caller that goes on talking.
const DRAINED: u64 = 16 << 20;

/// A provider's name, where there is none: nobody was asked.
const NOBODY: &str = "gateway";

/// A WebSocket that both sides have agreed to.
pub(super) struct Tunnel {
    upgrade: Option<OnUpgrade>,
    socket: Socket,
    plan: Arc<TunnelPlan>,
    tunnels: Tunnels,
    watch: Watch,
}

impl Tunnel {
    /// A tunnel whose connection is handed over with `upgrade`; without it (simulations have no connections) it ends at once.
    pub(super) fn new(
        upgrade: Option<OnUpgrade>,
        socket: Socket,
        plan: Arc<TunnelPlan>,
        tunnels: Tunnels,
        watch: Watch,
    ) -> Self {
        let mut facts = watch.trail.facts();
        let opened = facts.started.elapsed();
        facts.tunnel = Some(TunnelFact { opened, chunks_in: 0, chunks_out: 0, ended_by: None, close_code: None });
        drop(facts);
        Self { upgrade, socket, plan, tunnels, watch }
    }

    /// Passes messages on until one end closes, or it has to. `leaving`: the gateway shuts down.
    pub(super) async fn run(mut self, leaving: CancellationToken) {
        let Some(upgrade) = self.upgrade.take() else { return };
        let Ok(Ok(connection)) = timeout(OPENING, upgrade).await else { return };
        let terms = Terms { max_message: self.plan.max_message, buffer: self.plan.buffer };
        let caller = Framed::new(TokioIo::new(connection), Role::Server, terms).await;
        let mut relay = Relay::new(caller, self.socket, &self.plan, &self.tunnels);
        let why = tokio::select! {
            biased;
            why = relay.run() => why,
            () = leaving.cancelled() => CloseReason::Leaving,
        };
        let (caller, mut socket, passed) = relay.into_ends();
        conclude(&mut socket, &mut self.watch, &why);
        note(&mut self.watch, &why, passed);
        // What is left is politeness: the tunnel is over, and counted.
        drop(self.watch);
        let from_caller = timeout(CLOSING, part_from_caller(caller, &why));
        let from_provider = timeout(CLOSING, part(&mut socket, why.to_provider()));
        let _ = tokio::join!(from_caller, from_provider);
    }
}

/// Tells those who hold something for the tunnel that it is over: another one may take its place now.
fn conclude(socket: &mut Socket, watch: &mut Watch, why: &CloseReason) {
    let fault = why.provider_fault().map(|detail| Fault::Incomplete { provider: socket.provider.clone(), detail });
    match &fault {
        Some(fault) => {
            socket.end(End::Failed(fault));
            watch.failed(fault);
        }
        None if why.is_desertion() => socket.end(End::Abandoned),
        None => {
            socket.end(End::Complete);
            watch.completed();
        }
    }
}

fn note(watch: &mut Watch, why: &CloseReason, passed: MessageCounts) {
    watch.sent(usize::try_from(passed.bytes_out).unwrap_or(usize::MAX));
    let mut facts = watch.trail.facts();
    facts.bytes_in = passed.bytes_in;
    // A refusal has been noted, and its word is the better one.
    let ended_by = facts.fault.is_none_or(|_| passed.chunks_in + passed.chunks_out > 0).then(|| why.word());
    if let Some(tunnel) = &mut facts.tunnel {
        let MessageCounts { chunks_in, chunks_out, .. } = passed;
        *tunnel = TunnelFact { chunks_in, chunks_out, ended_by, close_code: why.close_code(), ..*tunnel };
    }
}

/// Says goodbye to a caller, and waits until it has gone too (RFC 6455, 7.1.1): a connection that is closed with something
/// unread is reset, and the caller might never see why it ended.
async fn part_from_caller(mut caller: Framed<TokioIo<Upgraded>>, why: &CloseReason) {
    let farewell = why.to_caller();
    let is_there = farewell != Farewell::Nothing;
    part(&mut caller, farewell).await;
    if is_there {
        drain(caller.into_bytes()).await;
    }
}

/// Tells one end why, and reads until it answers.
async fn part(end: &mut (impl Talk + ?Sized), farewell: Farewell) {
    match farewell {
        Farewell::Nothing => {}
        // It is written already, and waits to be sent.
        Farewell::Answer => drop(end.flush().await),
        Farewell::Say(frame) => {
            if end.send(Message::Close(frame)).await.is_ok() {
                while end.next().await.is_some_and(|said| said.is_ok_and(|said| !said.is_close())) {}
            }
        }
    }
}

async fn drain(mut bytes: impl AsyncRead + AsyncWrite + Unpin) {
    if bytes.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut bytes.take(DRAINED), &mut tokio::io::sink()).await;
    }
}

/// What a caller gets for which there is no place: a WebSocket that is closed with a reason, because that is all that a page in a
/// browser gets to know (it cannot read the status of a refusal).
pub(super) fn crowded(wish: &TunnelRequest, fault: &Fault) -> Socket {
    let protocol = wish.protocols.first().and_then(|offered| http::HeaderValue::from_str(offered).ok());
    Socket::new(RefusedSocket(Some(end::crowded(&fault.public()))), NOBODY.into(), protocol)
}

/// What is told when no provider has agreed: 503, whatever went wrong there. But OpenAI's clients are told at once that nobody
/// takes the gateway's keys, in the way of that dialect: trying again does not help.
pub(super) fn unavailable(fault: Fault, caller: CallerKind) -> Fault {
    match fault.status().as_u16() {
        _ if fault.is_denied() && caller == CallerKind::OpenAi => fault,
        502 | 504 => {
            let retry_after = fault.retry_after().unwrap_or(CLOSING);
            let last = Fault::Broken { provider: "provider".into(), detail: fault.to_string() };
            Fault::Exhausted { last: Box::new(last), retry_after }
        }
        _ => fault,
    }
}
