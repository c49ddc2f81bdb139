//! Flights under random schedules drawn from a seed: followers that join, read, sleep and leave, over a source that
//! is late, breaks or panics. In every schedule: no follower hangs, each gets exactly the response from its
//! beginning, none is told that an incomplete response is complete, and nothing leaks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;

use super::*;
use crate::model::reply::EventKind;
use crate::model::rng::SeededRng;

/// What one source does.
#[derive(Clone, Copy, Debug)]
struct Plan {
    events: usize,
    /// Milliseconds before each event.
    gap: u64,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Complete,
    Broken,
    Panic,
}

fn event(number: usize) -> Event {
    Event::of(number, EventKind::Piece)
}

fn broken() -> Fault {
    Fault::Incomplete { provider: "p".into(), detail: "broken".into() }
}

/// Counts those that live.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn asking(plan: Plan, alive: &Arc<AtomicUsize>) -> Asking {
    alive.fetch_add(1, Ordering::Relaxed);
    let guard = Alive(alive.clone());
    let pause = move || tokio::time::sleep(Duration::from_millis(plan.gap));
    async move {
        pause().await;
        let events = stream::unfold((0, guard), move |(number, guard)| async move {
            pause().await;
            let item = match (number < plan.events, plan.end) {
                (true, _) => Ok(event(number)),
                (false, End::Complete) => return None,
                (false, End::Broken) if number == plan.events => Err(broken()),
                (false, End::Broken) => return None,
                (false, End::Panic) => panic!("on purpose"),
            };
            Some((item, (number + 1, guard)))
        });
        Ok(Arrival::Reply(Box::new(Reply::new("p", Body::Events(Box::pin(events))))))
    }
    .boxed()
}

fn course() -> Course {
    Course { key: EntryKey::parse(&"ab".repeat(32)).unwrap(), form: Form::Events { has_usage: false } }
}

const ANY: Joinable = Joinable { asked_after_ms: 0, answered_within: Duration::MAX };

fn limits(bytes: usize) -> Limits {
    Limits { bytes, all_bytes: usize::MAX, until: Instant::now() + Duration::from_secs(3600) }
}

/// What one follower saw.
#[derive(Debug)]
enum Seen {
    Complete(usize),
    Failed(usize),
    Late(usize),
    Left,
}

/// One follower: comes, reads at its own pace, and may leave.
async fn follow(follower: Follower, pace: u64, leaves_at: Option<Instant>) -> Seen {
    let mut read = 0;
    let reading = async {
        let body = match follower.follow(Deadline::after(Duration::from_secs(7200), Phase::Call)).await {
            Ok(Some(Arrival::Reply(reply))) => reply.body,
            Ok(_) => panic!("an answer of another kind"),
            Err(_) => return Seen::Failed(0),
        };
        let Body::Events(mut events) = body else { panic!("no events") };
        while let Some(item) = events.next().await {
            match item {
                Ok(got) => assert_eq!(got.raw, event(read).raw, "the answer from its beginning, and nothing else"),
                Err(Fault::Incomplete { detail, .. }) if detail.contains("behind") => return Seen::Late(read),
                Err(_) => return Seen::Failed(read),
            }
            read += 1;
            if pace > 0 {
                tokio::time::sleep(Duration::from_millis(pace)).await;
            }
        }
        assert!(events.next().await.is_none());
        Seen::Complete(read)
    };
    match leaves_at {
        None => reading.await,
        Some(at) => tokio::time::timeout_at(at, reading).await.unwrap_or(Seen::Left),
    }
}

/// Plays a seed, and returns what each follower of each source saw.
async fn play(seed: u64, bytes: usize, plan: Plan, followers: usize) -> (Vec<Seen>, usize) {
    let chance = SeededRng::new(seed);
    let below = |limit: u64| chance.bits() % limit;
    let (flights, alive, asked) = (Flights::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..followers {
        let (comes, pace, lasts) = (below(60), below(3) * below(20), below(4));
        let leaves_at = (lasts == 0).then(|| start + Duration::from_millis(comes + below(80)));
        let (flights, alive, asked) = (flights.clone(), alive.clone(), asked.clone());
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(comes)).await;
            let follower = flights.join(course(), 1, ANY, limits(bytes), || {
                asked.fetch_add(1, Ordering::Relaxed);
                asking(plan, &alive)
            });
            follow(follower, pace, leaves_at).await
        });
    }
    let mut seen = Vec::new();
    // Nothing takes longer than a minute: who is still there then was never woken.
    let patience = tokio::time::sleep(Duration::from_secs(60));
    tokio::pin!(patience);
    loop {
        tokio::select! {
            biased;
            done = tasks.join_next() => match done {
                None => break,
                // The one who polled a source that panics.
                Some(Err(fault)) if fault.is_panic() && plan.end == End::Panic => {}
                Some(done) => seen.push(done.unwrap()),
            },
            () = &mut patience => panic!("somebody hangs"),
        }
    }
    assert_eq!(alive.load(Ordering::Relaxed), 0, "a source is left");
    assert_eq!(flights.kept_bytes(), 0, "bytes are still counted");
    assert!(lock(&flights.0.open).is_empty(), "a course is still taken");
    (seen, asked.load(Ordering::Relaxed))
}

