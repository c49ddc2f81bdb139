//! The scripts of gateways, run as Redis runs them: by Lua 5.1, with `redis.call` bound to the keys. They are the very
//! texts that are sent to a real server.
//!
//! Each is compiled once. It does not know which scripts there are.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::FixedState;
use mlua::{Function, Lua, LuaOptions, LuaString, StdLib, Table, Value, Variadic};
use parking_lot::Mutex;

use super::answer::Answer;
use super::commands::{self, Moment};
use super::keyspace::Keyspace;
use super::numbers::{self, written};

/// What scripts and commands work on.
pub(super) struct Data {
    pub(super) keys: Keyspace,
    /// When the script that runs was started.
    pub(super) now: Moment,
}

/// The scripts that were sent.
pub(super) struct Scripts {
    lua: Lua,
    compiled: HashMap<String, Function, FixedState>,
}

/// What a command in a script answered that ends the script.
#[derive(Debug)]
struct Raised(Vec<u8>);

impl fmt::Display for Raised {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl std::error::Error for Raised {}

impl Scripts {
    /// No scripts yet; those that come work on `data`.
    pub(super) fn new(data: &Arc<Mutex<Data>>) -> mlua::Result<Self> {
        let lua = Lua::new_with(StdLib::STRING | StdLib::MATH | StdLib::TABLE, LuaOptions::default())?;
        let redis = lua.create_table()?;
        for (name, raises) in [("call", true), ("pcall", false)] {
            let data = data.clone();
            let call = move |lua: &Lua, words: Variadic<Value>| match call(&data, &words) {
                Answer::Error(text) if raises => Err(mlua::Error::external(Raised(text))),
                answer => to_lua(lua, answer),
            };
            redis.raw_set(name, lua.create_function(call)?)?;
        }
        for (name, field) in [("error_reply", "err"), ("status_reply", "ok")] {
            let reply = move |lua: &Lua, text: LuaString| {
                let table = lua.create_table()?;
                table.raw_set(field, text)?;
                Ok(table)
            };
            redis.raw_set(name, lua.create_function(reply)?)?;
        }
        lua.globals().raw_set("redis", redis)?;
        protect(&lua)?;
        Ok(Self { lua, compiled: HashMap::with_hasher(FixedState::with_seed(0)) })
    }

    /// Forgets all scripts.
    pub(super) fn clear(&mut self) {
        self.compiled.clear();
    }

    /// `EVALSHA`: a script by its hash.
    pub(super) fn run_known(&self, hash: &[u8], arguments: &[&[u8]]) -> Answer {
        let hash = String::from_utf8_lossy(hash).to_lowercase();
        match self.compiled.get(&hash) {
            Some(script) => self.run(script, &hash, arguments),
            None => Answer::error("NOSCRIPT No matching script. Please use EVAL."),
        }
    }

    /// `EVAL`: a script by its text, which is known from now on.
    pub(super) fn run_text(&mut self, text: &[u8], arguments: &[&[u8]]) -> Answer {
        let hash = match std::str::from_utf8(text) {
            Ok(text) => redis::Script::new(text).get_hash().to_owned(),
            Err(_) => return Answer::error("ERR a script that is not UTF-8"),
        };
        let script = match self.compiled.get(&hash) {
            Some(script) => script.clone(),
            None => match self.lua.load(text).set_name("@user_script").into_function() {
                Ok(script) => {
                    self.compiled.insert(hash.clone(), script.clone());
                    script
                }
                Err(fault) => return Answer::error(format!("ERR Error compiling script (new function): {fault}")),
            },
        };
        self.run(&script, &hash, arguments)
    }

    fn run(&self, script: &Function, hash: &str, arguments: &[&[u8]]) -> Answer {
        let Some((count, words)) = arguments.split_first() else {
            return Answer::error("ERR wrong number of arguments for 'eval' command");
        };
        let (keys, arguments) = match numbers::integer(count).map(usize::try_from) {
            None => return Answer::error("ERR value is not an integer or out of range"),
            Some(Err(_)) => return Answer::error("ERR Number of keys can't be negative"),
            Some(Ok(count)) if count > words.len() => {
                return Answer::error("ERR Number of keys can't be greater than number of args");
            }
            Some(Ok(count)) => words.split_at(count),
        };
        let ran = || {
            let globals = self.lua.globals();
            globals.raw_set("KEYS", self.table(keys)?)?;
            globals.raw_set("ARGV", self.table(arguments)?)?;
            from_lua(script.call::<Value>(())?)
        };
        ran().unwrap_or_else(|fault| {
            let text = match raised(&fault) {
                Some(text) => String::from_utf8_lossy(text).into_owned(),
                None => format!("ERR {}", fault.to_string().lines().next().unwrap_or_default()),
            };
            Answer::error(format!("{text} script: {hash}, on @user_script."))
        })
    }

