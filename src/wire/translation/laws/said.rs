//! Conversations and answers within what an API can say, to be said and read again.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::value::RawValue;

use crate::model::conversation::{
    Api, Choices, Completion, Conversation, Output, Part, Proof, Sampling, Source, Speaker, Stop, Thinking, Tool,
    ToolChoice, Turn,
};
use crate::model::reply::Usage;

/// What can be said: in Chat, in Messages, or in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Can {
    Chat,
    Messages,
    Both,
}

impl Can {
    fn chat(self) -> bool {
        self == Can::Chat
    }

    fn messages(self) -> bool {
        self == Can::Messages
    }

    /// A model of which its name tells that it takes all that is said.
    fn models(self) -> Vec<&'static str> {
        match self {
            Can::Chat => vec!["deepseek-chat"],
            Can::Messages => vec!["claude-sonnet-4-5", "claude-opus-4-6"],
            Can::Both => vec!["some-model"],
        }
    }
}

/// `value`, or nothing where it cannot be said.
fn only<T: Clone + std::fmt::Debug + 'static>(
    can: bool,
    value: impl Strategy<Value = T> + 'static,
    otherwise: T,
) -> BoxedStrategy<T> {
    if can { value.boxed() } else { Just(otherwise).boxed() }
}

pub(super) fn text() -> BoxedStrategy<String> {
    "[a-z \n\"\\\\é\u{1F600}]{0,12}[a-z]".boxed()
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

/// Messages has only closed ones, with few keywords.
fn schema(can: Can) -> BoxedStrategy<Box<RawValue>> {
    let any = [
        r#"{"type":"object","properties":{}}"#,
        r#"{"type":"object","properties":{"a":{"type":"integer","maximum":12345678901234567890123}},"required":["a"]}"#,
    ];
    let closed = [
        r#"{"type":"object","properties":{},"additionalProperties":false}"#,
        r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}"#,
    ];
    select(if can == Can::Chat { any } else { closed }.to_vec()).prop_map(raw).boxed()
}

