//! Relay: forwards WebSocket messages between a caller and a provider, unchanged and in order, with ping, pong
//! timeout, idle timeout and maximum lifetime.
//!
//! One side is read only while the other has room, so neither can fill the memory. Pings are between each side and
//! the gateway. It does not know what is said, nor how the WebSocket was opened.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error};

use super::end::{CloseReason, Who};
use crate::config::plan::TunnelPlan;
use crate::model::reply::Talk;
use crate::model::time::later;
use crate::policy::admit::{Overrun, Tunnels, Way};

/// Messages passed on one way before the other way, and others, get their turn.
const TURN: usize = 32;

/// How long the last words of an end are waited for that can be written to no more: they are on this machine already.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// One end of a tunnel.
struct Side<S> {
    who: Who,
    socket: S,
    /// When something last came from it, or it was last not listened to.
    heard: Instant,
    /// When it was asked for a sign of life that has not come.
    pinged: Option<Instant>,
    /// Since when it takes nothing of what is written to it, and how much it had taken by then.
    blocked: Option<(Instant, u64)>,
    /// It is not read from, because the other end has no room: its silence means nothing.
    is_paused: bool,
    /// Since when it can be written to no more. What it said before, and how it ended, may still be there to read.
    deaf: Option<Instant>,
}

/// What was passed on, in messages and bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MessageCounts {
    pub(super) chunks_in: u64,
    pub(super) chunks_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// A caller and a provider in conversation.
pub(super) struct Relay<'a, C, P> {
    caller: Side<C>,
    provider: Side<P>,
    passed: MessageCounts,
    /// When a message last went either way.
    said: Instant,
    ends: Instant,
    plan: &'a TunnelPlan,
    tunnels: &'a Tunnels,
    timer: Pin<Box<Sleep>>,
}

/// What is to be done when nothing else happens.
enum NextAction {
    Ping(Who),
    End(CloseReason),
}

impl<'a, C: Talk, P: Talk> Relay<'a, C, P> {
    pub(super) fn new(caller: C, provider: P, plan: &'a TunnelPlan, tunnels: &'a Tunnels) -> Self {
        let now = Instant::now();
        let ends = later(now, plan.max_lifetime);
        Self {
            caller: Side::new(Who::Caller, caller, now),
            provider: Side::new(Who::Provider, provider, now),
            passed: MessageCounts::default(),
            said: now,
            ends,
            plan,
            tunnels,
            timer: Box::pin(sleep_until(ends)),
        }
    }

    /// Passes messages on until it has to end.
    pub(super) async fn run(&mut self) -> CloseReason {
        let why = std::future::poll_fn(|cx| self.poll(cx)).await;
        match why {
            CloseReason::Nonsense(_, CloseCode::Size) => self.tunnels.overran(Overrun::TooLarge),
            CloseReason::Stalled(_) => self.tunnels.overran(Overrun::Stalled),
            _ => {}
        }
        why
    }

    /// Both ends, and what was passed on.
    pub(super) fn into_ends(self) -> (C, P, MessageCounts) {
        (self.caller.socket, self.provider.socket, self.passed)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            let now = Instant::now();
            let before = self.passed;
            if let Err(why) = self.pass_out(now, cx).and_then(|()| self.pass_in(now, cx)) {
                return Poll::Ready(why);
            }
            if (before.chunks_in, before.chunks_out) != (self.passed.chunks_in, self.passed.chunks_out) {
                self.said = now;
            }
            let (at, due) = self.due();
            if at <= now {
                let done = match due {
                    NextAction::End(why) => Err(why),
                    NextAction::Ping(Who::Caller) => self.caller.ping(now),
                    NextAction::Ping(Who::Provider) => self.provider.ping(now),
                };
                match done {
                    Ok(()) => continue,
                    Err(why) => return Poll::Ready(why),
                }
            }
            // A timer that fires too early only causes another look, so it is moved only when it would be too late: messages do
            // not touch it.
            if self.timer.deadline() > at {
                self.timer.as_mut().reset(at);
            }
            ready!(self.timer.as_mut().poll(cx));
            self.timer.as_mut().reset(at);
        }
    }

    fn pass_in(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let (tunnels, passed) = (self.tunnels, &mut self.passed);
        pass(&mut self.caller, &mut self.provider, now, cx, |bytes| {
            passed.chunks_in += 1;
            passed.bytes_in += bytes;
            tunnels.passed(Way::In);
        })
    }

    fn pass_out(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let (tunnels, passed) = (self.tunnels, &mut self.passed);
        pass(&mut self.provider, &mut self.caller, now, cx, |bytes| {
            passed.chunks_out += 1;
            passed.bytes_out += bytes;
            tunnels.passed(Way::Out);
        })
    }

    /// What is to be done first if nothing happens, and when.
    fn due(&self) -> (Instant, NextAction) {
        let old = (self.ends, NextAction::End(CloseReason::Old));
        let idle = (later(self.said, self.plan.idle_timeout), NextAction::End(CloseReason::Idle));
        let sides = [self.caller.due(self.plan), self.provider.due(self.plan)];
        let all = [Some(old), Some(idle)].into_iter().chain(sides.into_iter().flatten()).flatten();
        all.min_by_key(|(at, _)| *at).unwrap_or((self.ends, NextAction::End(CloseReason::Old)))
    }
}

