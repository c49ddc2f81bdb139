//! The simulated Redis answers what a real server answers: the same sequences of commands and scripts are sent to both.
//!
//! Scripts are production's. Only the time is the test's: `TIME` is replaced in their texts by a moment that both are told.
//! Times to live are hours, and compared to the minute.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Value, cmd};
use tidegate::model::rng::SeededRng;
use tidegate::model::time::WallClock;
use tidegate::state::store::redis::simulated::{Connection, Door, Latency, SimulatedRedis};

use crate::server::Server;

macro_rules! script {
    ($path:literal) => {
        include_str!(concat!("../../src/state/", $path, ".lua"))
    };
}

/// What is sent, and how the answers are compared.
#[derive(Clone)]
struct Step {
    words: Vec<Vec<u8>>,
    look: Look,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&shown(&self.words))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Look {
    /// As they are.
    Exact,
    /// Names and values in turns, of which no order is promised; also within a list.
    Pairs,
    /// A time to live, which goes on meanwhile.
    Left,
}

/// Texts that keys and fields hold: numbers in all spellings, and anything else.
fn text() -> impl Strategy<Value = Vec<u8>> + Clone {
    let known = [
        "",
        "0",
        "-0",
        "1",
        "-5",
        "007",
        "+1",
        " 1",
        "1.5",
        "nan",
        "inf",
        "-1e300",
        "0x10",
        "9223372036854775807",
        "-9223372036854775808",
        "999999999999999999",
        "1767225600123456.789",
        "word",
        "x y",
    ];
    prop_oneof![
        4 => select(known.map(|text| text.as_bytes().to_vec()).to_vec()),
        1 => vec(any::<u8>(), 0..6),
        2 => any::<i32>().prop_map(|number| number.to_string().into_bytes()),
    ]
}

fn number() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        5 => (-1_000_000_i64..1_000_000).prop_map(|number| number.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => text(),
    ]
}

fn whole() -> impl Strategy<Value = Vec<u8>> {
    any::<i32>().prop_map(|number| number.to_string().into_bytes())
}

fn key() -> impl Strategy<Value = Vec<u8>> + Clone {
    select(["{k}a", "{k}b", "{k}c"].map(|key| key.as_bytes().to_vec()).to_vec())
}

/// Milliseconds of hours, so far apart that a minute makes no difference.
fn long() -> impl Strategy<Value = Vec<u8>> + Clone {
    select(["3600000", "7200000", "100000000"].map(|time| time.as_bytes().to_vec()).to_vec())
}

fn field() -> impl Strategy<Value = Vec<u8>> + Clone {
    select(["", "f", "g", "all", "route x", "#"].map(|field| field.as_bytes().to_vec()).to_vec())
}

