//! `tidegate prompt list|render|diff`: shows the prompts of a configuration, what a model is asked by one, and what two
//! versions differ in.
//!
//! It opens no socket, and knows no flag: which version a caller gets is for a running gateway to say.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value};

use super::loading::{input, load};
use super::output::put_and_end;
use super::table::aligned;
use crate::config::engine::value::hint;
use crate::config::plan::{Plan, PromptPlan, PromptVersion, PromptsPlan};

/// What is asked of the command.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// All prompts with their versions.
    List,
    /// The messages that a prompt becomes.
    Render {
        /// `KEY` or `KEY@VERSION`; without a version, the active one.
        prompt: String,
        /// Values of variables, `NAME=TEXT`.
        variables: Vec<String>,
        /// A file with values of variables, a JSON object; `-` reads the standard input.
        json: Option<PathBuf>,
    },
    /// What two versions differ in.
    Diff {
        /// The prompt.
        key: String,
        /// A version.
        from: u32,
        /// Another one.
        to: u32,
    },
}

/// More lines than this are not compared one by one.
const MAX_LINES: usize = 4000;

/// As many lines that are the same are shown around one that is not.
const AROUND: usize = 2;

/// Prints it. Exit code 0: done (`diff`: both are the same); 2: they differ; 1: something is wrong.
pub fn run(file: Option<&Path>, wanted: &Wanted) -> ExitCode {
    let Some(loaded) = load(file) else { return ExitCode::FAILURE };
    match show(&loaded.plan, wanted) {
        Ok((text, differs)) => put_and_end(&text, if differs { 2 } else { 0 }, 1),
        Err(problem) => {
            eprintln!("tidegate: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The text, and whether two versions differ.
fn show(plan: &Plan, wanted: &Wanted) -> Result<(String, bool), String> {
    match wanted {
        Wanted::List => Ok((list(&plan.prompts), false)),
        Wanted::Render { prompt, variables, json } => {
            let (prompt, version) = find(&plan.prompts, prompt)?;
            let values = values(variables, json.as_deref())?;
            render(prompt, version, &values).map(|text| (text, false))
        }
        Wanted::Diff { key, from, to } => {
            let version = |number: &u32| find(&plan.prompts, &format!("{key}@{number}")).map(|(_, version)| version);
            let (from, to) = (version(from)?, version(to)?);
            let text = diff(&lines(from), &lines(to));
            Ok(if text.is_empty() { ("no differences\n".into(), false) } else { (text, true) })
        }
    }
}

fn list(prompts: &PromptsPlan) -> String {
    let mut rows = vec![["PROMPT", "VERSION", "STATUS", "SHARE", "MODEL", "ANSWER", "VARIABLES"].map(String::from)];
    for prompt in prompts.iter() {
        for version in &prompt.versions {
            let share = prompt.testing().any(|tested| tested.number == version.number);
            rows.push([
                prompt.key.to_string(),
                version.number.to_string(),
                version.status.as_str().into(),
                if share { format!("{} %", version.share.percent()) } else { String::new() },
                version.model.as_deref().unwrap_or_default().into(),
                if version.shape.is_some() { "schema".into() } else { "text".into() },
                version.variables().into_iter().collect::<Vec<_>>().join(", "),
            ]);
        }
    }
    aligned(&rows)
}

/// The version that `KEY` or `KEY@VERSION` names.
fn find<'p>(prompts: &'p PromptsPlan, wanted: &str) -> Result<(&'p PromptPlan, &'p PromptVersion), String> {
    let (key, number) = match wanted.split_once('@') {
        Some((key, number)) => (key, Some(number)),
        None => (wanted, None),
    };
    let Some(prompt) = prompts.find(key) else {
        let known = || prompts.iter().map(|prompt| &*prompt.key);
        let hint = hint(key, known());
        return Err(format!(
            "there is no prompt {key:?}{hint} (there are: {})",
            known().collect::<Vec<_>>().join(", ")
        ));
    };
    let version = match number {
        None => prompt.active().ok_or_else(|| format!("no version of `{key}` is active: name one, {key}@VERSION"))?,
        Some(number) => {
            let found = prompt.versions.iter().find(|version| version.number.to_string() == number);
            let known = || prompt.versions.iter().map(|it| it.number.to_string()).collect::<Vec<_>>().join(", ");
            found.ok_or_else(|| format!("`{key}` has no version {number:?} (it has: {})", known()))?
        }
    };
    Ok((prompt, version))
}

/// The values of variables: those of the file, and over them those of the command line.
fn values(variables: &[String], json: Option<&Path>) -> Result<Map<String, Value>, String> {
    let mut values = match json {
        None => Map::new(),
        Some(file) => {
            let name = file.display();
            serde_json::from_slice(&input(file)?).map_err(|fault| format!("{name}: not a JSON object: {fault}"))?
        }
    };
    for variable in variables {
        let (name, value) =
            variable.split_once('=').ok_or_else(|| format!("--var {variable:?}: expected NAME=TEXT"))?;
        values.insert(name.into(), value.into());
    }
    Ok(values)
}

/// What a model is asked, as a log of a conversation shows it.
fn render(prompt: &PromptPlan, version: &PromptVersion, values: &Map<String, Value>) -> Result<String, String> {
    let known = version.variables();
    if let Some(name) = values.keys().find(|name| !known.contains(&***name)) {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(format!("`{name}` is no variable of `{}` (it has: {known})", prompt.key));
    }
    let mut text = format!("{}@{} ({})\n", prompt.key, version.number, version.status.as_str());
    for (name, value) in settings(version) {
        let _ = writeln!(text, "{name}: {value}");
    }
    let system = version.instruction.as_ref().map(|template| ("system", "instruction", template));
    for (role, key, template) in system.into_iter().chain([("user", "template", &version.template)]) {
        let rendered = template.render(values).map_err(|wrong| format!("{key} of `{}`: {wrong}", prompt.key))?;
        let _ = write!(text, "\n[{role}]\n{}\n", rendered.trim_end());
    }
    Ok(text)
}

/// What a version sets besides its texts.
fn settings(version: &PromptVersion) -> impl Iterator<Item = (&'static str, String)> {
    [
        ("model", version.model.as_ref().map(ToString::to_string)),
        ("max_tokens", version.max_tokens.map(|it| it.to_string())),
        ("temperature", version.temperature.map(|it| it.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// A version as lines that can be compared.
fn lines(version: &PromptVersion) -> Vec<String> {
    let mut all: Vec<String> = settings(version).map(|(name, value)| format!("{name} = {value}")).collect();
    let schema = version.shape.as_ref().and_then(|shape| serde_json::from_str::<Value>(shape.schema()).ok());
    let schema = schema.map(|schema| format!("{schema:#}"));
    let instruction = version.instruction.as_ref().map(|template| template.source());
    let texts = [
        ("instruction", instruction),
        ("template", Some(version.template.source())),
        ("output_schema", schema.as_deref()),
    ];
    for (name, text) in texts {
        let Some(text) = text else { continue };
        all.push(format!("{name}:"));
        all.extend(text.lines().map(|line| format!("  {line}")));
    }
    all
}

/// The lines in which two texts differ, with a few around them; empty where they do not.
fn diff(before: &[String], after: &[String]) -> String {
    let marked = marked(before, after);
    let is_near = |at: usize| {
        let near = &marked[at.saturating_sub(AROUND)..(at + AROUND + 1).min(marked.len())];
        near.iter().any(|(mark, _)| *mark != ' ')
    };
    let (mut text, mut is_cut) = (String::new(), false);
    for (at, (mark, line)) in marked.iter().enumerate() {
        match is_near(at) {
            true => {
                let _ = writeln!(text, "{mark} {line}");
            }
            false if !is_cut && !text.is_empty() => text.push_str("...\n"),
            false => {}
        }
        is_cut = !is_near(at);
    }
    text.trim_end_matches("...\n").into()
}

/// All lines of both: those of the longest common sequence once, with a space.
fn marked<'l>(before: &'l [String], after: &'l [String]) -> Vec<(char, &'l str)> {
    let begin = before.iter().zip(after).take_while(|(left, right)| left == right).count();
    let (left, right) = (&before[begin..], &after[begin..]);
    let mut all: Vec<(char, &str)> = before[..begin].iter().map(|line| (' ', line.as_str())).collect();
    let wide = right.len() + 1;
    let is_short = left.len().max(right.len()) <= MAX_LINES;
    // How long the longest sequence is that both have from these places on.
    let mut common = vec![0_u16; if is_short { (left.len() + 1) * wide } else { 0 }];
    if is_short {
        for row in (0..left.len()).rev() {
            for column in (0..right.len()).rev() {
                common[row * wide + column] = match left[row] == right[column] {
                    true => common[(row + 1) * wide + column + 1] + 1,
                    false => common[(row + 1) * wide + column].max(common[row * wide + column + 1]),
                };
            }
        }
    }
    let (mut row, mut column) = (0, 0);
    while row < left.len() || column < right.len() {
        let is_same = row < left.len() && column < right.len() && left[row] == right[column];
        let goes_left = column == right.len()
            || (row < left.len()
                && (!is_short || common[(row + 1) * wide + column] >= common[row * wide + column + 1]));
        match (is_same && is_short, goes_left) {
            (true, _) => {
                all.push((' ', &left[row]));
                (row, column) = (row + 1, column + 1);
            }
            (false, true) => {
                all.push(('-', &left[row]));
                row += 1;
            }
            (false, false) => {
                all.push(('+', &right[column]));
                column += 1;
            }
        }
    }
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Variables, load};

    const CONFIG: &str = "defaults = false\n[prompt.greet.1]\nstatus = 'active'\ntemplate = '''\nHello\n{{ name }}\nBye'''\n\
                          temperature = 0.2\n[prompt.greet.2]\nstatus = 'testing'\npercent = 5\nmodel = 'm'\n\
                          instruction = 'Be kind.'\ntemplate = '''\nHello\nDear {{ name }}\nBye'''\n";

    fn shown(wanted: &Wanted) -> Result<(String, bool), String> {
        show(&load(Some(("x.toml", CONFIG)), &Variables::default()).unwrap(), wanted)
    }

    fn render_with(prompt: &str, variables: &[&str]) -> Result<String, String> {
        let variables = variables.iter().map(|it| (*it).to_owned()).collect();
        shown(&Wanted::Render { prompt: prompt.into(), variables, json: None }).map(|(text, _)| text)
    }

    #[test]
    fn a_list_has_a_row_for_each_version() {
        let (text, _) = shown(&Wanted::List).unwrap();
        assert_eq!(
            text,
            "PROMPT  VERSION  STATUS   SHARE  MODEL  ANSWER  VARIABLES\n\
             greet   1        active                 text    name\n\
             greet   2        testing  5 %    m      text    name\n"
        );
    }

    #[test]
    fn a_prompt_is_shown_as_a_model_gets_it() {
        assert_eq!(
            render_with("greet", &["name={{ A }}=b"]).unwrap(),
            "greet@1 (active)\ntemperature: 0.2\n\n[user]\nHello\n{{ A }}=b\nBye\n"
        );
        assert_eq!(
            render_with("greet@2", &["name=A"]).unwrap(),
            "greet@2 (testing)\nmodel: m\n\n[system]\nBe kind.\n\n[user]\nHello\nDear A\nBye\n"
        );
    }

    #[test]
    fn what_cannot_be_shown_is_told() {
        let wrong = |prompt, variables: &[&str]| render_with(prompt, variables).unwrap_err();
        assert_eq!(wrong("great", &[]), "there is no prompt \"great\", did you mean `greet`? (there are: greet)");
        assert_eq!(wrong("greet@3", &[]), "`greet` has no version \"3\" (it has: 1, 2)");
        assert_eq!(wrong("greet", &[]), "template of `greet`: `name` has no value, which line 2 of the template needs");
        assert_eq!(wrong("greet", &["nam=e"]), "`nam` is no variable of `greet` (it has: name)");
        assert_eq!(wrong("greet", &["name"]), "--var \"name\": expected NAME=TEXT");
    }

    #[test]
    fn a_diff_shows_what_differs() {
        let (text, differs) = shown(&Wanted::Diff { key: "greet".into(), from: 1, to: 2 }).unwrap();
        assert!(differs);
        assert_eq!(
            text,
            "- temperature = 0.2\n+ model = m\n+ instruction:\n+   Be kind.\n  template:\n    Hello\n-   {{ name }}\n\
             +   Dear {{ name }}\n    Bye\n"
        );
        let same = shown(&Wanted::Diff { key: "greet".into(), from: 1, to: 1 }).unwrap();
        assert_eq!(same, ("no differences\n".into(), false));
    }

    proptest! {
        #[test]
        fn a_diff_makes_one_text_of_the_other(
            before in prop::collection::vec("[ab]", 0..8), after in prop::collection::vec("[ab]", 0..8),
        ) {
            let marked = marked(&before, &after);
            let side = |other: char| {
                marked.iter().filter(move |(mark, _)| *mark != other).map(|(_, line)| *line).collect::<Vec<_>>()
            };
            prop_assert_eq!(side('+'), before.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(side('-'), after.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