fn plan() -> impl Strategy<Value = Plan> {
    let end = prop_oneof![3 => Just(End::Complete), 2 => Just(End::Broken), 1 => Just(End::Panic)];
    (0usize..12, 0u64..12, end).prop_map(|(events, gap, end)| Plan { events, gap, end })
}

fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

proptest! {
    /// Whoever comes, at whatever pace, whoever leaves.
    #[test]
    fn everybody_gets_the_answer_from_its_beginning_or_is_told(
        seed in any::<u64>(),
        plan in plan(),
        followers in 1usize..12,
        bytes in prop_oneof![Just(1usize << 20), 1usize..1000],
    ) {
        let (seen, _) = in_virtual_time(play(seed, bytes, plan, followers));
        for seen in &seen {
            match seen {
                Seen::Complete(read) => prop_assert!(*read == plan.events && plan.end == End::Complete, "{seen:?}"),
                Seen::Failed(read) => prop_assert!(*read <= plan.events && plan.end != End::Complete, "{seen:?}"),
                Seen::Late(read) => prop_assert!(*read < plan.events && bytes < 1000, "{seen:?}"),
                Seen::Left => {}
            }
        }
    }
}

/// The same on several threads in real time: here the schedule is the machine's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_on_many_threads_share_one_and_nobody_is_forgotten() {
    for round in 0..50 {
        let (flights, alive) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
        let asked = Arc::new(AtomicUsize::new(0));
        let plan = Plan { events: 20, gap: 0, end: End::Complete };
        // Held until all are there, so that there is one flight to share.
        let first = flights.join(course(), 1, ANY, limits(1 << 20), || {
            asked.fetch_add(1, Ordering::Relaxed);
            asking(plan, &alive)
        });
        // None begins before all have joined, or the flight may be over before the last one does.
        let join = |_| flights.join(course(), 1, ANY, limits(1 << 20), || unreachable!("there is one already"));
        let followers: Vec<_> = (0..32).map(join).collect();
        let mut tasks = tokio::task::JoinSet::new();
        for (number, follower) in followers.into_iter().enumerate() {
            // Some leave in the middle of it.
            let leaves_at = (number % 4 == 0).then(Instant::now);
            tasks.spawn(follow(follower, 0, leaves_at));
        }
        drop(first);
        let seen = tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await;
        let seen = seen.unwrap_or_else(|_| panic!("round {round}: somebody hangs"));
        assert!(seen.iter().all(|seen| matches!(seen, Seen::Complete(20) | Seen::Left)), "round {round}: {seen:?}");
        assert_eq!((asked.load(Ordering::Relaxed), alive.load(Ordering::Relaxed)), (1, 0));
    }
}

/// A source that becomes ready without waking anyone: only polling finds out.
fn silent(then: fn() -> Option<Result<Event, Fault>>) -> Asking {
    let mut looks = 0;
    let events = stream::poll_fn(move |_| {
        looks += 1;
        match looks {
            1 => Poll::Pending,
            2 => Poll::Ready(then()),
            _ => Poll::Ready(None),
        }
    });
    let reply = Reply::new("p", Body::Events(Box::pin(events)));
    async { Ok(Arrival::Reply(Box::new(reply))) }.boxed()
}