fn one_of(words: &[&str]) -> impl Strategy<Value = Vec<u8>> + Clone {
    select(words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
}

/// Words that begin with a name.
fn command(name: &'static str, rest: impl Strategy<Value = Vec<Vec<u8>>> + 'static, look: Look) -> BoxedStrategy<Step> {
    rest.prop_map(move |mut words| {
        words.insert(0, name.into());
        Step { words, look }
    })
    .boxed()
}

/// One word of each strategy.
macro_rules! words {
    ($($word:expr),* $(,)?) => { vec![$($word.boxed()),*] };
}

fn plain() -> impl Strategy<Value = Step> {
    let c = |name, rest: Vec<BoxedStrategy<Vec<u8>>>| command(name, rest, Look::Exact);
    let score = || prop_oneof![whole(), one_of(&["inf", "-inf", "1.25", "(5", "(x", "(-inf", "+inf"])].boxed();
    Union::new_weighted(vec![
        (4, c("SET", words![key(), text()])),
        (3, c("SET", words![key(), text(), one_of(&["PX", "px"]), long()])),
        (2, c("SET", words![key(), text(), one_of(&["NX"]), one_of(&["PX"]), long()])),
        (1, c("SET", words![key(), text(), one_of(&["NX", "PX", "nonsense"])])),
        (1, c("SET", words![key(), text(), one_of(&["PX"]), one_of(&["0", "-1", "x", "9223372036854775807"])])),
        (2, c("GET", words![key()])),
        (2, c("MGET", words![key(), key()])),
        (2, c("STRLEN", words![key()])),
        (2, c("TYPE", words![key()])),
        (2, c("EXISTS", words![key(), key()])),
        (1, c("DEL", words![key()])),
        (1, c("UNLINK", words![key(), key()])),
        (3, c("INCRBY", words![key(), number()])),
        (3, c("HSET", words![key(), field(), text()])),
        (1, c("HSET", words![key(), field(), text(), field(), text()])),
        (1, c("HSET", words![key(), field(), text(), field()])),
        (2, c("HGET", words![key(), field()])),
        (1, c("HDEL", words![key(), field(), field()])),
        (1, c("HEXISTS", words![key(), field()])),
        (1, c("HLEN", words![key()])),
        (2, c("HINCRBY", words![key(), field(), number()])),
        (2, command("HGETALL", words![key()], Look::Pairs)),
        (2, c("ZADD", words![key(), score(), field()])),
        (1, c("ZCARD", words![key()])),
        (1, c("ZREMRANGEBYSCORE", words![key(), score(), score()])),
        (2, c("PEXPIRE", words![key(), long()])),
        (1, c("PEXPIRE", words![key(), one_of(&["0", "-1", "x", "9223372036854775807"])])),
        (2, command("PTTL", words![key()], Look::Left)),
        (1, c("GET", words![])),
        (1, c("PUBLISH", words![key(), text()])),
        (1, c("EVALSHA", words![one_of(&["0123456789012345678901234567890123456789"]), one_of(&["0"])])),
    ])
}

/// A script with its keys and arguments, at a moment that is told.
fn script(
    text: &'static str,
    keys: Vec<BoxedStrategy<Vec<u8>>>,
    arguments: impl Strategy<Value = Vec<Vec<u8>>> + 'static,
    look: Look,
) -> BoxedStrategy<Step> {
    let moment = (0_i64..3, 0_i64..1_000_000).prop_map(|(day, micros)| (1_790_000_000 + day * 86_400, micros));
    (keys, arguments, moment)
        .prop_map(move |(keys, arguments, (seconds, micros))| {
            let text = text.replace("redis.call('TIME')", &format!("{{ '{seconds}', '{micros}' }}"));
            let mut words = vec![b"EVAL".to_vec(), text.into_bytes(), keys.len().to_string().into_bytes()];
            words.extend(keys.into_iter().chain(arguments));
            Step { words, look }
        })
        .boxed()
}

/// Microseconds with their thousandths, as limits send them.
fn micros(most: u64) -> impl Strategy<Value = Vec<u8>> + Clone {
    (0..most, 0..1_000_u32).prop_map(|(whole, rest)| format!("{whole}.{rest:03}").into_bytes())
}

/// So much that what is owed lives for hours.
fn capacity() -> impl Strategy<Value = Vec<u8>> + Clone {
    one_of(&["3600000000.000", "7200000000.500", "90000000000.000"])
}

fn flag() -> impl Strategy<Value = Vec<u8>> + Clone {
    one_of(&["0", "1"])
}

fn flat(rows: impl Strategy<Value = Vec<Vec<Vec<u8>>>>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    rows.prop_map(|rows| rows.into_iter().flatten().collect())
}

fn production() -> impl Strategy<Value = Step> {
    let hour = 4_000_000_000;
    let rule = move || words![micros(hour), capacity(), flag(), prop_oneof![micros(hour), one_of(&["0.000"])], flag()];
    let latest = || {
        prop_oneof![
            one_of(&["0"]),
            (0_i64..3).prop_map(|day| (1_790_000_000_500 + day * 86_400_000).to_string().into_bytes())
        ]
    };
    let nanos = || (0_i64..50).prop_map(|amount| (amount * 1_000_000_000).to_string().into_bytes());
    let change = || (-20_i64..20).prop_map(|amount| (amount * 1_000_000_000).to_string().into_bytes());
    let account = move || words![nanos(), nanos(), flag(), change(), nanos(), long()];
    let draw = move |count: usize| {
        let accounts = flat((0..count).map(|_| account()).collect::<Vec<_>>());
        let arguments = (latest(), accounts).prop_map(|(latest, mut all)| {
            all.insert(0, latest);
            all
        });
        script(script!("store/redis/draw"), (0..count).map(|_| key().boxed()).collect(), arguments, Look::Exact)
    };
    let take = move |count: usize| {
        let rules = flat((0..count).map(|_| rule()).collect::<Vec<_>>());
        script(script!("store/redis/take"), (0..count).map(|_| key().boxed()).collect(), rules, Look::Exact)
    };
    let word = || one_of(&["w1", "w2", "w3"]);
    let row = || {
        let name = || one_of(&["[\"a\"]", "[\"b\"]", "[]"]);
        let sum = || prop_oneof![number(), one_of(&["0"])];
        words![name(), name(), name(), sum(), sum(), sum(), sum(), sum(), sum(), sum(), sum(), sum()]
    };
    let add = (
        words![one_of(&["1", "2", "3", "4", "5"]), long(), long(), one_of(&["3"]), flag(), flag()],
        flat(vec(row(), 0..3)),
    )
        .prop_map(|(head, rows)| head.into_iter().chain(rows).collect::<Vec<_>>());
    let all = || one_of(&["all"]);
    Union::new_weighted(vec![
        (4, take(1)),
        (3, take(2)),
        (
            2,
            script(
                script!("store/redis/settle"),
                words![key()],
                words![micros(hour), micros(hour), one_of(&["23000000000000", "0"]), capacity()],
                Look::Exact,
            ),
        ),
        (3, draw(1)),
        (3, draw(2)),
        (2, script(script!("store/redis/beat"), words![key()], words![word(), long()], Look::Exact)),
        (2, script(script!("store/redis/hold"), words![key()], words![word(), long()], Look::Exact)),
        (1, script(script!("store/redis/renew"), words![key()], words![word(), long()], Look::Exact)),
        (1, script(script!("store/redis/release"), words![key()], words![word()], Look::Exact)),
        (2, script(script!("store/redis/fetch"), words![key()], words![one_of(&["1", "5", "1000"])], Look::Exact)),
        (
            2,
            script(
                script!("store/redis/raise"),
                words![key()],
                words![field(), number(), word(), one_of(&["1", "2", "9"]), long(), all()],
                Look::Exact,
            ),
        ),
        (
            2,
            script(
                script!("store/redis/look"),
                words![key()],
                words![one_of(&["true", "false"]), word(), word(), long(), all()],
                Look::Pairs,
            ),
        ),
        (
            2,
            script(
                script!("store/redis/change"),
                words![key()],
                words![field(), prop_oneof![text(), one_of(&[""])], text(), word()],
                Look::Exact,
            ),
        ),
        (
            2,
            script(script!("store/redis/read"), words![key()], words![one_of(&["true", "false"]), word()], Look::Pairs),
        ),
        (1, script(script!("store/redis/restore"), words![key()], words![word(), field(), text()], Look::Exact)),
        (3, script(script!("ledger/add"), words![one_of(&["{k}writer", "{k}a"]), key()], add, Look::Exact)),
    ])
}

/// What scripts may do that production's do not all do: conversions, and errors.
const CONVERSIONS: [&str; 16] = [
    "return { 1.9, -1.9, 'a', true, false, 3, nil, 4 }",
    "return tonumber(ARGV[1])",
    "return ARGV[1] + 0.5",
    "return { ok = tostring(#ARGV[1]) }",
    "return redis.error_reply('MINE ' .. #ARGV[1])",
    "return redis.status_reply('fine')",
    "return redis.call('SET', KEYS[1], tonumber(ARGV[1]) or 0.1)",
    "redis.call('SET', KEYS[1], (tonumber(ARGV[1]) or 3) / 7) return redis.call('GET', KEYS[1])",
    "return redis.call('GET', KEYS[1])",
    "return redis.call('HGET', KEYS[1], 'f')",
    "return redis.pcall('HGET', KEYS[1], 'f')",
    "return redis.pcall('INCRBY', KEYS[1], ARGV[1])",
    "local answer = redis.call('MGET', KEYS[1], KEYS[1]) return { type(answer[1]), #answer }",
    "local answer = redis.pcall('INCRBY', KEYS[1], 1) return type(answer) == 'table' and answer.err or tostring(answer)",
    "return redis.call('GET', { 1 })",
    "unknown = 1",
];

fn step() -> impl Strategy<Value = Step> {
    let conversion = select(CONVERSIONS.to_vec())
        .prop_flat_map(|text| script(text, words![key()], words![text_or_number()], Look::Exact));
    prop_oneof![4 => plain(), 5 => production(), 1 => conversion]
}

fn text_or_number() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![text(), (-1e6..1e6_f64).prop_map(|number| number.to_string().into_bytes())]
}

