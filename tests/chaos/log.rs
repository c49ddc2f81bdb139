//! Log: what the provider was asked, in its order, and what happened meanwhile. All that is judged is judged by it.
//!
//! It does not know what is right.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::provider::{Following, Provider};
use crate::words::{DONE, FINISH, LAST_CHUNK, chunk, event};

/// The shortest time that an answer takes, and the most that chance adds.
const ANSWER: Duration = Duration::from_millis(20);
const MORE: u64 = 40;

/// Each connection serves one call: none is idle when its gateway dies.
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\
                    transfer-encoding: chunked\r\n\r\n";

/// One line.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// The provider was asked to do this job.
    Asked(String),
    /// Something died, woke or was paused.
    Event,
}

/// All lines. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Line>>>);

impl Log {
    /// Adds a line; returns its number.
    pub(crate) fn add(&self, line: Line) -> usize {
        let mut lines = self.0.lock();
        lines.push(line);
        lines.len() - 1
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// The lines from this one on.
    pub(crate) fn since(&self, from: usize) -> Vec<Line> {
        self.0.lock()[from..].to_vec()
    }
}

/// A provider that writes this log. Each answer names the line that says it was asked.
pub(crate) struct Witness {
    following: Following,
}

impl Witness {
    pub(crate) async fn start(log: &Log) -> Self {
        let log = log.clone();
        let following = Provider::start().await.follow(move |mut socket, request| {
            let log = log.clone();
            Box::pin(async move {
                let text = request.text();
                let name = text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).expect("a job's name").0;
                let line = log.add(Line::Asked(name.to_owned()));
                tokio::time::sleep(ANSWER + Duration::from_millis(line as u64 * 7919 % MORE)).await;
                let said = event(&format!("<{name}> {line}"));
                let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\
                             \"total_tokens\":2}}\n\n";
                let mut answer = HEAD.as_bytes().to_vec();
                [said.as_str(), FINISH, usage, DONE].iter().for_each(|event| answer.extend(chunk(event)));
                answer.extend_from_slice(LAST_CHUNK.as_bytes());
                // Whoever asked may be dead.
                let _ = socket.try_send(answer).await;
                None
            })
        });
        Self { following }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.following.address
    }
}