#[tokio::test(start_paused = true)]
async fn who_finds_out_tells_the_others() {
    for then in [(|| Some(Ok(event(0)))) as fn() -> _, || panic!("on purpose")] {
        let flights = Flights::default();
        let join = || flights.join(course(), 1, ANY, limits(1 << 20), || silent(then));
        let first = tokio::task::JoinSet::from_iter([follow(join(), 0, None)]);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let second = tokio::task::JoinSet::from_iter([follow(join(), 0, None)]);
        for mut one in [second, first] {
            let done = tokio::time::timeout(Duration::from_secs(1), one.join_next()).await;
            match done.expect("it was never woken").unwrap() {
                Ok(Seen::Complete(1) | Seen::Failed(0)) => {}
                Err(fault) if fault.is_panic() => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_began_before_a_purge_is_not_joined_after_it() {
    let (flights, alive) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
    let plan = Plan { events: 1, gap: 10, end: End::Complete };
    let join = |now, asked_after_ms| {
        let joinable = Joinable { asked_after_ms, ..ANY };
        flights.join(course(), now, joinable, limits(1 << 20), || asking(plan, &alive))
    };
    let (before, beside, after, late) = (join(5, 0), join(6, 4), join(7, 5), join(8, 5));
    assert_eq!([&before, &beside, &after, &late].map(|follower| follower.is_first), [true, false, true, false]);
    assert_eq!(alive.load(Ordering::Relaxed), 2);
    drop((before, beside));
    // The course is the second one's, and stays so when the first is gone.
    assert!(flights.has(&course()));
    assert!(!join(9, 5).is_first);
}

#[tokio::test(start_paused = true)]
async fn a_flight_grows_old_from_its_answer_on() {
    let (flights, alive) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
    let plan = Plan { events: 9, gap: 1000, end: End::Complete };
    let joinable = Joinable { answered_within: Duration::from_millis(500), ..ANY };
    let join = || flights.join(course(), 1, joinable, limits(1 << 20), || asking(plan, &alive));
    let mut first = tokio::task::JoinSet::from_iter([follow(join(), 0, None)]);
    let wait = |milliseconds| tokio::time::sleep(Duration::from_millis(milliseconds));
    // However long it is asked for.
    wait(999).await;
    assert!(!join().is_first);
    wait(500).await;
    assert!(!join().is_first);
    wait(10).await;
    assert!(join().is_first);
    assert!(matches!(first.join_next().await, Some(Ok(Seen::Complete(9)))));
}

#[tokio::test(start_paused = true)]
async fn only_so_much_is_kept_for_late_comers_of_all_flights_together() {
    let (flights, alive) = (Flights::default(), Arc::new(AtomicUsize::new(0)));
    let plan = Plan { events: 1000, gap: 0, end: End::Complete };
    let limits = Limits { all_bytes: 2_000, ..limits(1 << 20) };
    let follower = flights.join(course(), 1, ANY, limits, || asking(plan, &alive));
    assert!(matches!(follow(follower, 0, None).await, Seen::Complete(1000)));
    assert_eq!(flights.kept_bytes(), 0);
}

#[test]
fn a_key_is_renewed_by_one_at_a_time_and_only_so_many_at_once() {
    let flights = Flights::default();
    let key = |number: u8| EntryKey::parse(&format!("{number:02x}").repeat(32)).unwrap();
    let held: Vec<_> = (0..RENEWALS as u8).map(|number| flights.renew(key(number)).unwrap()).collect();
    assert!(flights.renew(key(0)).is_none() && flights.renew(key(RENEWALS as u8)).is_none());
    drop(held);
    assert!(flights.renew(key(0)).is_some());
}

#[test]
fn a_response_that_has_come_whole_is_not_broken_by_the_end_of_its_callers_time() {
    const DONE: &[u8] = b"data: [DONE]\n\n";
    let cases: [(Option<&'static [u8]>, &[&str]); 3] = [
        (None, &["data: 0\n\n", ": ping\n\n", "deadline_exceeded"]),
        (Some(b""), &["data: 0\n\n", ": ping\n\n"]),
        (Some(DONE), &["data: 0\n\n", ": ping\n\n", "data: [DONE]\n\n"]),
    ];
    for (rest, wanted) in cases {
        let seen = in_virtual_time(async {
            let asking = async move {
                let ping = sse::event(Bytes::from_static(b": ping\n\n"), EventKind::Comment);
                let come = stream::iter([Ok(Event { rest, ..event(0) }), Ok(ping)]).chain(stream::pending());
                Ok(Arrival::Reply(Box::new(Reply::new("p", Body::Events(Box::pin(come))))))
            };
            let follower = Flights::default().join(course(), 1, ANY, limits(1 << 20), || asking.boxed());
            let arrival = follower.follow(Deadline::after(Duration::from_secs(1), Phase::Call)).await;
            let Ok(Some(Arrival::Reply(reply))) = arrival else { panic!("no reply") };
            let Body::Events(events) = reply.body else { panic!("no events") };
            let said = |item: Result<Event, Fault>| match item {
                Ok(event) => String::from_utf8(event.raw.to_vec()).unwrap(),
                Err(fault) => fault.code().into(),
            };
            events.map(said).collect::<Vec<_>>().await
        });
        assert_eq!(seen, wanted, "{rest:?}");
    }
}