pub(super) fn arguments() -> BoxedStrategy<String> {
    select(vec!["{}", r#"{"a":1}"#, r#"{"a":"b\"c","d":[12345678901234567890123,{"e":null}]}"#])
        .prop_map(str::to_owned)
        .boxed()
}

fn source(can: Can) -> BoxedStrategy<Source> {
    let here = Source::Base64 { media_type: "image/png".into(), data: "QUFB".into() };
    let _ = can;
    select(vec![Source::Url("https://pictures.example/a.png".into()), here]).boxed()
}

fn image(can: Can) -> BoxedStrategy<Part> {
    (source(can), only(can.chat(), option::of(Just("low".to_owned())), None))
        .prop_map(|(source, detail)| Part::Image { source, detail })
        .boxed()
}

fn file(can: Can) -> BoxedStrategy<Part> {
    let mut sources = vec![Source::Base64 { media_type: "application/pdf".into(), data: "QUFB".into() }];
    if can.messages() {
        sources.push(Source::Url("https://papers.example/a.pdf".into()));
        sources.push(Source::Text("words".into()));
    }
    (select(sources), option::of(Just("a.pdf".to_owned())))
        .prop_map(|(source, name)| Part::File { source, name })
        .boxed()
}

/// What a user says besides results.
fn user(can: Can) -> BoxedStrategy<Vec<Part>> {
    let words = text().prop_map(Part::Text);
    let sound = Part::Audio { data: "QUFB".into(), format: "mp3".into() };
    let any = prop_oneof![
        words.clone(),
        image(can),
        file(can),
        only(can.chat(), Just(sound).boxed(), Part::Text("a".into()))
    ];
    // Texts alone are one text in Chat.
    let with_picture = (image(can), vec(any.clone(), 0..3)).prop_map(|(image, mut parts)| {
        parts.insert(0, image);
        parts
    });
    let one = words.prop_map(|part| std::vec::Vec::from([part]));
    match can {
        Can::Messages => vec(any, 1..4).boxed(),
        Can::Chat | Can::Both => prop_oneof![one, with_picture].boxed(),
    }
}

fn calls() -> BoxedStrategy<Vec<(String, String)>> {
    vec(("[a-z_]{1,8}".prop_map(String::from), arguments()), 0..3).boxed()
}

/// What a model says, whose proofs are of this API; the ids of its calls have this mark in them.
fn model(can: Can, api: Api, mark: usize) -> BoxedStrategy<Vec<Part>> {
    let signed =
        text().prop_map(move |text| Part::Thought { text, signature: Some(Proof { api, data: "c2ln".into() }) });
    let thought = match can {
        Can::Chat => option::of(text().prop_map(|text| Part::Thought { text, signature: None })).boxed(),
        Can::Messages => option::of(prop_oneof![signed, Just(Part::HiddenThought("aGlk".into()))]).boxed(),
        Can::Both => Just(None).boxed(),
    };
    let most = if can.messages() { 3 } else { 2 };
    let words = vec(text().prop_map(Part::Text), 0..most);
    let refusal = only(can.chat(), option::weighted(0.1, text().prop_map(Part::Refusal)), None);
    (thought, words, refusal, calls())
        .prop_map(move |(thought, words, refusal, calls)| {
            let mut parts: Vec<Part> = thought.into_iter().chain(words).chain(refusal).collect();
            if calls.is_empty()
                && parts.iter().all(|part| matches!(part, Part::Thought { .. } | Part::HiddenThought(_)))
            {
                parts.push(Part::Text("well".into()));
            }
            parts.extend(calls.into_iter().enumerate().map(|(at, (name, arguments))| Part::Call {
                id: format!("call_{mark}_{at}"),
                name,
                arguments,
            }));
            parts
        })
        .boxed()
}

/// What a function gives.
fn result(can: Can) -> BoxedStrategy<(Vec<Part>, bool)> {
    let words = text().prop_map(Part::Text);
    let parts = match can {
        Can::Messages => vec(prop_oneof![words, image(can)], 0..3).boxed(),
        Can::Chat | Can::Both => vec(words, 0..2).boxed(),
    };
    (parts, only(can.messages(), any::<bool>(), false)).boxed()
}

fn turns(can: Can) -> BoxedStrategy<Vec<Turn>> {
    let operator = vec(text().prop_map(Part::Text), 0..if can.messages() { 3 } else { 2 });
    let rounds: Vec<_> =
        (0..3).map(|mark| (model(can, Api::Messages, mark), vec(result(can), 3), user(can), any::<bool>())).collect();
    (operator, user(can), rounds, 0..4_usize)
        .prop_map(|(operator, first, rounds, count)| {
            let mut turns = Vec::new();
            if !operator.is_empty() {
                turns.push(Turn { speaker: Speaker::Operator, parts: operator });
            }
            turns.push(Turn { speaker: Speaker::User, parts: first });
            for (said, results, more, has_more) in rounds.into_iter().take(count) {
                let ids = said
                    .iter()
                    .filter_map(|part| if let Part::Call { id, .. } = part { Some(id.clone()) } else { None });
                let mut parts: Vec<Part> =
                    ids.zip(results).map(|(id, (parts, is_error))| Part::Result { id, parts, is_error }).collect();
                if parts.is_empty() || has_more {
                    parts.extend(more);
                }
                turns.push(Turn { speaker: Speaker::Model, parts: said });
                turns.push(Turn { speaker: Speaker::User, parts });
            }
            turns
        })
        .boxed()
}

fn tools(can: Can) -> BoxedStrategy<(Vec<Tool>, ToolChoice, Option<bool>)> {
    let parameters = match can {
        Can::Chat => option::of(schema(can)).boxed(),
        Can::Messages | Can::Both => schema(can).prop_map(Some).boxed(),
    };
    let strict = match can {
        Can::Chat => option::of(any::<bool>()).boxed(),
        Can::Messages | Can::Both => option::of(Just(true)).boxed(),
    };
    let tool = ("[a-z_]{1,8}", option::of(text()), parameters, strict)
        .prop_map(|(name, description, parameters, is_strict)| Tool { name, description, parameters, is_strict });
    let choice = select(vec![
        ToolChoice::Unsaid,
        ToolChoice::Auto,
        ToolChoice::None,
        ToolChoice::Any,
        ToolChoice::Named("a".into()),
    ]);
    (vec(tool, 0..3), choice, option::of(any::<bool>()))
        .prop_map(move |(tools, choice, parallel)| match choice {
            _ if tools.is_empty() => (tools, ToolChoice::Unsaid, None),
            // Messages says both in one place.
            ToolChoice::Unsaid | ToolChoice::None if can != Can::Chat => (tools, choice, None),
            _ => (tools, choice, parallel),
        })
        .boxed()
}

fn sampling(can: Can) -> BoxedStrategy<Sampling> {
    let quarters = |from: i32, to: i32| option::of((from * 4..=to * 4).prop_map(|quarters| f64::from(quarters) / 4.0));
    let temperature = if can.chat() { quarters(0, 2).boxed() } else { quarters(0, 1).boxed() };
    let penalty = || only(can.chat(), quarters(-2, 2), None);
    let top_p = only(can != Can::Messages, quarters(0, 1), None);
    (temperature, top_p, option::of(0..100_u64), only(can.chat(), option::of(any::<i64>()), None), penalty(), penalty())
        .prop_map(|(temperature, top_p, top_k, seed, presence_penalty, frequency_penalty)| Sampling {
            temperature,
            top_p,
            top_k,
            seed,
            presence_penalty,
            frequency_penalty,
        })
        .boxed()
}

fn output(can: Can) -> BoxedStrategy<Output> {
    let schema =
        (schema(can), option::of(text()), option::of(any::<bool>())).prop_map(move |(schema, description, strict)| {
            match can {
                Can::Chat => Output::Schema { name: "shape".into(), description, schema, is_strict: strict },
                Can::Messages => Output::Schema { name: String::new(), description: None, schema, is_strict: None },
                Can::Both => Output::Schema { name: "answer".into(), description: None, schema, is_strict: None },
            }
        });
    prop_oneof![Just(Output::Text), only(can.chat(), Just(Output::Json), Output::Text), schema].boxed()
}

fn thinking(can: Can, model: &str) -> BoxedStrategy<Option<Thinking>> {
    let effort = select(vec!["low", "medium", "high"]).prop_map(|word| Thinking::Effort(word.into()));
    let tokens = (1024..2048_u64).prop_map(Thinking::Tokens);
    match can {
        Can::Chat => option::of(effort).boxed(),
        Can::Messages if model.ends_with("4-6") => {
            option::of(prop_oneof![effort, Just(Thinking::Free), Just(Thinking::Off)]).boxed()
        }
        Can::Messages => option::of(prop_oneof![tokens, Just(Thinking::Off)]).boxed(),
        Can::Both => Just(None).boxed(),
    }
}

/// A request.
pub(super) fn conversation(can: Can) -> BoxedStrategy<Conversation> {
    select(can.models()).prop_flat_map(move |model| of_model(can, model)).boxed()
}

fn of_model(can: Can, model: &'static str) -> BoxedStrategy<Conversation> {
    let max_tokens = match can {
        Can::Chat => option::of(1..9999_u64).boxed(),
        Can::Messages | Can::Both => (4096..9999_u64).prop_map(Some).boxed(),
    };
    let choices = only(can.chat(), 1..3_u64, 1);
    let flags = (any::<bool>(), any::<bool>(), option::of(text()), vec(text(), 0..3));
    (turns(can), tools(can), max_tokens, sampling(can), choices, output(can), thinking(can, model), flags)
        .prop_map(move |(turns, tools, max_tokens, sampling, choices, output, thinking, flags)| {
            let (stream, wants_usage, user, stop) = flags;
            let mut conversation = Conversation {
                model: model.into(),
                turns,
                tools: tools.0,
                tool_choice: tools.1,
                parallel_tools: tools.2,
                max_tokens,
                sampling,
                stop,
                choices: Choices(choices),
                output,
                thinking,
                stream,
                wants_stream_usage: can.chat() && stream && wants_usage,
                user,
                lost: Vec::new(),
            };
            let thinks = conversation.thinking.as_ref().is_some_and(|thinking| *thinking != Thinking::Off);
            if can == Can::Messages && !thinks {
                // Nobody thinks.
                for turn in &mut conversation.turns {
                    turn.parts.retain(|part| !matches!(part, Part::Thought { .. } | Part::HiddenThought(_)));
                }
            }
            if can.messages() && thinks {
                // A model that thinks neither takes other words than the likely ones, nor has it to call.
                conversation.sampling = Sampling::default();
                if matches!(conversation.tool_choice, ToolChoice::Any | ToolChoice::Named(_)) {
                    conversation.tool_choice = ToolChoice::Auto;
                }
                // What it thought before it called is told again.
                for turn in conversation.turns.iter_mut().filter(|turn| turn.speaker == Speaker::Model) {
                    if !matches!(turn.parts.first(), Some(Part::Thought { .. } | Part::HiddenThought(_))) {
                        turn.parts.insert(0, Part::HiddenThought("aGlk".into()));
                    }
                }
            }
            conversation
        })
        .boxed()
}

/// An answer.
pub(super) fn completion(can: Can) -> BoxedStrategy<Completion> {
    let counted = (0..1000_u64, 0..1000_u64, only(can.messages(), 0..1000_u64, 0), 0..1000_u64).prop_map(
        |(fresh, cached, written, output)| Usage {
            input: fresh + cached + written,
            cached,
            written,
            output,
            ..Usage::default()
        },
    );
    let usage = if can.messages() { counted.prop_map(Some).boxed() } else { option::of(counted).boxed() };
    let stop = select(match can {
        Can::Chat => vec![Stop::End, Stop::Length, Stop::Filter],
        Can::Messages => vec![
            Stop::End,
            Stop::Length,
            Stop::Refusal,
            Stop::Pause,
            Stop::Sequence(None),
            Stop::Sequence(Some("\n".into())),
        ],
        Can::Both => vec![Stop::End, Stop::Length],
    });
    ("[a-z0-9]{1,8}", "[a-z0-9-]{1,8}", model(can, Api::Responses, 0), stop, usage)
        .prop_map(|(id, model, parts, stop, usage)| {
            let calls = parts.iter().any(|part| matches!(part, Part::Call { .. }));
            let refuses = parts.iter().any(|part| matches!(part, Part::Refusal(_)));
            let stop = match stop {
                Stop::End if calls => Stop::Calls,
                Stop::End if refuses => Stop::Refusal,
                stop => stop,
            };
            Completion { id, model, parts, stop, usage }
        })
        .boxed()
}
