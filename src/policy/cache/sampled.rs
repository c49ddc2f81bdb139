//! Metrics of the cache that are read at scrape: entries in this process, responses in flight, and the shared
//! store.

use std::sync::Arc;

use super::cluster::{Cluster, ClusterTally};
use super::flight::Flights;
use super::memory::Entries;
use crate::telemetry::metrics::sampled::Samples;

/// Reads it all.
pub fn sampled(entries: Entries, flights: Flights, cluster: Option<Arc<Cluster>>) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let fill = entries.fill();
        samples.gauge("tidegate_cache_bytes", "Memory held by cached responses", fill.bytes);
        let help = "Memory held by requests that were answered from the cache, so that they are recognised when they come again";
        samples.gauge("tidegate_cache_requests_bytes", help, fill.requests);
        samples.gauge("tidegate_cache_entries", "Cached responses in memory", fill.entries);
        let help = "Cached responses evicted because the cache was full";
        samples.counter("tidegate_cache_evictions_total", help, fill.evicted);
        let help = "Memory held by responses that several callers share while they arrive";
        samples.gauge("tidegate_cache_flights_bytes", help, flights.kept_bytes());
        let lookups = cluster.iter().flat_map(|cluster| {
            let ClusterTally { found, missed, spoilt, failed, waited } = cluster.tally();
            [(["found"], found), (["missed"], missed), (["spoilt"], spoilt), (["failed"], failed), (["waited"], waited)]
        });
        samples.counters("tidegate_cache_shared_total", "Shared cache lookups by result", ["result"], lookups);
        let is_up = cluster.as_ref().is_some_and(|cluster| !cluster.redis().is_out());
        samples.gauge("tidegate_cache_shared_up", "1 while the shared cache responds", u32::from(is_up));
    }
}