impl<S: Talk> Side<S> {
    fn new(who: Who, socket: S, now: Instant) -> Self {
        Self { who, socket, heard: now, pinged: None, blocked: None, is_paused: false, deaf: None }
    }

    /// Something came, or at least was listened for again.
    fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
    }

    /// True when one more message may be written.
    fn has_room(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        if self.deaf.is_some() {
            // What it will never get holds nobody up.
            return Ok(true);
        }
        match self.socket.poll_ready_unpin(cx) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(error)) => self.lose(&error, now).map(|()| true),
            Poll::Pending => {
                self.block(now);
                Ok(false)
            }
        }
    }

    fn write(&mut self, message: Message, now: Instant) -> Result<(), CloseReason> {
        match self.socket.start_send_unpin(message) {
            Ok(()) => Ok(()),
            Err(error) => self.lose(&error, now),
        }
    }

    fn flush(&mut self, now: Instant, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        if self.deaf.is_some() {
            return Ok(());
        }
        match self.socket.poll_flush_unpin(cx) {
            Poll::Ready(Ok(())) => self.blocked = None,
            Poll::Ready(Err(error)) => return self.lose(&error, now),
            Poll::Pending => self.block(now),
        }
        Ok(())
    }

    /// Nothing of what is written gets through now. As long as the other end takes a little from time to time, it is only
    /// slow.
    fn block(&mut self, now: Instant) {
        let taken = self.socket.taken();
        if self.blocked.is_none_or(|(_, before)| before != taken) {
            self.blocked = Some((now, taken));
        }
    }

    /// It cannot be written to.
    fn lose(&mut self, error: &Error, now: Instant) -> Result<(), CloseReason> {
        match CloseReason::of(self.who, error) {
            CloseReason::Gone(_) => {
                self.deaf = self.deaf.or(Some(now));
                Ok(())
            }
            why => Err(why),
        }
    }

    fn ping(&mut self, now: Instant) -> Result<(), CloseReason> {
        self.pinged = Some(now);
        self.write(Message::Ping(Bytes::new()), now)
    }

    /// What is to be done about this end when it stays as it is.
    fn due(&self, plan: &TunnelPlan) -> [Option<(Instant, NextAction)>; 2] {
        if let Some(since) = self.deaf {
            return [Some((later(since, LAST_WORDS), NextAction::End(CloseReason::Gone(self.who)))), None];
        }
        let stalled = |(since, _)| (later(since, plan.write_timeout), NextAction::End(CloseReason::Stalled(self.who)));
        let sign = match self.pinged {
            _ if self.is_paused => None,
            Some(at) => Some((later(at, plan.pong_timeout), NextAction::End(CloseReason::Silent(self.who)))),
            // What cannot be written is no question either.
            None if self.blocked.is_some() => None,
            None => Some((later(self.heard, plan.ping_after), NextAction::Ping(self.who))),
        };
        [self.blocked.map(stalled), sign]
    }
}

/// Passes on what has come from one end, as far as the other has room; `note` is told the size of each message.
fn pass<A: Talk, B: Talk>(
    from: &mut Side<A>,
    to: &mut Side<B>,
    now: Instant,
    cx: &mut Context<'_>,
    mut note: impl FnMut(u64),
) -> Result<(), CloseReason> {
    for turn in 0.. {
        if !to.has_room(now, cx)? {
            from.is_paused = true;
            return Ok(());
        }
        if std::mem::take(&mut from.is_paused) {
            from.hear(now);
        }
        if turn == TURN {
            cx.waker().wake_by_ref();
            break;
        }
        let message = match from.socket.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(message))) => message,
            Poll::Ready(Some(Err(error))) => return Err(CloseReason::of(from.who, &error)),
            Poll::Ready(None) => return Err(CloseReason::Gone(from.who)),
            Poll::Pending => break,
        };
        from.hear(now);
        match message {
            Message::Text(_) | Message::Binary(_) if to.deaf.is_none() => {
                note(message.len() as u64);
                to.write(message, now)?;
            }
            Message::Close(frame) => return Err(CloseReason::Closed(from.who, frame)),
            Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    to.flush(now, cx)
}

#[cfg(test)]
mod tests {
    use futures_util::future::join;
    use proptest::prelude::*;
    use tokio::io::DuplexStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::model::reply::{Framed, Terms};

    const TERMS: Terms = Terms { max_message: 4096, buffer: 1024 };

    fn plan() -> TunnelPlan {
        TunnelPlan {
            max_connections: 1,
            max_per_user: 1,
            max_per_address: 1,
            max_message: TERMS.max_message,
            buffer: TERMS.buffer,
            ping_after: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(300),
            max_lifetime: Duration::from_secs(3600),
            protocols: [].into(),
        }
    }

    type End = Framed<DuplexStream>;

