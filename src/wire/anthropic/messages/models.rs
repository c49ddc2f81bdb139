//! What the name of a model tells of what it takes, where Anthropic's models differ and refuse what they do not take.
//!
//! <https://docs.anthropic.com/en/docs/about-claude/models/overview>, and the migration guide beside it. Of other models with
//! this API nothing is known: they are asked all that is wanted.

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// How it can be asked to think.
    pub(super) thinking: Thinks,
    /// How its words can be drawn.
    pub(super) sampling: Draws,
    /// True when it can be held to a JSON Schema.
    pub(super) has_schemas: bool,
    /// True when it goes on from its own turn, where that comes last.
    pub(super) continues: bool,
}

/// How a model can be asked to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinks {
    /// It cannot.
    Not,
    /// Within a number of tokens.
    Budget,
    /// As much as it likes, with some effort; or within a number of tokens.
    Both,
    /// As much as it likes, with some effort.
    Effort,
}

/// How words can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draws {
    /// As is said.
    Freely,
    /// By `temperature` or by `top_p`, not by both.
    ByOne,
    /// Only as the model does by itself.
    Itself,
}

impl Abilities {
    /// Those of a model.
    pub(super) fn of(model: &str) -> Self {
        let version = version(model).unwrap_or((4, 0));
        let (is_known, since) = (version_is_known(model), |major, minor| version >= (major, minor));
        Self {
            thinking: match () {
                () if !is_known => Thinks::Budget,
                () if since(4, 7) => Thinks::Effort,
                () if since(4, 6) => Thinks::Both,
                () if since(3, 7) => Thinks::Budget,
                () => Thinks::Not,
            },
            sampling: match () {
                () if !is_known => Draws::Freely,
                () if since(4, 7) => Draws::Itself,
                () if since(4, 1) => Draws::ByOne,
                () => Draws::Freely,
            },
            has_schemas: !is_known || since(4, 1),
            continues: !since(4, 6),
        }
    }
}

fn version_is_known(model: &str) -> bool {
    version(model).is_some()
}

/// The version in a name: 4.5 of `claude-sonnet-4-5-20250929`, 3.7 of `anthropic/claude-3.7-sonnet`. What follows it is a date.
fn version(model: &str) -> Option<(u32, u32)> {
    let name = &model[model.find("claude-")? + "claude-".len()..];
    let mut words = name.split(['-', '@', ':']).skip_while(|word| !word.starts_with(|c: char| c.is_ascii_digit()));
    let word = words.next()?;
    let (major, minor) = match word.split_once('.') {
        Some((major, minor)) => (major, Some(minor)),
        None => (word, words.next()),
    };
    let minor = minor.and_then(|minor| minor.parse().ok()).filter(|minor| *minor < 100);
    Some((major.parse().ok().filter(|major| *major < 100)?, minor.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_version_is_read_from_its_name() {
        for (model, wanted) in [
            ("claude-3-haiku-20240307", Some((3, 0))),
            ("claude-3-5-sonnet-latest", Some((3, 5))),
            ("anthropic/claude-3.7-sonnet", Some((3, 7))),
            ("claude-opus-4-20250514", Some((4, 0))),
            ("anthropic.claude-opus-4-6-v1:0", Some((4, 6))),
            ("claude-sonnet-4@20250514", Some((4, 0))),
            ("claude-sonnet-5", Some((5, 0))),
            ("claude-next", None),
            ("deepseek-chat", None),
        ] {
            assert_eq!(version(model), wanted, "{model}");
        }
    }

    #[test]
    fn newer_models_take_other_things() {
        let thinks = |model| Abilities::of(model).thinking;
        assert_eq!(thinks("claude-3-5-sonnet-20241022"), Thinks::Not);
        assert_eq!(thinks("claude-sonnet-4-5"), Thinks::Budget);
        assert_eq!(thinks("claude-opus-4-6"), Thinks::Both);
        assert_eq!(thinks("claude-opus-4-7"), Thinks::Effort);
        let unknown = Abilities::of("deepseek-chat");
        assert!(unknown.has_schemas && unknown.continues && unknown.sampling == Draws::Freely);
        assert!(!Abilities::of("claude-3-5-haiku-latest").has_schemas && !Abilities::of("claude-opus-4-6").continues);
    }
}
