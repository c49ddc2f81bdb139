//! What the name of a model tells of what its server takes, where servers differ and refuse what they do not know.
//!
//! It does not know which provider serves it, nor in which of OpenAI's APIs it is asked.

use std::borrow::Cow;

/// The name without the folder that relays put before it, and without the mark of a fine-tuned one.
fn bare(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_prefix("ft:").unwrap_or(name)
}

/// True for OpenAI's models that think before they answer. They take `max_completion_tokens`, and neither `stop` nor sampling.
pub(super) fn is_reasoning(model: &str) -> bool {
    let name = bare(model);
    let is_of_family = ["o1", "o3", "o4", "gpt-5", "gpt-6", "codex-"].iter().any(|prefix| name.starts_with(prefix));
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
