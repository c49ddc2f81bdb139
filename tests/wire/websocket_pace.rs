//! What the gateway adds to the way of a frame: prints it, beside the same conversation without a gateway in the same run.
//!
//! Asked for by `make frame-latency` only. It judges nothing: how long anything takes depends on what else the machine does.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::SinkExt;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::program::{Folder, Program};
use crate::talk::{VOICE, Ws, ask, config, echo, heard};

/// 20 ms of speech: 24 kHz, 16 bits.
const FRAME: usize = 960;

const ROUNDS: usize = 9;
const FRAMES: usize = 2000;

/// How long each of these frames takes to the provider and back.
async fn round_trips(near: &mut Ws) -> Vec<Duration> {
    let mut took = Vec::with_capacity(FRAMES);
    for _ in 0..FRAMES {
        let message = Message::binary(vec![7; FRAME]);
        let started = Instant::now();
        near.send(message).await.expect("the other end listens");
        heard(near).await;
        took.push(started.elapsed());
    }
    took.sort_unstable();
    took
}

async fn open(address: SocketAddr) -> Ws {
    ask(address, VOICE, &[]).await.expect("it agrees").0
}

/// Microseconds at this share of the sorted times.
fn at(times: &[Duration], share: f64) -> f64 {
    times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6
}

#[ignore = "prints, and judges nothing: make frame-latency"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_frame_costs() {
    let (provider, _echo) = echo().await;
    let folder = Folder::new("websocket-pace");
    folder.write("gateway.toml", &config(&[provider], "", "[server]\nport = 0\nadmin = \"off\"\n"));
    let variables = [("VOICE_KEY", "sk-voice"), ("REALTIME_KEY", "sk-realtime")];
    let program = Program::start(&folder, &["serve", "--config", "gateway.toml"], &variables).await;
    let (mut direct, mut through) = (open(provider).await, open(program.address).await);
    round_trips(&mut direct).await;
    round_trips(&mut through).await;
    let mut added = Vec::with_capacity(ROUNDS);
    println!("frames of {FRAME} bytes, {FRAMES} there and back a round, in microseconds");
    for round in 1..=ROUNDS {
        let (alone, behind) = (round_trips(&mut direct).await, round_trips(&mut through).await);
        let (alone, behind, tail) = (at(&alone, 0.5), at(&behind, 0.5), at(&behind, 0.99));
        // Each round trip has two frames.
        added.push(((behind - alone) / 2.0, behind / alone));
        println!("round {round}: direct {alone:.0}, through the gateway {behind:.0} (p99 {tail:.0})");
    }
    added.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (least, median, most) = (added[0], added[ROUNDS / 2], added[ROUNDS - 1]);
    println!(
        "added to a frame, median of the rounds: {:.0} us (from {:.0} to {:.0}); a round trip takes {:.2} times as long",
        median.0, least.0, most.0, median.1
    );
}
