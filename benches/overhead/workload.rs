//! The workloads: how many callers ask what at once, and who can answer it.
//!
//! It knows no byte of what they send.

use serde::{Deserialize, Serialize};

use crate::contender::Contender;
use crate::wire::{Pace, Question};

/// What is measured in one row of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Workload {
    /// Chat calls over a few connections.
    Chat,
    /// Chat calls over many.
    Crowd,
    /// Chat calls over one, so that each meets a proxy that does nothing else.
    Alone,
    /// Chat calls that are answered from a cache.
    Hit,
    /// Streams whose next event leaves when the caller has the one before: as fast as the proxy lets them.
    Events,
    /// A thousand streams with an event a second each: nearly every one wakes the proxy.
    Slow,
}

impl Workload {
    /// In the order of the report.
    pub(crate) const ALL: [Self; 6] = [Self::Chat, Self::Crowd, Self::Alone, Self::Hit, Self::Events, Self::Slow];

    /// As the report calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Chat => "chat call of 1 KB each way, 16 connections",
            Self::Crowd => "chat call, 64 connections",
            Self::Alone => "chat call, one connection",
            Self::Hit => "cache hit of 1 KB, 16 connections",
            Self::Events => "event of a stream, back to back, 64 streams",
            Self::Slow => "event of a stream, one a second, 1,000 streams",
        }
    }

    /// Requests at once.
    pub(crate) fn concurrency(self) -> usize {
        match self {
            Self::Chat | Self::Hit => 16,
            Self::Crowd | Self::Events => 64,
            Self::Alone => 1,
            Self::Slow => 1000,
        }
    }

    /// What is asked on connection `number`.
    pub(crate) fn question(self, number: usize) -> Question {
        match self {
            Self::Chat | Self::Crowd | Self::Alone => Question::Chat,
            Self::Hit => Question::Repeated,
            Self::Events => Question::Stream(Pace::Arrival, number),
            Self::Slow => Question::Stream(Pace::Second, number),
        }
    }

    /// True where events count, not calls.
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Self::Events | Self::Slow)
    }

    /// Who is asked, in the order of the report.
    pub(crate) fn contenders(self) -> &'static [Contender] {
        match self {
            Self::Hit => &[Contender::NginxCache, Contender::HyperServer, Contender::Gateway],
            Self::Alone => &[Contender::Direct, Contender::Nginx, Contender::Hyper, Contender::Gateway],
            _ => &[Contender::Nginx, Contender::Hyper, Contender::Gateway],
        }
    }
}