    fn table(&self, words: &[&[u8]]) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(words.len(), 0)?;
        for word in words {
            table.raw_push(self.lua.create_string(word)?)?;
        }
        Ok(table)
    }
}

/// As in Redis, a script that uses a global variable ends with an error.
fn protect(lua: &Lua) -> mlua::Result<()> {
    let terms = lua.create_table()?;
    let read = |_: &Lua, (_, name): (Table, LuaString)| -> mlua::Result<()> {
        let name = name.to_string_lossy();
        Err(mlua::Error::runtime(format!("Script attempted to access nonexistent global variable '{name}'")))
    };
    let write = |_: &Lua, _: Variadic<Value>| -> mlua::Result<()> {
        Err(mlua::Error::runtime("Attempt to modify a readonly table"))
    };
    terms.raw_set("__index", lua.create_function(read)?)?;
    terms.raw_set("__newindex", lua.create_function(write)?)?;
    lua.globals().set_metatable(Some(terms))
}

/// What a command said that ended a script.
fn raised(fault: &mlua::Error) -> Option<&[u8]> {
    match fault {
        mlua::Error::CallbackError { cause, .. } => raised(cause),
        fault => fault.downcast_ref::<Raised>().map(|raised| &*raised.0),
    }
}

fn call(data: &Mutex<Data>, words: &[Value]) -> Answer {
    let mut texts = Vec::with_capacity(words.len());
    for word in words {
        match word {
            Value::String(text) => texts.push(text.as_bytes().to_vec()),
            Value::Integer(number) => texts.push(written(*number as f64)),
            Value::Number(number) => texts.push(written(*number)),
            _ => return Answer::error("ERR Lua redis lib command arguments must be strings or integers"),
        }
    }
    if texts.is_empty() {
        return Answer::error("ERR Please specify at least one argument for this redis.call() call");
    }
    let words: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let mut data = data.lock();
    let now = data.now;
    commands::run(&mut data.keys, &words, now)
}

/// What a command answered, as a script sees it.
fn to_lua(lua: &Lua, answer: Answer) -> mlua::Result<Value> {
    let field = |name: &str, text: &[u8]| {
        let table = lua.create_table()?;
        table.raw_set(name, lua.create_string(text)?)?;
        Ok(Value::Table(table))
    };
    match answer {
        Answer::Nil => Ok(Value::Boolean(false)),
        Answer::Status(text) => field("ok", &text),
        Answer::Error(text) => field("err", &text),
        Answer::Number(number) => Ok(Value::Number(number as f64)),
        Answer::Bulk(bytes) => Ok(Value::String(lua.create_string(&bytes)?)),
        Answer::Many(answers) => {
            let table = lua.create_table_with_capacity(answers.len(), 0)?;
            for answer in answers {
                table.raw_push(to_lua(lua, answer)?)?;
            }
            Ok(Value::Table(table))
        }
    }
}

/// What a script answered, as the client sees it: numbers lose their fraction, and a list ends before its first `nil`.
fn from_lua(value: Value) -> mlua::Result<Answer> {
    Ok(match value {
        Value::Boolean(true) => Answer::Number(1),
        Value::Integer(number) => Answer::Number(number),
        Value::Number(number) => Answer::Number(numbers::truncated(number)),
        Value::String(text) => Answer::Bulk(text.as_bytes().to_vec()),
        Value::Table(table) => match (table.raw_get::<Value>("err")?, table.raw_get::<Value>("ok")?) {
            (Value::String(text), _) => Answer::Error(text.as_bytes().to_vec()),
            (_, Value::String(text)) => Answer::Status(text.as_bytes().to_vec()),
            _ => {
                let mut answers = Vec::with_capacity(table.raw_len());
                loop {
                    match table.raw_get::<Value>(answers.len() + 1)? {
                        Value::Nil => break Answer::Many(answers),
                        value => answers.push(from_lua(value)?),
                    }
                }
            }
        },
        _ => Answer::Nil,
    })
}
