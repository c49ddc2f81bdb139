//! Public things that nobody names outside of their own definition. All modules are public, so the compiler looks for none.
//!
//! It goes by names: of two things with the same name, one that is used hides the other.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, TokenTree};

use crate::source::{Source, is_group, is_punct};

const KINDS: [&str; 7] = ["fn", "struct", "enum", "trait", "type", "const", "static"];

#[derive(Default)]
struct Names {
    /// Public things by name, each with its module.
    defined: BTreeMap<String, Vec<String>>,
    /// How often something is named, but for definitions and where it is only passed on.
    named: BTreeMap<String, usize>,
    /// How often of that within its own definition.
    by_itself: BTreeMap<String, usize>,
}

/// The public names of modules that neither they nor `outsiders` use.
pub(crate) fn find(sources: &[Source], outsiders: &[Vec<TokenTree>]) -> Vec<String> {
    let mut names = Names::default();
    for source in sources {
        names.walk(&source.code, Some(&source.module.join("::")));
    }
    outsiders.iter().for_each(|code| names.walk(code, None));
    let count = |map: &BTreeMap<String, usize>, name: &str| map.get(name).copied().unwrap_or(0);
    let is_unused = |name: &str| count(&names.named, name) <= count(&names.by_itself, name);
    let unused = names.defined.iter().filter(|(name, _)| is_unused(name));
    unused.flat_map(|(name, modules)| modules.iter().map(move |module| format!("{module}::{name}"))).collect()
}

impl Names {
    /// Counts what is named, and notes what `module` defines.
    fn walk(&mut self, tokens: &[TokenTree], module: Option<&str>) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Ident(word) if word == "pub" => {
                    let next = at + 1 + usize::from(is_group(tokens.get(at + 1), Delimiter::Parenthesis));
                    let is_word = |at: usize, words: &[&str]| matches!(tokens.get(at), Some(TokenTree::Ident(word)) if words.iter().any(|it| word == it));
                    if is_word(next, &["use"]) {
                        at = (at..tokens.len()).find(|end| is_punct(tokens.get(*end), ';')).unwrap();
                    } else {
                        let is_more = |at: usize| is_word(at + 1, &KINDS) && is_word(at, &["const"]);
                        let kind = (next..).find(|at| !is_word(*at, &["async", "unsafe"]) && !is_more(*at)).unwrap();
                        if let (true, Some(TokenTree::Ident(name)), Some(module)) =
                            (is_word(kind, &KINDS), tokens.get(kind + 1), module)
                        {
                            self.defined.entry(name.to_string()).or_default().push(module.to_owned());
                        }
                        // Who may see it.
                        at = next - 1;
                    }
                }
                TokenTree::Ident(word)
                    if KINDS.iter().any(|kind| word == kind) && !is_punct(tokens.get(at.wrapping_sub(1)), '\'') =>
                {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 1)
                        && name != "fn"
                    {
                        let own = &tokens[at + 2..end(tokens, at)];
                        *self.by_itself.entry(name.to_string()).or_default() += count(own, &name.to_string());
                        at += 1;
                    }
                }
                TokenTree::Ident(word) if word == "impl" && starts_item(tokens, at) => {
                    let end = end(tokens, at);
                    if let Some(name) = implemented(&tokens[at + 1..end - 1]) {
                        let own = count(&tokens[at + 1..end], &name);
                        *self.by_itself.entry(name).or_default() += own;
                    }
                }
                TokenTree::Ident(word) => *self.named.entry(word.to_string()).or_default() += 1,
                TokenTree::Group(group) => self.walk(&group.stream().into_iter().collect::<Vec<_>>(), module),
                // Attributes name functions in texts.
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    for word in text.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
                        if text.len() < 80 && text.starts_with('"') {
                            *self.named.entry(word.to_owned()).or_default() += 1;
                        }
                    }
                }
                TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }
}

/// True where an item begins, and no type `impl Trait`.
fn starts_item(tokens: &[TokenTree], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| tokens.get(at));
    before.is_none()
        || is_punct(before, ';')
        || is_group(before, Delimiter::Brace)
        || is_group(before, Delimiter::Bracket)
}

/// Behind the end of the item that begins at `at`.
fn end(tokens: &[TokenTree], at: usize) -> usize {
    let is_end = |token: &TokenTree| is_punct(Some(token), ';') || is_group(Some(token), Delimiter::Brace);
    tokens[at..].iter().position(is_end).map_or(tokens.len(), |end| at + end + 1)
}

/// The type that an `impl` is of: the first name behind `for`, or behind the parameters.
fn implemented(head: &[TokenTree]) -> Option<String> {
    let is_for = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word == "for");
    let from = head.iter().rposition(is_for).map_or(0, |at| at + 1);
    let mut depth = 0_i32;
    let mut name = None;
    for token in &head[from..] {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct) if punct.as_char() == '>' => depth -= 1,
            TokenTree::Ident(word) if word == "where" => break,
            TokenTree::Ident(word) if depth == 0 => name = Some(word.to_string()),
            _ => {}
        }
    }
    name
}

fn count(tokens: &[TokenTree], name: &str) -> usize {
    let each = tokens.iter().map(|token| match token {
        TokenTree::Ident(word) => usize::from(word == name),
        TokenTree::Group(group) => count(&group.stream().into_iter().collect::<Vec<_>>(), name),
        _ => 0,
    });
    each.sum()
}
