//! Fronts: addresses that carry many clients, because they belong to a proxy or load balancer that
//! `server.trusted_proxies` does not list. Counting such an address as one caller would rate-limit everyone behind
//! it.
//!
//! It knows addresses and counts, in bounded memory, and no rule. Only private addresses can be fronts, so that no
//! client on the internet escapes a rate limit by forging headers; the server makes that decision.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::names::customer;
use crate::model::time;
use crate::telemetry::metrics::sampled::Samples;

/// Addresses that are remembered as possible fronts; the one that was silent longest makes place for another.
const MOST: usize = 1024;
/// How many different clients one address must have named lately to be a front.
const SEVERAL: usize = 2;
/// How long a client that was named counts.
const LATELY: Duration = Duration::from_secs(3600);
/// The window over which shares of calls are computed. Then counting restarts.
const WINDOW: Duration = Duration::from_secs(900);
/// With fewer calls in that time no share is worth a word.
const ENOUGH: u64 = 20;
/// Addresses whose calls are counted one by one in a window; calls of others count only in the whole.
const COUNTED: usize = 256;
/// How often at most operators are told the same.
const AGAIN: Duration = Duration::from_secs(3600);

/// What is known of addresses. Shared by its clones, and outlives the gateway that uses it.
#[derive(Clone, Debug, Default)]
pub struct Fronts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    fronts: BTreeMap<IpAddr, Front>,
    window: Option<Window>,
    told: [Option<Instant>; 2],
}

/// One address of a private network that names clients.
#[derive(Debug, Default)]
struct Front {
    clients: [Option<(IpAddr, Instant)>; SEVERAL],
}

impl Front {
    fn named(&mut self, client: IpAddr, now: Instant) {
        let known = self.clients.iter().position(|it| it.is_some_and(|(known, _)| known == client));
        let oldest = || (0..SEVERAL).min_by_key(|at| self.clients[*at].map(|(_, seen)| seen)).unwrap_or(0);
        let at = known.unwrap_or_else(oldest);
        self.clients[at] = Some((client, now));
    }

    fn has_many(&self, now: Instant) -> bool {
        self.clients.iter().all(|it| it.is_some_and(|(_, seen)| now.saturating_duration_since(seen) < LATELY))
    }

    fn last_seen(&self) -> Option<Instant> {
        self.clients.iter().flatten().map(|(_, seen)| *seen).max()
    }
}

/// Calls that were counted by address, lately.
#[derive(Debug)]
struct Window {
    began: Instant,
    all: u64,
    by_address: BTreeMap<IpAddr, u64>,
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, all: 0, by_address: BTreeMap::new() }
    }

    /// Counts one more, and returns the share of its address.
    fn note(&mut self, address: IpAddr) -> f64 {
        self.all += 1;
        let has_room = self.by_address.len() < COUNTED;
        let count = match self.by_address.get_mut(&address) {
            Some(count) => {
                *count += 1;
                *count
            }
            None if has_room => {
                self.by_address.insert(address, 1);
                1
            }
            None => 0,
        };
        count as f64 / self.all as f64
    }

    fn busiest(&self) -> f64 {
        let most = self.by_address.values().max().copied().unwrap_or(0);
        if self.all < ENOUGH { 0.0 } else { most as f64 / self.all as f64 }
    }
}

/// Counts, for those who look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrontsReport {
    /// Addresses for which limits by address are not enforced.
    pub fronts: usize,
    /// The share of the busiest address in the calls that are counted by address; 0 while these are few.
    pub busiest: f64,
}

impl Fronts {
    /// True when many callers come through this address of a private network, which names `client` as the one it acts for.
    pub fn has_many(&self, address: IpAddr, client: Option<IpAddr>) -> bool {
        let (address, now) = (customer(address), time::now());
        let mut state = self.0.lock();
        if let Some(client) = client {
            state.room_for(address);
            state.fronts.entry(address).or_default().named(client, now);
        }
        let has_many = state.fronts.get(&address).is_some_and(|front| front.has_many(now));
        let is_news = has_many && state.is_news(0, now);
        drop(state);
        if is_news {
            tracing::warn!(
                %address,
                "this address forwards calls of many clients but is not in server.trusted_proxies, so rate limits by address \
                 are not enforced for it. Add its network to server.trusted_proxies to count its clients separately"
            );
        }
        has_many
    }

    /// Notes a call that is counted by its address, because nothing better is known of its caller. Operators are told when most
    /// of these come from one address.
    pub fn note(&self, address: IpAddr) {
        let (address, now) = (customer(address), time::now());
        let mut state = self.0.lock();
        let window = state.window.get_or_insert_with(|| Window::new(now));
        if now.saturating_duration_since(window.began) >= WINDOW {
            *window = Window::new(now);
        }
        let share = window.note(address);
        let is_news = window.all >= ENOUGH && share > 0.5 && state.is_news(1, now);
        drop(state);
        if is_news {
            tracing::warn!(
                %address,
                "more than half of the calls counted by address come from this one. If it is a proxy or load balancer, add \
                 its network to server.trusted_proxies: until then all callers behind it count as one"
            );
        }
    }