    /// Two ends outside, and the same two inside.
    async fn ends() -> ((End, End), (End, End)) {
        let ((near, caller), (provider, far)) = (tokio::io::duplex(256), tokio::io::duplex(256));
        let outside = (Framed::new(near, Role::Client, TERMS).await, Framed::new(far, Role::Server, TERMS).await);
        let inside = (Framed::new(caller, Role::Server, TERMS).await, Framed::new(provider, Role::Client, TERMS).await);
        (outside, inside)
    }

    /// CloseReason the relay ends, and after how many seconds, while `outside` goes on.
    async fn ended(plan: &TunnelPlan, inside: (End, End), outside: impl Future<Output = ()>) -> (CloseReason, f64) {
        let (tunnels, started) = (Tunnels::default(), Instant::now());
        let mut relay = Relay::new(inside.0, inside.1, plan, &tunnels);
        let outside = async {
            outside.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            why = relay.run() => (why, started.elapsed().as_secs_f64().round()),
            () = outside => unreachable!(),
        }
    }

    /// Reads, and so answers pings.
    async fn listen(end: &mut End) {
        while let Some(Ok(_)) = end.next().await {}
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_given_up_exactly_when_it_has_owed_a_sign_of_life_for_too_long() {
        let ((near, mut far), inside) = ends().await;
        let outcome = ended(&plan(), inside, listen(&mut far)).await;
        assert_eq!(outcome, (CloseReason::Silent(Who::Caller), 30.0));
        drop(near);
        let ((mut near, far), inside) = ends().await;
        let talking = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            near.send(Message::text("hello")).await.unwrap();
            listen(&mut near).await;
        };
        // What the caller says is no sign of its provider.
        assert_eq!(ended(&plan(), inside, talking).await, (CloseReason::Silent(Who::Provider), 30.0));
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn pings_are_signs_of_life_and_no_conversation() {
        let ((mut near, mut far), inside) = ends().await;
        let talking = async {
            let _ = tokio::time::timeout(Duration::from_secs(100), listen(&mut near)).await;
            near.send(Message::text("hello")).await.unwrap();
            listen(&mut near).await;
        };
        let both = async {
            join(talking, listen(&mut far)).await;
        };
        assert_eq!(ended(&plan(), inside, both).await, (CloseReason::Idle, 400.0));
    }

    #[tokio::test(start_paused = true)]
    async fn its_lifetime_ends_a_tunnel_in_the_middle_of_a_conversation() {
        let ((mut near, mut far), inside) = ends().await;
        let talking = async {
            loop {
                tokio::time::sleep(Duration::from_secs(13)).await;
                near.send(Message::text("still here")).await.unwrap();
            }
        };
        // Nobody answers the caller's end's pings, but it speaks.
        let both = async {
            join(talking, listen(&mut far)).await;
        };
        assert_eq!(ended(&plan(), inside, both).await, (CloseReason::Old, 3600.0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_takes_nothing_is_given_up_and_one_that_takes_a_little_is_not() {
        let talk = async |near: &mut End| while near.send(Message::binary(vec![0; 1000])).await.is_ok() {};
        let ((mut near, far), inside) = ends().await;
        assert_eq!(ended(&plan(), inside, talk(&mut near)).await, (CloseReason::Stalled(Who::Provider), 5.0));
        drop(far);
        let ((mut near, mut far), inside) = ends().await;
        let dozing = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                while !far.next().await.unwrap().unwrap().is_binary() {}
            }
        };
        let both = async {
            join(talk(&mut near), dozing).await;
        };
        assert_eq!(ended(&plan(), inside, both).await, (CloseReason::Stalled(Who::Provider), 405.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_said_is_heard_unchanged_and_in_order_and_little_is_held_for_who_does_not_listen(
            said in prop::collection::vec((any::<bool>(), 0usize..4000), 1..40),
            heard_before in 0usize..10,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let ((mut near, mut far), inside) = ends().await;
                let messages: Vec<Message> = said.iter().enumerate().map(|(number, (is_text, length))| match is_text {
                    true => Message::text(format!("{number}").repeat(length / 4)),
                    false => Message::binary(vec![number as u8; *length]),
                }).collect();
                let sent = std::cell::Cell::new(0);
                let talking = async {
                    for message in &messages {
                        near.send(message.clone()).await.unwrap();
                        sent.set(sent.get() + message.len());
                    }
                    near.send(Message::Close(None)).await.unwrap();
                };
                let listening = async {
                    for (number, message) in messages.iter().enumerate() {
                        if number == heard_before {
                            // Long enough to take all that is ever taken, and too short to be given up.
                            tokio::time::sleep(Duration::from_secs(4)).await;
                            let heard: usize = messages[..number].iter().map(Message::len).sum();
                            // Each of three buffers, and a message on its way into each; frames' heads are small.
                            let most = 3 * (TERMS.buffer + TERMS.max_message) + 4 * 256;
                            assert!(sent.get() - heard <= most, "{} bytes are held", sent.get() - heard);
                        }
                        assert_eq!(far.next().await.unwrap().unwrap(), *message);
                    }
                };
                let both = async {
                    join(talking, listening).await;
                };
                assert_eq!(ended(&plan(), inside, both).await.0, CloseReason::Closed(Who::Caller, None));
            });
        }
    }
}
