//! The sources as tokens: modules with their files, what each names by which path, and what it defines. Comments, strings
//! and tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The parts of a path: `config`, `plan`, `Plan`.
pub(crate) type Segments = Vec<String>;

/// A file of `src`, as the module that it is.
#[derive(Default)]
pub(crate) struct Source {
    /// Below `src`: `config/plan/mod.rs`.
    pub(crate) file: String,
    /// Its module: `config`, `plan`; nothing for `lib.rs`.
    pub(crate) module: Segments,
    /// The modules that it declares, by groups between which there are empty lines.
    pub(crate) groups: Vec<Vec<String>>,
    /// What it imports, by the name under which it does.
    pub(crate) imports: BTreeMap<String, Segments>,
    /// The names of `imports` that others may import from here.
    pub(crate) passed_on: Vec<String>,
    /// Every path that its code names, imports too.
    pub(crate) paths: Vec<Segments>,
    /// Its tokens without tests.
    pub(crate) code: Vec<TokenTree>,
}

/// Files below a folder that end in `.rs`.
pub(crate) fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

/// The tokens of a file without tests.
pub(crate) fn tokens(file: &Path) -> Vec<TokenTree> {
    without_tests(std::fs::read_to_string(file).unwrap().parse().unwrap())
}

/// All modules of the library below `src`.
pub(crate) fn modules(src: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let root = Source::read(src, "lib.rs", Vec::new());
    follow(src, root, &mut found);
    found
}

fn follow(src: &Path, source: Source, found: &mut Vec<Source>) {
    let folder = PathBuf::from_iter(&source.module);
    for name in source.groups.iter().flatten() {
        let module: Segments = source.module.iter().chain([name]).cloned().collect();
        let file = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
        let file = file.iter().find(|file| src.join(file).exists());
        follow(src, Source::read(src, file.unwrap().to_str().unwrap(), module), found);
    }
    found.push(source);
}

impl Source {
    fn read(src: &Path, file: &str, module: Segments) -> Self {
        let text = std::fs::read_to_string(src.join(file)).unwrap();
        let stream: TokenStream = text.parse().unwrap();
        let mut source = Self { file: file.into(), module, ..Self::default() };
        source.code = without_tests(stream);
        let code = source.code.clone();
        source.walk(&code);
        source.groups = groups(&text, &code);
        source
    }

    /// Collects imports and paths.
    fn walk(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Ident(word) if word == "use" && !is_punct(tokens.get(at + 1), '<') => {
                    let is_passed_on = is_public(tokens, at);
                    let end = (at..tokens.len()).find(|end| is_punct(tokens.get(*end), ';')).unwrap();
                    let mut found = Vec::new();
                    tree(tokens.get(at + 1..end).unwrap(), &[], &mut found);
                    for (name, path) in found {
                        if is_passed_on {
                            self.passed_on.push(name.clone());
                        }
                        self.paths.push(path.clone());
                        self.imports.insert(name, path);
                    }
                    at = end;
                }
                // `pub(in crate::config)` says who may see something, and names nothing.
                TokenTree::Ident(word) if word == "pub" && is_group(tokens.get(at + 1), Delimiter::Parenthesis) => {
                    at += 1
                }
                TokenTree::Ident(word) => {
                    let mut path = vec![word.to_string()];
                    while is_separator(tokens, at + 1) {
                        let Some(TokenTree::Ident(word)) = tokens.get(at + 3) else { break };
                        path.push(word.to_string());
                        at += 3;
                    }
                    if path.len() > 1 || self.imports.contains_key(&path[0]) {
                        self.paths.push(path);
                    }
                }
                TokenTree::Group(group) => self.walk(&group.stream().into_iter().collect::<Vec<_>>()),
                _ => {}
            }
            at += 1;
        }
    }
}

/// The leaves of what follows `use`, each with the name that it gets here.
fn tree(tokens: &[TokenTree], before: &[String], found: &mut Vec<(String, Segments)>) {
    for branch in tokens.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')) {
        let mut path = before.to_vec();
        let mut name = None;
        let mut rest = branch.iter();
        while let Some(token) = rest.next() {
            match token {
                TokenTree::Ident(word) if word == "as" => name = rest.next().map(ToString::to_string),
                TokenTree::Ident(word) if word == "self" && !path.is_empty() => {}
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".into()),
                TokenTree::Group(group) => {
                    tree(&group.stream().into_iter().collect::<Vec<_>>(), &path, found);
                    path.clear();
                }
                _ => {}
            }
        }
        if let Some(last) = path.last() {
            found.push((name.unwrap_or_else(|| last.clone()), path));
        }
    }
}

/// The modules that a file declares; an empty line begins another group.
fn groups(text: &str, code: &[TokenTree]) -> Vec<Vec<String>> {
    let declared: BTreeSet<String> = code
        .windows(3)
        .filter_map(|tokens| match tokens {
            [TokenTree::Ident(word), TokenTree::Ident(name), end] if word == "mod" && is_punct(Some(end), ';') => {
                Some(name.to_string())
            }
            _ => None,
        })
        .collect();
    let mut groups = vec![Vec::new()];
    for line in text.lines() {
        let declaration = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        let name = declaration.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'));
        match name.filter(|name| declared.contains(*name)) {
            Some(name) => groups.last_mut().unwrap().push(name.to_owned()),
            None if line.is_empty() => groups.push(Vec::new()),
            None => {}
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// Tokens without what only tests see.
fn without_tests(stream: TokenStream) -> Vec<TokenTree> {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if is_punct(Some(token), '#')
            && tokens.get(at + 1).is_some_and(|it| it.to_string().replace(' ', "") == "[cfg(test)]")
        {
            let is_import = tokens.get(at + 2).is_some_and(|it| it.to_string() == "use");
            let is_end = |token: &TokenTree| {
                is_punct(Some(token), ';') || (!is_import && is_group(Some(token), Delimiter::Brace))
            };
            at += 2;
            // The last of a list has nothing behind it.
            at += tokens[at..].iter().position(is_end).map_or(tokens.len(), |end| end + 1);
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                let inside = without_tests(group.stream()).into_iter().collect();
                kept.push(TokenTree::Group(proc_macro2::Group::new(group.delimiter(), inside)));
            }
            token => kept.push(token.clone()),
        }
        at += 1;
    }
    kept
}

/// True when the token before `at` makes public what begins there.
fn is_public(tokens: &[TokenTree], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|it| tokens.get(it));
    let is_pub = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Ident(word)) if word == "pub");
    is_pub(before(1)) || (is_group(before(1), Delimiter::Parenthesis) && is_pub(before(2)))
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

/// True for this mark.
pub(crate) fn is_punct(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

/// True for a group within these brackets.
pub(crate) fn is_group(token: Option<&TokenTree>, delimiter: Delimiter) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == delimiter)
}