    /// Counts.
    pub fn report(&self) -> FrontsReport {
        let (state, now) = (self.0.lock(), Instant::now());
        FrontsReport {
            fronts: state.fronts.values().filter(|front| front.has_many(now)).count(),
            busiest: state.window.as_ref().map_or(0.0, Window::busiest),
        }
    }
}

impl State {
    /// Makes sure that this address can be remembered.
    fn room_for(&mut self, address: IpAddr) {
        if self.fronts.len() < MOST || self.fronts.contains_key(&address) {
            return;
        }
        let silent = self.fronts.iter().min_by_key(|(_, front)| front.last_seen()).map(|(address, _)| *address);
        if let Some(silent) = silent {
            self.fronts.remove(&silent);
        }
    }

    /// True once in a while for each kind of news.
    fn is_news(&mut self, kind: usize, now: Instant) -> bool {
        let is_due = self.told[kind].is_none_or(|told| now.saturating_duration_since(told) >= AGAIN);
        if is_due {
            self.told[kind] = Some(now);
        }
        is_due
    }
}

/// What metrics show of addresses that many callers share.
pub fn sampled(fronts: Fronts) -> impl Fn(&mut Samples<'_>) {
    move |samples| {
        let report = fronts.report();
        let help = "Proxy addresses missing from server.trusted_proxies; limits by address are not enforced for them";
        samples.gauge("tidegate_limit_shared_addresses", help, report.fronts);
        let help = "Share of the busiest address in calls counted by address, last 15 minutes; 0 below 20 calls";
        samples.gauge("tidegate_limit_busiest_address_ratio", help, report.busiest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages that are logged.
    #[derive(Clone, Default)]
    struct LogCapture(Arc<Mutex<String>>);

    impl std::io::Write for LogCapture {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().push_str(&String::from_utf8_lossy(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn operators_are_told_what_to_set_and_not_too_often() {
        let logged = LogCapture::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let warnings = || logged.0.lock().matches("server.trusted_proxies").count();
        let fronts = Fronts::default();
        for client in 1..100u8 {
            fronts.has_many(address("10.0.0.1"), Some(IpAddr::from([192, 0, 2, client])));
        }
        // One line names the key twice.
        assert_eq!(warnings(), 2, "{}", logged.0.lock());
        for _ in 0..100 {
            fronts.note(address("203.0.113.1"));
        }
        assert_eq!(warnings(), 3, "{}", logged.0.lock());
        tokio::time::advance(AGAIN).await;
        (0..ENOUGH).for_each(|_| fronts.note(address("203.0.113.1")));
        assert_eq!(warnings(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_of_callers_that_share_the_calls() {
        let fronts = Fronts::default();
        for number in 0..200u32 {
            fronts.note(IpAddr::V4((number % 3).into()));
        }
        assert!(fronts.0.lock().told[1].is_none());
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_names_several_clients_is_a_front_while_it_does() {
        let (fronts, balancer) = (Fronts::default(), address("10.0.0.1"));
        let one = Some(address("192.0.2.1"));
        assert!(!fronts.has_many(balancer, None));
        assert!(!fronts.has_many(balancer, one));
        assert!(!fronts.has_many(balancer, one), "the same client again");
        assert!(fronts.has_many(balancer, Some(address("192.0.2.2"))));
        assert!(fronts.has_many(balancer, None), "whoever else comes through it");
        assert!(!fronts.has_many(address("10.0.0.2"), one), "another address is another matter");
        assert_eq!(fronts.report().fronts, 1);
        tokio::time::advance(LATELY).await;
        assert!(!fronts.has_many(balancer, one));
        assert_eq!(fronts.report().fronts, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_addresses_is_bounded_and_the_silent_ones_go_first() {
        let fronts = Fronts::default();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        fronts.has_many(address("10.255.0.1"), Some(one));
        for number in 0..u32::try_from(MOST).unwrap() * 2 {
            tokio::time::advance(Duration::from_millis(1)).await;
            fronts.has_many(address("10.255.0.1"), Some(if number % 2 == 0 { one } else { other }));
            fronts.has_many(IpAddr::V4((0x0a00_0000 + number).into()), Some(one));
        }
        assert_eq!(fronts.0.lock().fronts.len(), MOST);
        assert!(fronts.has_many(address("10.255.0.1"), None), "it was never silent");
    }

    #[tokio::test(start_paused = true)]
    async fn the_busiest_address_is_known_once_there_are_enough_calls() {
        let fronts = Fronts::default();
        for number in 0..ENOUGH - 1 {
            fronts.note(if number % 4 == 0 { address("192.0.2.1") } else { address("192.0.2.2") });
        }
        assert_eq!(fronts.report().busiest, 0.0);
        fronts.note(address("192.0.2.2"));
        assert!(fronts.report().busiest > 0.7);
        for number in 0..10_000u32 {
            fronts.note(IpAddr::V4(number.into()));
        }
        let counted = fronts.0.lock().window.as_ref().map(|window| window.by_address.len());
        assert_eq!(counted, Some(COUNTED));
        assert!(fronts.report().busiest < 0.1);
        tokio::time::advance(WINDOW).await;
        fronts.note(address("192.0.2.2"));
        assert_eq!(fronts.report().busiest, 0.0);
    }
}
