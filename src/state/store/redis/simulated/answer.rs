//! What the simulated Redis answers, before the client's library sees it.

use redis::{ErrorKind, RedisError, Value};

/// One answer. Its errors are texts as Redis spells them: a code in capitals, and what went wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Nil,
    Status(Vec<u8>),
    Number(i64),
    Bulk(Vec<u8>),
    Many(Vec<Answer>),
    Error(Vec<u8>),
}

impl Answer {
    /// `OK`.
    pub(super) fn ok() -> Self {
        Answer::Status(b"OK".to_vec())
    }

    /// A count.
    pub(super) fn count(count: usize) -> Self {
        Answer::Number(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// An error.
    pub(super) fn error(text: impl Into<String>) -> Self {
        Answer::Error(text.into().into_bytes())
    }

    /// The answer as the client's library reads it from a connection.
    pub(super) fn into_value(self) -> Value {
        match self {
            Answer::Nil => Value::Nil,
            Answer::Status(text) if text == b"OK" => Value::Okay,
            Answer::Status(text) => Value::SimpleString(String::from_utf8_lossy(&text).into_owned()),
            Answer::Number(number) => Value::Int(number),
            Answer::Bulk(bytes) => Value::BulkString(bytes),
            Answer::Many(answers) => Value::Array(answers.into_iter().map(Answer::into_value).collect()),
            Answer::Error(text) => read_error(&text),
        }
    }
}

/// The library knows how a code becomes a kind of error, and tells nobody but its own reader.
fn read_error(text: &[u8]) -> Value {
    let line: Vec<u8> = text.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }).collect();
    redis::parse_redis_value(&[b"-", &line[..], b"\r\n"].concat()).unwrap_or(Value::Nil)
}

/// Why a connection is of no use.
pub(super) fn broken(kind: std::io::ErrorKind) -> RedisError {
    RedisError::from(std::io::Error::from(kind))
}

/// The library asked for something that it does not ask of a connection.
pub(super) fn misused() -> RedisError {
    RedisError::from((ErrorKind::Client, "the simulated Redis got no command"))
}
