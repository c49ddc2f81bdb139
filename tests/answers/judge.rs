//! Judges what a caller got of a mutant, by rules of its own.
//!
//! A whole answer passes byte for byte unless it reports a failure; then it is a fault. A stream passes event for event, and ends
//! cleanly only if everything that was asked for has finished.

use serde_json::Value;
use tidegate::policy::cache::Kept;

use super::golden::Kind;
use super::mutate::Mutant;
use super::play::{Got, Played, Who};
use super::reading::{RuleDecision, read, reports_failure, value, verdict};

/// The reasons to stop after which nothing is missing.
const COMPLETE: [&str; 4] = ["stop", "tool_calls", "function_call", "eos"];

/// True for a field whose value alone can make a failure of a good answer.
fn may_fail(path: &str) -> bool {
    let is_of_error = path == "error" || path.starts_with("error.");
    is_of_error
        || matches!(path, "object" | "type" | "choices" | "choices." | "choices..finish_reason" | "response.error")
}

/// What is wrong with what a caller got; `Ok` if nothing is.
pub(crate) fn judge(mutant: &Mutant, who: Who, played: &Played) -> Result<(), String> {
    let body = mutant.bytes();
    let is_stream = !looks_whole(mutant, &body);
    match who {
        Who::House(_) => house(&body, is_stream, mutant, played),
        Who::Same { .. } if mutant.kind == Kind::Images => passed_on(&body, mutant, played),
        Who::Same { .. } if is_stream == mutant.wants_stream && is_stream => stream(&body, mutant, played),
        Who::Same { .. } if is_stream == mutant.wants_stream => whole(&body, mutant, played),
        Who::Same { .. } if is_stream => gathered(&body, mutant, played),
        Who::Same { .. } => in_events(&body, mutant, played),
    }
}

fn looks_whole(mutant: &Mutant, body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    let is_called_events = mutant.content_type.is_some_and(|it| it.to_lowercase().starts_with("text/event-stream"));
    let is_json = matches!(body.first(), Some(b'{' | b'['));
    let is_events = [":", "data:", "event:", "id:", "retry:"].iter().any(|field| body.starts_with(field.as_bytes()));
    is_json || !(is_called_events || is_events)
}

