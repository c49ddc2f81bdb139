//! The provider: answers chat calls at once, and streams at the pace that is asked for.
//!
//! It does not know who asks: a caller, a proxy or the gateway.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::ReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::Fault;
use crate::arrivals::Arrivals;
use crate::wire::{EVENTS, Pace, Question, chat_response, read_head, stream_head, write_event};

/// The time between two events of a slow stream.
const SLOW: Duration = Duration::from_secs(1);

/// Streams that are spread evenly over that time, by their numbers.
const SPREAD: usize = 1000;

/// Answers for ever.
pub(crate) async fn accept(listener: TcpListener, arrivals: Rc<Arrivals>) -> Result<(), Fault> {
    loop {
        let (stream, _) = listener.accept().await?;
        let arrivals = arrivals.clone();
        // A connection that breaks off has lost its proxy: whoever asked notices.
        tokio::task::spawn_local(async move { drop(answer(stream, &arrivals).await) });
    }
}

async fn answer(mut stream: TcpStream, arrivals: &Arrivals) -> Result<(), Fault> {
    stream.set_nodelay(true)?;
    let whole = chat_response();
    let mut asked = Vec::with_capacity(4096);
    loop {
        let length = loop {
            if let Some((head, body)) = read_head(&asked)
                && asked.len() >= head + body
            {
                break head + body;
            }
            if stream.read_buf(&mut asked).await? == 0 {
                return Ok(());
            }
        };
        match Question::stream(&asked[..length]) {
            None => stream.write_all(&whole).await?,
            Some((pace, number)) => send_events(&mut stream, arrivals, pace, number).await?,
        }
        asked.drain(..length);
    }
}

async fn send_events(stream: &mut TcpStream, arrivals: &Arrivals, pace: Pace, number: usize) -> Result<(), Fault> {
    let (mut requests, mut answers) = stream.split();
    let arrived = arrivals.of(number);
    let first = Instant::now() + SLOW * (number % SPREAD) as u32 / SPREAD as u32;
    let mut seconds = interval_at(first, SLOW);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Of the last event of the stream before, on the same connection.
    arrived.forget_permits(usize::MAX);
    // The head leaves with the first word, and so does the event that says only that a stream has begun.
    let mut chunk = String::from_utf8(stream_head())?;
    write_event(&mut chunk, 0, wall_clock().as_nanos());
    for index in 1..EVENTS {
        let under_way = match index {
            1 => 0,
            2 => 2,
            _ => 1,
        };
        let next = async {
            match pace {
                Pace::Second if index > 1 => {
                    seconds.tick().await;
                    Ok(())
                }
                _ => arrived.acquire_many(under_way).await.map(|permits| permits.forget()),
            }
        };
        tokio::select! {
            next = next => next?,
            fault = gone(&mut requests) => return Err(fault),
        }
        write_event(&mut chunk, index, wall_clock().as_nanos());
        answers.write_all(chunk.as_bytes()).await?;
        chunk.clear();
    }
    Ok(())
}

/// Waits until nobody wants this stream. A proxy sends nothing more while it waits for one.
async fn gone(requests: &mut ReadHalf<'_>) -> Fault {
    match requests.read(&mut [0]).await {
        Ok(0) => "the proxy has hung up".into(),
        Ok(_) => "the proxy asks while it is being answered".into(),
        Err(fault) => fault.into(),
    }
}

/// Time since 1970: the one clock that two processes share.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn wall_clock() -> Duration {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
