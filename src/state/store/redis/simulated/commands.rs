//! The commands that gateways use, as Redis 7 answers them.
//!
//! Scripts and channels are not among them: those need more than keys.

use std::collections::BTreeMap;

use super::answer::Answer;
use super::keyspace::{Keyspace, Milliseconds, Stored};
use super::numbers::{integer, score};

/// The moment at which a command runs, in microseconds since 1970. It stands still for a script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(pub(super) i64);

impl Moment {
    fn milliseconds(self) -> Milliseconds {
        self.0.div_euclid(1_000)
    }
}

/// Why a command did nothing: the text of the error.
type Refused = String;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";
const OVERFLOW: &str = "ERR increment or decrement would overflow";

/// Runs a command: its name, and its arguments.
pub(super) fn run(keys: &mut Keyspace, words: &[&[u8]], now: Moment) -> Answer {
    let Some((name, arguments)) = words.split_first() else { return Answer::error("ERR empty command") };
    let name = String::from_utf8_lossy(name).to_uppercase();
    execute(keys, &name, arguments, now).unwrap_or_else(Answer::error)
}

fn execute(keys: &mut Keyspace, name: &str, arguments: &[&[u8]], moment: Moment) -> Result<Answer, Refused> {
    let now = moment.milliseconds();
    Ok(match (name, arguments) {
        ("PING", []) => Answer::Status(b"PONG".to_vec()),
        ("TIME", []) => {
            let part = |part: i64| Answer::Bulk(part.to_string().into_bytes());
            Answer::Many(vec![part(moment.0.div_euclid(1_000_000)), part(moment.0.rem_euclid(1_000_000))])
        }
        ("FLUSHALL", []) => {
            keys.clear();
            Answer::ok()
        }
        ("TYPE", [key]) => Answer::Status(keys.find(key, now).map_or("none", Stored::kind).into()),
        ("EXISTS", [_, ..]) => Answer::count(arguments.iter().filter(|key| keys.find(key, now).is_some()).count()),
        ("DEL" | "UNLINK", [_, ..]) => Answer::count(arguments.iter().filter(|key| keys.remove(key, now)).count()),
        ("PTTL", [key]) => Answer::Number(match keys.ends(key, now) {
            None => -2,
            Some(None) => -1,
            Some(Some(ends)) => (ends - now).max(0),
        }),
        ("PEXPIRE", [key, time]) => {
            let time = number(time)?;
            let ends = now.checked_add(time).ok_or("ERR invalid expire time in 'pexpire' command")?;
            let is_there = if time <= 0 { keys.remove(key, now) } else { keys.end(key, ends, now) };
            Answer::Number(is_there.into())
        }
        ("GET", [key]) => text(keys, key, now)?.map_or(Answer::Nil, |text| Answer::Bulk(text.clone())),
        ("MGET", [_, ..]) => Answer::Many(
            arguments
                .iter()
                .map(|key| match keys.find(key, now) {
                    Some(Stored::Text(text)) => Answer::Bulk(text.clone()),
                    _ => Answer::Nil,
                })
                .collect(),
        ),
        ("STRLEN", [key]) => Answer::count(text(keys, key, now)?.map_or(0, Vec::len)),
        ("SET", [key, value, options @ ..]) => set(keys, key, value, options, now)?,
        ("INCRBY", [key, by]) => {
            let by = number(by)?;
            let before = text(keys, key, now)?.map_or(Ok(0), |text| number(text))?;
            let sum = before.checked_add(by).ok_or(OVERFLOW)?;
            // It keeps the time at which it ends.
            *keys.find_or(key, now, || Stored::Text(Vec::new())) = Stored::Text(sum.to_string().into_bytes());
            Answer::Number(sum)
        }
        ("HGET", [key, field]) => hash(keys, key, now)?
            .and_then(|fields| fields.get(*field))
            .map_or(Answer::Nil, |it| Answer::Bulk(it.clone())),
        ("HEXISTS", [key, field]) => {
            Answer::Number(hash(keys, key, now)?.is_some_and(|fields| fields.contains_key(*field)).into())
        }
        ("HLEN", [key]) => Answer::count(hash(keys, key, now)?.map_or(0, BTreeMap::len)),
        ("HGETALL", [key]) => {
            let pairs = hash(keys, key, now)?.into_iter().flatten();
            Answer::Many(pairs.flat_map(|(field, value)| [field, value].map(|it| Answer::Bulk(it.clone()))).collect())
        }
        ("HSET", [key, pairs @ ..]) if !pairs.is_empty() && pairs.len().is_multiple_of(2) => {
            let fields = hash_or(keys, key, now)?;
            let (pairs, _) = pairs.as_chunks();
            let is_new = |[field, value]: &[&[u8]; 2]| fields.insert(field.to_vec(), value.to_vec()).is_none();
            Answer::count(pairs.iter().map(is_new).filter(|is_new| *is_new).count())
        }
        ("HDEL", [key, names @ ..]) if !names.is_empty() => {
            if hash(keys, key, now)?.is_none() {
                return Ok(Answer::Number(0));
            }
            let fields = hash_or(keys, key, now)?;
            let gone = names.iter().filter(|name| fields.remove(**name).is_some()).count();
            keys.tidy(key);
            Answer::count(gone)
        }
        ("HINCRBY", [key, field, by]) => {
            let by = number(by)?;
            let before = hash(keys, key, now)?.and_then(|fields| fields.get(*field));
            let before = before.map_or(Some(0), |text| integer(text)).ok_or("ERR hash value is not an integer")?;
            let sum = before.checked_add(by).ok_or(OVERFLOW)?;
            hash_or(keys, key, now)?.insert(field.to_vec(), sum.to_string().into_bytes());
            Answer::Number(sum)
        }
        ("ZCARD", [key]) => Answer::count(ranked(keys, key, now)?.map_or(0, BTreeMap::len)),
        ("ZADD", [key, rank, member]) => {
            let rank = score(rank).ok_or("ERR value is not a valid float")?;
            ranked(keys, key, now)?;
            let is_new = match keys.find_or(key, now, || Stored::Ranked(BTreeMap::new())) {
                Stored::Ranked(members) => members.insert(member.to_vec(), rank).is_none(),
                _ => return Err(WRONG_TYPE.into()),
            };
            Answer::Number(is_new.into())
        }
        ("ZREMRANGEBYSCORE", [key, from, to]) => {
            let (from, to) = Option::zip(bound(from), bound(to)).ok_or("ERR min or max is not a float")?;
            if ranked(keys, key, now)?.is_none() {
                return Ok(Answer::Number(0));
            }
            let is_within = |rank: f64| from.admits(rank, |a, b| a >= b) && to.admits(rank, |a, b| a <= b);
            let gone = match keys.find_or(key, now, || Stored::Ranked(BTreeMap::new())) {
                Stored::Ranked(members) => {
                    let before = members.len();
                    members.retain(|_, rank| !is_within(*rank));
                    before - members.len()
                }
                _ => return Err(WRONG_TYPE.into()),
            };
            keys.tidy(key);
            Answer::count(gone)
        }
        _ => return Err(unknown(name)),
    })
}

