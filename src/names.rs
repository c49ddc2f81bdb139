//! Names: of providers as logs spell them, and of models that stand or fall together.
//!
//! It does not know which providers and models there are.

/// Existing log queries look for the word `BuildPanel`.
pub fn display_name(provider: &str) -> &str {
    if provider == "buildpanel" { "BuildPanel" } else { provider }
}

/// A model's family: its name without a date or version at the end, so that `gpt-4o-2024-08-06` and `gpt-4o` stand or
/// fall together.
pub fn family(model: &str) -> &str {
    let mut family = model;
    while let Some((front, last)) = family.rsplit_once(['-', '@', ':']) {
        if front.is_empty() || !last.bytes().all(|byte| byte.is_ascii_digit()) || last.is_empty() {
            break;
        }
        // A size or generation (`gpt-4`, `o1-8`) is one digit; a date's parts are two or four.
        if last.len() < 2 {
            break;
        }
        family = front;
    }
    // Not at a character boundary: then the whole name is as good a family as any.
    family.get(..family.len().min(100)).unwrap_or(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_at_the_end_of_a_name_makes_no_family_of_its_own() {
        for (model, wanted) in [
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("gpt-4o", "gpt-4o"),
            ("gpt-4", "gpt-4"),
            ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"),
            ("meta-llama/Llama-3-70b-chat-hf", "meta-llama/Llama-3-70b-chat-hf"),
            ("", ""),
            ("-2024", "-2024"),
        ] {
            assert_eq!(family(model), wanted);
        }
    }
}
