//! What the name of a model tells of what its server takes, where servers differ and refuse what they do not know.
//!
//! It does not know which provider serves it, nor in which of OpenAI's APIs it is asked.

use std::borrow::Cow;

use crate::model::conversation::Thinking;

/// The name without the folder that relays put before it, and without the mark of a fine-tuned one.
fn bare(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_prefix("ft:").unwrap_or(name)
}

/// What the names of OpenAI's models begin with that think before they answer. `reasoning_models` in `config/gateway.toml` has
/// each of them, too.
const REASONING: [&str; 6] = ["o1", "o3", "o4", "gpt-5", "gpt-6", "codex-"];

/// True for OpenAI's models that think before they answer. They take `max_completion_tokens`, and neither `stop` nor sampling.
pub(super) fn is_reasoning(model: &str) -> bool {
    let name = bare(model);
    let is_of_family = REASONING.iter().any(|prefix| name.starts_with(prefix));
    is_of_family && !name.contains("-chat")
}

/// True for OpenAI's models, whose server refuses fields that it does not know.
pub(super) fn is_openai(model: &str) -> bool {
    let name = bare(model);
    let is_named_so = ["gpt-", "chatgpt-", "o1", "o3", "o4", "codex-"].iter().any(|prefix| name.starts_with(prefix));
    is_named_so && !name.starts_with("gpt-oss")
}

/// The value of a field by which words are drawn, where the model takes it. OpenAI's models that think refuse any value but the
/// usual one: it is left out, and named in `lost` where it would have changed the answer.
pub(super) fn drawn(
    model: &str,
    (name, value): (&'static str, Option<f64>),
    usual: f64,
    lost: &mut Vec<Cow<'static, str>>,
) -> Option<f64> {
    if !is_reasoning(model) {
        return value;
    }
    if value.is_some_and(|value| value != usual) {
        lost.push(name.into());
    }
    None
}

/// True where a model can be asked to think more or less.
pub(super) fn takes_effort(model: &str) -> bool {
    !is_openai(model) || is_reasoning(model)
}

/// The effort that comes nearest to no thinking; `None`: nothing has to be said.
pub(super) fn least_effort(model: &str) -> Option<&'static str> {
    let name = bare(model);
    match () {
        () if !is_reasoning(model) => None,
        () if name.starts_with("gpt-5.") || name.starts_with("gpt-6") => Some("none"),
        () if name.starts_with("gpt-5") && !name.contains("codex") => Some("minimal"),
        () => Some("low"),
    }
}

/// How much a model is asked to think, in a word that it takes (<https://platform.openai.com/docs/guides/reasoning>). Tokens become the
/// effort that takes about as many. How much a model thinks that cannot be asked is its own affair: it answers all the same.
pub(super) fn effort<'a>(thinking: &'a Thinking, model: &str) -> Option<&'a str> {
    if !takes_effort(model) {
        return None;
    }
    match thinking {
        Thinking::Off => least_effort(model),
        Thinking::Free => None,
        Thinking::Effort(word) => Some(match &**word {
            "xhigh" | "max" => most_effort(model),
            "minimal" if is_openai(model) && least_effort(model) != Some("minimal") => "low",
            word => word,
        }),
        Thinking::Tokens(..=4_096) => Some("low"),
        Thinking::Tokens(..=16_384) => Some("medium"),
        Thinking::Tokens(_) => Some("high"),
    }
}

/// The word for the most effort. `xhigh` came with `gpt-5.1-codex-max`; DeepSeek has `max`
/// (<https://api-docs.deepseek.com/guides/thinking_mode>).
fn most_effort(model: &str) -> &'static str {
    let name = bare(model);
    let minor = name.strip_prefix("gpt-5.").map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let minor = minor.flatten().and_then(|minor| minor.parse::<u32>().ok()).unwrap_or_default();
    match () {
        () if !is_openai(model) && name.to_ascii_lowercase().contains("deepseek") => "max",
        () if minor > 1 || name.starts_with("gpt-6") || name.starts_with("gpt-5.1-codex-max") => "xhigh",
        () => "high",
    }
}

/// True for models that are told again what they have thought, in `reasoning_content`: their servers ask for it, and others may
/// refuse it (<https://api-docs.deepseek.com/guides/thinking_mode>).
pub(super) fn hears_thoughts(model: &str) -> bool {
    const FAMILIES: [&str; 7] = ["deepseek", "kimi", "glm", "qwen", "minimax", "mimo", "step-"];
    let name = model.to_ascii_lowercase();
    FAMILIES.iter().any(|family| name.contains(family))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::Wildcard;

    #[test]
    fn a_model_is_asked_for_an_effort_that_it_takes() {
        let asked = |model, word: &str| effort(&Thinking::Effort(word.into()), model).map(str::to_owned);
        for (model, word, wanted) in [
            ("gpt-5.1", "xhigh", Some("high")),
            ("gpt-5.1-codex-max", "xhigh", Some("xhigh")),
            ("gpt-5.2", "max", Some("xhigh")),
            ("openai/gpt-5.10-mini", "xhigh", Some("xhigh")),
            ("gpt-5", "max", Some("high")),
            ("o3", "max", Some("high")),
            ("openai/gpt-oss-120b", "max", Some("high")),
            ("deepseek-v4", "xhigh", Some("max")),
            ("gpt-5", "minimal", Some("minimal")),
            ("gpt-5.1", "minimal", Some("low")),
            ("o3", "minimal", Some("low")),
            ("gpt-5.2", "medium", Some("medium")),
            ("gpt-4o", "high", None),
        ] {
            assert_eq!(asked(model, word).as_deref(), wanted, "{model}, {word}");
        }
    }

    /// A model that thinks first would else be overdue after the time of one that does not.
    #[test]
    fn the_default_patience_knows_every_reasoning_model() {
        let defaults: toml::Table = toml::from_str(include_str!("../../../config/gateway.toml")).unwrap();
        let patterns = defaults["patience"]["reasoning_models"].as_array().unwrap();
        let patterns: Vec<_> = patterns.iter().map(|it| Wildcard::parse(it.as_str().unwrap()).unwrap()).collect();
        for family in REASONING {
            for name in [family.to_owned(), format!("{family}-mini"), format!("openai/{family}-mini")] {
                assert!(patterns.iter().any(|pattern| pattern.matches(&name)), "{name} is in no `reasoning_models`");
            }
        }
    }

    #[test]
    fn a_models_name_tells_what_its_server_takes() {
        for (model, wanted) in [
            ("gpt-4o", (false, true, false)),
            ("gpt-5.1", (true, true, true)),
            ("openai/gpt-5-mini", (true, true, true)),
            ("gpt-5-chat-latest", (false, true, false)),
            ("ft:o4-mini:x", (true, true, true)),
            ("openai/gpt-oss-120b", (false, false, true)),
            ("meta-llama/Llama-3-70b-chat-hf", (false, false, true)),
        ] {
            assert_eq!((is_reasoning(model), is_openai(model), takes_effort(model)), wanted, "{model}");
        }
        let least = ["gpt-5.1", "gpt-5", "gpt-5-codex", "o3", "gpt-4o", "llama"].map(least_effort);
        assert_eq!(least, [Some("none"), Some("minimal"), Some("low"), Some("low"), None, None]);
        assert!(hears_thoughts("DeepSeek-V3.2") && !hears_thoughts("gpt-5"));
    }
}