/// Commands of which at least the name is known.
const NAMES: [&str; 24] = [
    "PING",
    "TIME",
    "FLUSHALL",
    "TYPE",
    "EXISTS",
    "DEL",
    "UNLINK",
    "PTTL",
    "PEXPIRE",
    "GET",
    "MGET",
    "STRLEN",
    "SET",
    "INCRBY",
    "HGET",
    "HEXISTS",
    "HLEN",
    "HGETALL",
    "HSET",
    "HDEL",
    "HINCRBY",
    "ZCARD",
    "ZADD",
    "ZREMRANGEBYSCORE",
];

fn unknown(name: &str) -> Refused {
    match NAMES.contains(&name) {
        true => format!("ERR wrong number of arguments for '{}' command", name.to_lowercase()),
        false => format!("ERR unknown command '{name}' (the simulated Redis knows those that gateways use)"),
    }
}

fn set(keys: &mut Keyspace, key: &[u8], value: &[u8], options: &[&[u8]], now: Milliseconds) -> Result<Answer, Refused> {
    let (mut is_only_new, mut ends) = (false, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.to_ascii_uppercase().as_slice() {
            b"NX" => is_only_new = true,
            b"PX" => {
                let time = number(options.next().ok_or("ERR syntax error")?)?;
                let moment = now.checked_add(time).filter(|_| time > 0);
                ends = Some(moment.ok_or("ERR invalid expire time in 'set' command")?);
            }
            _ => return Err("ERR syntax error".into()),
        }
    }
    if is_only_new && keys.find(key, now).is_some() {
        return Ok(Answer::Nil);
    }
    keys.set(key, Stored::Text(value.to_vec()), ends, now);
    Ok(Answer::ok())
}

/// One end of a range of scores.
struct Bound {
    at: f64,
    is_open: bool,
}

impl Bound {
    fn admits(&self, rank: f64, is_on_its_side: impl Fn(f64, f64) -> bool) -> bool {
        is_on_its_side(rank, self.at) && !(self.is_open && rank == self.at)
    }
}

fn bound(text: &[u8]) -> Option<Bound> {
    let inner = text.strip_prefix(b"(");
    Some(Bound { at: score(inner.unwrap_or(text))?, is_open: inner.is_some() })
}

fn number(text: &[u8]) -> Result<i64, Refused> {
    integer(text).ok_or_else(|| NO_INTEGER.into())
}

fn text<'k>(keys: &'k Keyspace, key: &[u8], now: Milliseconds) -> Result<Option<&'k Vec<u8>>, Refused> {
    match keys.find(key, now) {
        None => Ok(None),
        Some(Stored::Text(text)) => Ok(Some(text)),
        Some(_) => Err(WRONG_TYPE.into()),
    }
}

type Fields = BTreeMap<Vec<u8>, Vec<u8>>;

fn hash<'k>(keys: &'k Keyspace, key: &[u8], now: Milliseconds) -> Result<Option<&'k Fields>, Refused> {
    match keys.find(key, now) {
        None => Ok(None),
        Some(Stored::Hash(fields)) => Ok(Some(fields)),
        Some(_) => Err(WRONG_TYPE.into()),
    }
}

fn hash_or<'k>(keys: &'k mut Keyspace, key: &[u8], now: Milliseconds) -> Result<&'k mut Fields, Refused> {
    match keys.find_or(key, now, || Stored::Hash(BTreeMap::new())) {
        Stored::Hash(fields) => Ok(fields),
        _ => Err(WRONG_TYPE.into()),
    }
}

fn ranked<'k>(
    keys: &'k Keyspace,
    key: &[u8],
    now: Milliseconds,
) -> Result<Option<&'k BTreeMap<Vec<u8>, f64>>, Refused> {
    match keys.find(key, now) {
        None => Ok(None),
        Some(Stored::Ranked(members)) => Ok(Some(members)),
        Some(_) => Err(WRONG_TYPE.into()),
    }
}
