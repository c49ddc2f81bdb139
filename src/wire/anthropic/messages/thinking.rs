//! How a model is asked to think, and how much: <https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking>,
//! <https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking>.
//!
//! | asked | a model that thinks by effort (since 4.6) | one that thinks within a budget |
//! | --- | --- | --- |
//! | `minimal` | `adaptive`, effort `low` | a tenth of `max_tokens` |
//! | `low` | `adaptive`, effort `low` | two tenths |
//! | `medium`, as much as it likes | `adaptive`, effort `medium` or none | five tenths |
//! | `high` | `adaptive`, effort `high` | eight tenths |
//! | `xhigh`, `max` | `adaptive`, the same effort; `high` for `xhigh` before 4.7 | nine tenths |
//! | tokens | `adaptive` with the effort that takes about as many (since 4.7) | as many, below `max_tokens` |
//!
//! A budget has 1,024 tokens at least and 32,000 at most; an answer that has no room for it is given without thinking. So it is
//! where thinking would be refused: when the model has to call a function, when it goes on from its own turn, and, within a
//! budget, when it goes on after calls before which its thoughts are not known.

use serde::Serialize;

use super::models::{Abilities, Thinks};
use crate::model::conversation::{Api, Conversation, Part, Proof, Speaker, Thinking, ToolChoice};

const LEAST: u64 = 1_024;
const MOST: u64 = 32_000;

/// `thinking` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Written {
    Disabled,
    Adaptive,
    Enabled { budget_tokens: u64 },
}

impl Written {
    /// True when the model thinks.
    pub(super) fn thinks(self) -> bool {
        self != Written::Disabled
    }
}

/// What a model is asked, and its effort.
pub(super) fn write(
    conversation: &Conversation,
    abilities: Abilities,
    max_tokens: u64,
) -> (Option<Written>, Option<&str>) {
    let by_effort = matches!(abilities.thinking, Thinks::Both | Thinks::Effort);
    let Some(thinking) = &conversation.thinking else { return (None, None) };
    if abilities.thinking == Thinks::Not {
        return (None, None);
    }
    if *thinking != Thinking::Off && (is_refused(conversation) || (!by_effort && forgets(conversation))) {
        return (None, None);
    }
    let budget = |tokens: u64| Some(tokens.clamp(LEAST, MOST)).filter(|tokens| *tokens < max_tokens);
    let within = |tokens| (budget(tokens).map(|budget_tokens| Written::Enabled { budget_tokens }), None);
    match thinking {
        Thinking::Off => (Some(Written::Disabled), None),
        Thinking::Free if by_effort => (Some(Written::Adaptive), None),
        Thinking::Free => within(share(max_tokens, "medium")),
        Thinking::Effort(word) if by_effort => (Some(Written::Adaptive), Some(effort(word, abilities))),
        Thinking::Effort(word) => within(share(max_tokens, word)),
        Thinking::Tokens(tokens) if abilities.thinking == Thinks::Effort => {
            (Some(Written::Adaptive), Some(effort_of(*tokens)))
        }
        Thinking::Tokens(tokens) => within((*tokens).min(max_tokens.saturating_sub(1))),
    }
}

/// True where thinking cannot be asked for: the model has to call a function, or goes on from its own turn.
fn is_refused(conversation: &Conversation) -> bool {
    let has_to_call = matches!(conversation.tool_choice, ToolChoice::Any | ToolChoice::Named(_));
    (has_to_call && !conversation.tools.is_empty())
        || conversation.turns.last().is_some_and(|turn| turn.speaker == Speaker::Model)
}

/// True when the model goes on after calls, and what it thought before them is not known.
fn forgets(conversation: &Conversation) -> bool {
    let mut turns = conversation.turns.iter().rev();
    let has_results =
        turns.next().is_some_and(|turn| turn.parts.iter().any(|part| matches!(part, Part::Result { .. })));
    let called = turns.next().filter(|turn| turn.speaker == Speaker::Model);
    let is_known = |part: &Part| match part {
        Part::Thought { signature, .. } => matches!(signature, Some(Proof { api: Api::Messages, .. })),
        part => matches!(part, Part::HiddenThought(_)),
    };
    has_results && called.is_some_and(|turn| !turn.parts.first().is_some_and(is_known))
}

/// The share of an answer's tokens that goes to thoughts.
fn share(max_tokens: u64, effort: &str) -> u64 {
    let tenths = match effort {
        "minimal" => 1,
        "low" => 2,
        "high" => 8,
        "xhigh" | "max" => 9,
        _ => 5,
    };
    max_tokens / 10 * tenths
}

/// The word for an effort that the model takes (<https://platform.claude.com/docs/en/build-with-claude/effort>).
fn effort(word: &str, abilities: Abilities) -> &str {
    match word {
        "minimal" => "low",
        "xhigh" if abilities.thinking != Thinks::Effort => "high",
        word => word,
    }
}

/// The effort that takes about as many tokens.
fn effort_of(tokens: u64) -> &'static str {
    match tokens {
        ..=4_096 => "low",
        4_097..=16_384 => "medium",
        _ => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_is_asked_for_as_the_model_takes_it() {
        let asked = |model: &str, thinking: Thinking, max_tokens: u64| {
            let conversation = Conversation { thinking: Some(thinking), ..Conversation::default() };
            let (written, effort) = write(&conversation, Abilities::of(model), max_tokens);
            (written, effort.map(str::to_owned))
        };
        let (budget, effort) = ("claude-sonnet-4-5", "claude-opus-4-7");
        let word = |word: &str| Thinking::Effort(word.into());
        let enabled = |budget_tokens| (Some(Written::Enabled { budget_tokens }), None);
        let adaptive = |word: &str| (Some(Written::Adaptive), Some(word.to_owned()));
        assert_eq!(asked(budget, word("low"), 10_000), enabled(2_000));
        assert_eq!(asked(budget, word("minimal"), 4_096), enabled(1_024));
        assert_eq!(asked(budget, word("high"), 100_000), enabled(32_000));
        assert_eq!(asked(budget, word("high"), 1_024), (None, None));
        assert_eq!(asked(budget, Thinking::Tokens(20_000), 8_000), enabled(7_999));
        assert_eq!(asked(effort, word("minimal"), 100), adaptive("low"));
        assert_eq!(asked(effort, word("max"), 100), adaptive("max"));
        assert_eq!(asked(effort, word("xhigh"), 100), adaptive("xhigh"));
        assert_eq!(asked("claude-opus-4-6", word("xhigh"), 100), adaptive("high"));
        assert_eq!(asked("claude-opus-4-6", word("max"), 100), adaptive("max"));
        assert_eq!(asked(effort, Thinking::Tokens(10_000), 100), adaptive("medium"));
        assert_eq!(asked(effort, Thinking::Off, 100), (Some(Written::Disabled), None));
        assert_eq!(asked("claude-3-5-haiku-latest", word("high"), 10_000), (None, None));
        let forced = Conversation {
            thinking: Some(word("high")),
            tool_choice: ToolChoice::Any,
            tools: vec![crate::model::conversation::Tool {
                name: "f".into(),
                description: None,
                parameters: None,
                is_strict: None,
            }],
            ..Conversation::default()
        };
        assert_eq!(write(&forced, Abilities::of(effort), 10_000), (None, None));
    }
}
