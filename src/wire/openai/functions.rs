//! Functions as OpenAI's own models take them: their server bounds how many there are, their names and their descriptions.
//!
//! <https://platform.openai.com/docs/guides/function-calling>. It does not know in which of OpenAI's APIs they are written.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::abilities::is_openai;
use crate::model::conversation::Tool;

/// As many functions are taken.
const MOST: usize = 128;

/// The longest name, in bytes: it has ASCII letters.
const LONGEST_NAME: usize = 64;

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 1_024;

/// What stands before the descriptions that are too long for their place.
const TOLD: &str = "The whole descriptions of functions whose own are cut:";

/// Looks for what cannot be asked of a model.
///
/// # Errors
/// What that is, in words that complete "it cannot serve ...".
pub(super) fn check(tools: &[Tool], model: &str) -> Result<(), Cow<'static, str>> {
    if !is_openai(model) {
        return Ok(());
    }
    if tools.len() > MOST {
        return Err(format!("more than {MOST} functions with this model").into());
    }
    match tools.iter().any(|tool| tool.name.len() > LONGEST_NAME) {
        true => Err(format!("functions with names of more than {LONGEST_NAME} letters with this model").into()),
        false => Ok(()),
    }
}

/// A function's description in its place.
pub(super) fn description<'a>(tool: &'a Tool, model: &str) -> Option<&'a str> {
    let all = tool.description.as_deref()?;
    Some(cut(all, model).unwrap_or(all))
}

/// The beginning of a description that is too long for its place.
fn cut<'a>(description: &'a str, model: &str) -> Option<&'a str> {
    // No text has more characters than bytes.
    if description.len() <= LONGEST_DESCRIPTION || !is_openai(model) {
        return None;
    }
    let (end, _) = description.char_indices().nth(LONGEST_DESCRIPTION)?;
    description.get(..end)
}

/// What the operator tells the model of functions whose descriptions are too long for their place; `None`: nothing.
pub(super) fn told(tools: &[Tool], model: &str) -> Option<String> {
    let mut told = String::new();
    for tool in tools {
        let Some(description) = tool.description.as_deref().filter(|all| cut(all, model).is_some()) else { continue };
        if told.is_empty() {
            told.push_str(TOLD);
        }
        // Writing to memory does not fail.
        let _ = write!(told, "\n\n# {}\n\n{description}", tool.name);
    }
    (!told.is_empty()).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, description: &str) -> Tool {
        Tool { name: name.into(), description: Some(description.into()), parameters: None, is_strict: None }
    }

    #[test]
    fn a_long_description_is_told_whole_and_cut_in_its_place() {
        let long = "é".repeat(1_025);
        let tools = [tool("short", "s"), tool("exact", &"é".repeat(1_024)), tool("long", &long)];
        assert_eq!(told(&tools, "gpt-4o"), Some(format!("{TOLD}\n\n# long\n\n{long}")));
        let lengths = |model| tools.each_ref().map(|tool| description(tool, model).unwrap().chars().count());
        assert_eq!((lengths("gpt-4o"), lengths("mistral-large")), ([1, 1_024, 1_024], [1, 1_024, 1_025]));
        assert_eq!((told(&tools, "mistral-large"), told(&tools[..2], "gpt-4o")), (None, None));
    }

    #[test]
    fn what_openai_refuses_is_found_before_it_is_asked() {
        let refused = |tools: &[Tool], model| check(tools, model).map_err(Cow::into_owned);
        let many: Vec<Tool> = (0..129).map(|at| tool(&format!("f{at}"), "")).collect();
        assert_eq!((refused(&many[..128], "gpt-5"), refused(&many, "llama-3.3")), (Ok(()), Ok(())));
        assert_eq!(refused(&many, "gpt-5"), Err("more than 128 functions with this model".into()));
        let named = |length| [tool(&"f".repeat(length), "")];
        assert_eq!(refused(&named(64), "gpt-4o"), Ok(()));
        let wanted = "functions with names of more than 64 letters with this model";
        assert_eq!(refused(&named(65), "gpt-4o"), Err(wanted.into()));
    }
}