/// Both servers.
struct Both {
    real: MultiplexedConnection,
    simulated: Connection,
}

impl Both {
    async fn send(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let mut command = cmd(std::str::from_utf8(&step.words[0]).unwrap());
        command.arg(&step.words[1..]);
        let real = seen(self.real.req_packed_command(&command).await, step);
        let simulated = seen(self.simulated.req_packed_command(&command).await, step);
        prop_assert_eq!(real, simulated, "{}", shown(&step.words));
        Ok(())
    }
}

fn shown(words: &[Vec<u8>]) -> String {
    words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" | ")
}

/// An answer as it is compared. Of an error that is its code, and of a command's own error also the words.
fn seen(answer: redis::RedisResult<Value>, step: &Step) -> String {
    let answer = match answer.and_then(Value::extract_error) {
        Ok(answer) => answer,
        Err(fault) if step.words[0].starts_with(b"EVAL") => return format!("error {:?}", fault.code()),
        Err(fault) => return format!("error {:?} {:?}", fault.code(), fault.detail()),
    };
    match (step.look, answer) {
        (Look::Left, Value::Int(left)) if left > 0 => format!("{} minutes left", (left + 30_000) / 60_000),
        (Look::Pairs, answer) => format!("{:?}", sorted(answer)),
        (_, answer) => format!("{answer:?}"),
    }
}