fn ensure(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

fn passed_on(body: &[u8], mutant: &Mutant, played: &Played) -> Result<(), String> {
    match &played.got {
        Got::Pieces(bytes, fault) => {
            ensure(bytes == body, || "what is passed on was changed".into())?;
            ensure(fault.is_some() == mutant.is_broken_off, || format!("it ended in {fault:?}"))
        }
        // Nothing was said, or it broke before its form was known.
        Got::Refused(_) => {
            let said = body.trim_ascii().len();
            ensure(said == 0 || (mutant.is_broken_off && said < 9), || "refused".into())
        }
        Got::Full(_) => Err("not passed on as it comes".into()),
    }
}

fn whole(body: &[u8], mutant: &Mutant, played: &Played) -> Result<(), String> {
    let is_text =
        mutant.kind == Kind::Transcription && mutant.content_type.is_some_and(|it| !it.to_lowercase().contains("json"));
    let verdict = match verdict(mutant.kind, body) {
        _ if mutant.is_broken_off => RuleDecision::Fails,
        None if is_text => RuleDecision::Either,
        None => RuleDecision::Fails,
        Some(verdict) => verdict,
    };
    if let (RuleDecision::Fails, Some(name)) = (verdict, &mutant.only) {
        ensure(may_fail(name), || format!("`{name}` alone makes a failure of a good answer"))?;
    }
    match (&played.got, verdict) {
        (Got::Refused(_), RuleDecision::Fails | RuleDecision::Either) => Ok(()),
        (Got::Refused(fault), RuleDecision::Passes) => Err(format!("a good answer was lost: {fault:?}")),
        (_, RuleDecision::Fails) => Err("a failure was passed on as an answer".into()),
        (Got::Full(bytes), _) => ensure(bytes == body, || "an answer was changed".into()),
        (Got::Pieces(..), _) => Err("a whole answer came in pieces".into()),
    }?;
    let Some(kept) = played.kept.as_ref().filter(|_| verdict != RuleDecision::Either) else { return Ok(()) };
    let answer = value(body).ok_or("what is no JSON was kept")?;
    whole_is_complete(mutant, &answer)?;
    match kept {
        Kept::Chat(own) | Kept::Completion(own) | Kept::Message(own) | Kept::Bytes(own) => {
            ensure(own == body, || "another answer was kept than was given".into())
        }
        Kept::Answer(_) | Kept::Events(_) => Err("it was kept in another form".into()),
    }
}

/// A whole answer of which nothing is missing.
fn whole_is_complete(mutant: &Mutant, answer: &Value) -> Result<(), String> {
    ensure(!reports_failure(mutant.kind, answer), || "a failure was kept".into())?;
    if !matches!(mutant.kind, Kind::Chat | Kind::Completion) {
        return Ok(());
    }
    let choices = answer["choices"].as_array().ok_or("an answer without choices was kept")?;
    ensure(choices.len() == mutant.wanted, || "an answer with another number of choices was kept".into())?;
    let is_finished = |choice: &Value| choice["finish_reason"].as_str().is_some_and(|word| COMPLETE.contains(&word));
    ensure(choices.iter().all(is_finished), || "an unfinished answer was kept".into())
}

fn stream(body: &[u8], mutant: &Mutant, played: &Played) -> Result<(), String> {
    let read = read(body, mutant);
    let is_chunked = matches!(mutant.kind, Kind::Chat | Kind::Completion);
    let is_clean = read.is_complete && !read.has_failed;
    let supplied: &[u8] = if is_chunked && !read.is_done { b"data: [DONE]\n\n" } else { b"" };
    if let (false, Some(name)) = (is_clean && read.has_spoken, &mutant.only) {
        // Where a stream has no terminator, the field that ends it matters.
        ensure(may_fail(name), || format!("`{name}` alone makes a failure of a good stream"))?;
    }
    match &played.got {
        Got::Refused(fault) => {
            ensure(read.is_doubtful || !read.has_spoken || (read.has_failed && !is_chunked), || {
                format!("an answer was lost that had begun: {fault:?}")
            })?
        }
        Got::Full(_) => return Err("a stream came whole".into()),
        Got::Pieces(..) if read.is_doubtful => {}
        Got::Pieces(bytes, None) => {
            ensure(is_clean, || "it ended cleanly, and not all that was asked for had finished".into())?;
            ensure(**bytes == [&read.passed[..], supplied].concat(), || {
                format!("the events were changed: {:?}", String::from_utf8_lossy(bytes))
            })?;
        }
        Got::Pieces(bytes, Some(fault)) => {
            ensure(!is_clean, || format!("a complete answer ended in a fault: {fault:?}"))?;
            let rest = bytes.strip_prefix(&read.passed[..]);
            let rest = rest.ok_or_else(|| format!("the events were changed: {:?}", String::from_utf8_lossy(bytes)))?;
            let is_told = memchr::memmem::find(rest, b"error").is_some()
                && memchr::memmem::find(rest, b"data: [DONE]\n").is_none();
            ensure(is_told, || "the caller is not told that it broke".into())?;
        }
    }
    if let (Some(prompt), Got::Pieces(..), false) = (read.prompt, &played.got, read.is_doubtful) {
        let counted = played.usage.map(|usage| usage.input);
        ensure(counted == Some(prompt), || format!("{prompt} tokens were counted as {counted:?}"))?;
    }
    let Some(kept) = played.kept.as_ref().filter(|_| !read.is_doubtful) else { return Ok(()) };
    ensure(is_clean, || "what did not end as it should was kept".into())?;
    ensure(!read.is_uncertain, || "an answer was kept of which not all was understood".into())?;
    let (Kept::Chat(own) | Kept::Completion(own)) = kept else { return Ok(()) };
    let answer = value(own).ok_or("what was kept is no JSON")?;
    whole_is_complete(mutant, &answer)?;
    for choice in answer["choices"].as_array().into_iter().flatten().filter(|_| read.is_plain) {
        let said =
            read.texts.get(&choice["index"].as_u64().unwrap_or_default()).map(String::as_str).unwrap_or_default();
        let own = choice["message"]["content"].as_str().or(choice["text"].as_str()).unwrap_or_default();
        ensure(own == said, || format!("{own:?} was kept instead of {said:?}"))?;
    }
    Ok(())
}

/// A stream, for who asked for a whole answer.
fn gathered(body: &[u8], mutant: &Mutant, played: &Played) -> Result<(), String> {
    let read = read(body, mutant);
    match &played.got {
        Got::Refused(_) => Ok(()),
        Got::Pieces(..) => Err("a whole answer was asked for".into()),
        Got::Full(whole) => {
            ensure(read.is_doubtful || (read.is_complete && !read.has_failed), || {
                "half a stream was made a whole answer".into()
            })?;
            let answer = value(whole).ok_or("a stream was made something that is no JSON")?;
            ensure(read.is_doubtful || !reports_failure(mutant.kind, &answer), || {
                "a failure was passed on as an answer".into()
            })?;
            let is_chunked = matches!(mutant.kind, Kind::Chat | Kind::Completion);
            if is_chunked && read.is_plain && !read.is_doubtful {
                let choice = &answer["choices"][0];
                let own = choice["message"]["content"].as_str().or(choice["text"].as_str()).unwrap_or_default();
                let said = read.texts.values().next().map(String::as_str).unwrap_or_default();
                ensure(own == said, || format!("{own:?} was made of {said:?}"))?;
            }
            Ok(())
        }
    }
}

/// A whole answer, for who asked for a stream.
fn in_events(body: &[u8], mutant: &Mutant, played: &Played) -> Result<(), String> {
    let verdict = verdict(mutant.kind, body).unwrap_or(RuleDecision::Fails);
    match &played.got {
        Got::Refused(_) => Ok(()),
        Got::Full(_) => Err("a stream was asked for".into()),
        Got::Pieces(_, Some(fault)) => Err(format!("a whole answer broke: {fault:?}")),
        Got::Pieces(bytes, None) => {
            ensure(verdict != RuleDecision::Fails && !mutant.is_broken_off, || "a failure was made a stream".into())?;
            let read = super::reading::read(bytes, mutant);
            ensure(read.is_doubtful || (read.is_complete && !read.has_failed), || {
                format!("the stream is none: {:?}", String::from_utf8_lossy(bytes))
            })
        }
    }
}

/// One of the house's callers: success says something.
fn house(body: &[u8], is_stream: bool, mutant: &Mutant, played: &Played) -> Result<(), String> {
    let mutant = &Mutant { wanted: 1, ..mutant.clone() };
    let is_failure = match is_stream {
        false => {
            mutant.is_broken_off || verdict(mutant.kind, body).is_none_or(|verdict| verdict == RuleDecision::Fails)
        }
        true => {
            let read = read(body, mutant);
            !read.is_doubtful && (read.has_failed || !read.is_complete)
        }
    };
    match &played.got {
        Got::Refused(_) => Ok(()),
        Got::Full(answer) => {
            let answer: Value = serde_json::from_slice(answer).map_err(|fault| fault.to_string())?;
            let said = answer["message"].as_str().or(answer["data"]["content"].as_str()).unwrap_or_default();
            ensure(answer["success"] != true || !said.is_empty(), || "success without a word".into())?;
            ensure(!is_failure, || "a failure was passed on as an answer".into())
        }
        Got::Pieces(bytes, fault) => {
            let text = String::from_utf8_lossy(bytes);
            let has_words = text.contains("\"type\":\"delta\"");
            ensure(fault.is_some() || has_words, || "a stream without a word ended cleanly".into())?;
            ensure(fault.is_some() || !is_failure, || {
                "it ended cleanly, and not all that was asked for had finished".into()
            })?;
            ensure(fault.is_some() != text.contains("data: [DONE]\n"), || format!("{fault:?}, and {text}"))
        }
    }
}
