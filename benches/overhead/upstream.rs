//! The provider: answers chat calls at once, and streams at a pace.
//!
//! It does not know who asks: a caller, a proxy or the gateway.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};

use crate::Fault;
use crate::wire::{EVENTS, PACE, STREAM_FLAG, chat_response, read_head, stream_head, write_event};

/// Answers for ever.
pub(crate) async fn accept(listener: TcpListener) -> Result<(), Fault> {
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection that breaks off has lost its proxy: whoever asked notices.
        tokio::task::spawn_local(async move { drop(answer(stream).await) });
    }
}

async fn answer(mut stream: TcpStream) -> Result<(), Fault> {
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
        match memchr::memmem::find(&asked[..length], STREAM_FLAG) {
            None => stream.write_all(&whole).await?,
            Some(_) => send_events(&mut stream).await?,
        }
        asked.drain(..length);
    }
}

async fn send_events(stream: &mut TcpStream) -> Result<(), Fault> {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream.write_all(&stream_head()).await?;
    let mut chunk = String::with_capacity(512);
    for index in 0..EVENTS {
        ticks.tick().await;
        chunk.clear();
        write_event(&mut chunk, index, wall_clock().as_nanos());
        stream.write_all(chunk.as_bytes()).await?;
    }
    Ok(())
}

/// Time since 1970: the one clock that two processes share.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn wall_clock() -> Duration {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