fn sorted(answer: Value) -> Value {
    let Value::Array(parts) = answer else { return answer };
    let is_pairs = parts.len() % 2 == 0 && parts.iter().all(|part| matches!(part, Value::BulkString(_)));
    if !is_pairs {
        return Value::Array(parts.into_iter().map(sorted).collect());
    }
    let mut pairs: Vec<Vec<Value>> = parts.chunks(2).map(<[Value]>::to_vec).collect();
    pairs.sort_by_key(|pair| format!("{pair:?}"));
    Value::Array(pairs.into_iter().flatten().collect())
}

/// A server that takes no time, and a connection to it.
async fn simulated() -> (Arc<SimulatedRedis>, Connection) {
    let clock = WallClock::of_tokio("2026-11-01T00:00:00Z".parse().unwrap());
    let server = SimulatedRedis::new(clock, Latency::NONE, SeededRng::new(1)).unwrap();
    let connection = Door::new(server.clone(), 0).connect().await.unwrap();
    (server, connection)
}

#[test]
fn every_command_and_script_is_answered_as_a_real_server_answers_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_server, mut both) = runtime.block_on(async {
        let server = Server::start().await;
        let client = redis::Client::open(server.url()).unwrap();
        let real = client.get_multiplexed_async_connection().await.unwrap();
        let simulated = simulated().await.1;
        (server, Both { real, simulated })
    });
    let mut runner = TestRunner::new(Config { cases: 1_000, failure_persistence: None, ..Config::default() });
    let both = std::cell::RefCell::new(&mut both);
    let told = runner.run(&vec(step(), 1..40), |steps| {
        let mut both = both.borrow_mut();
        runtime.block_on(async {
            both.send(&Step { words: vec![b"FLUSHALL".to_vec()], look: Look::Exact }).await?;
            for step in &steps {
                both.send(step).await?;
            }
            // What is left is the same, and ends at the same time.
            for key in ["{k}a", "{k}b", "{k}c", "{k}writer"] {
                let looks =
                    [("TYPE", Look::Exact), ("PTTL", Look::Left), ("GET", Look::Exact), ("HGETALL", Look::Pairs)];
                for (name, look) in looks.into_iter().chain([("ZCARD", Look::Exact)]) {
                    both.send(&Step { words: vec![name.into(), key.into()], look }).await?;
                }
            }
            Ok(())
        })
    });
    told.unwrap_or_else(|problem| panic!("{problem}"));
}
