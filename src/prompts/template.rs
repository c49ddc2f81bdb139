//! Template: the text of a prompt with places for variables.
//!
//! The values of a caller are data: nothing in them is read as a template. Rendering is bounded in time, memory and output,
//! whatever the template and the values are. It does not know where templates come from, nor who gives the values.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde_json::Map;

/// The longest text that a template may render to, in bytes: four times what the largest context of the models that the
/// deployments use takes.
pub const MAX_RENDERED: usize = 256 * 1024;

/// The longest template, in bytes. What a template repeats is in its variables.
pub const MAX_TEMPLATE: usize = 64 * 1024;

/// What one rendering may do. One unit is one instruction, or 64 bytes that are made or written (minijinja, `vm/fuel.rs`): text
/// of the longest length may be made twice, with 10,000 instructions beside it.
const FUEL: u64 = 2 * MAX_RENDERED as u64 / 64 + 10_000;

/// How deep loops, conditions and calls may be nested. Each level takes stack.
const MAX_NESTING: usize = 50;

/// The longest `{{ .. }}` or `{% .. %}`, in bytes. A chain in one (`not not ..`, `a ~ b ~ ..`) is nested too, once it is read,
/// and nothing else bounds it.
const MAX_TAG: usize = 1024;

/// The most `{% elif %}`: each is nested in the one before.
const MAX_ELIF: usize = 100;

/// The only template of its environment.
const NAME: &str = "prompt";

/// A template that was read. Cheap to clone.
#[derive(Clone)]
pub struct Template(Arc<Read>);

struct Read {
    source: Box<str>,
    environment: Environment<'static>,
    variables: BTreeSet<Box<str>>,
}

/// Why a template cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The line of the template, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

/// Why a template cannot be rendered with some values. No variant holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// A variable that has no value, or a field that its value does not have: `town`, `town.name`. `None` where the template
    /// computes the name.
    Undefined {
        /// The variable or field.
        name: Option<String>,
        /// The line of the template, from 1.
        line: usize,
    },
    /// The text would be longer than [`MAX_RENDERED`], or take too much work.
    TooLarge,
    /// The values are of another kind than the template takes: a loop over a number, say.
    Failed {
        /// What kind of mistake it is.
        what: String,
        /// The line of the template, from 1.
        line: usize,
    },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Its first mistake of syntax, an unknown filter, test or function as far as trying finds one, a text longer than
    /// [`MAX_TEMPLATE`], or a tag or a chain of conditions that takes too much stack.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE {
            let message = format!("it has {} bytes; the most is {MAX_TEMPLATE}", source.len());
            return Err(TemplateError { line: 1, message });
        }
        bound_stack(source)?;
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_recursion_limit(MAX_NESTING);
        environment.set_fuel(Some(FUEL));
        // It writes all variables into the text, where a typing mistake for one of them is easily made.
        environment.remove_global("debug");
        environment.add_template_owned(NAME, source.to_owned()).map_err(TemplateError::of)?;
        let known: BTreeSet<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
        let named = environment.get_template(NAME).map_err(TemplateError::of)?.undeclared_variables(false);
        let variables: BTreeSet<Box<str>> =
            named.into_iter().filter(|name| !known.contains(name)).map(Into::into).collect();
        try_names(&mut environment, &variables)?;
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        Ok(Self(Arc::new(Read { source: source.into(), environment, variables })))
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The variables that it names, whether or not it can do without them.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.variables.iter().map(|name| &**name)
    }

    /// The text with these values in the places of the variables.
    ///
    /// # Errors
    /// A variable without a value, a value of the wrong kind, or a text that is too long.
    pub fn render(&self, values: &Map<String, serde_json::Value>) -> Result<String, RenderError> {
        let template = self.0.environment.get_template(NAME).map_err(RenderError::of)?;
        let text = template.render(Value::from(Serde(values))).map_err(RenderError::of)?;
        match text.len() > MAX_RENDERED {
            true => Err(RenderError::TooLarge),
            false => Ok(text),
        }
    }
}

/// Refuses what would take more stack to read and to run than a thread has.
fn bound_stack(source: &str) -> Result<(), TemplateError> {
    let (mut rest, mut elifs) = (source, 0);
    let line = |rest: &str| 1 + source[..source.len() - rest.len()].matches('\n').count();
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min() {
        rest = &rest[start..];
        if rest.starts_with("{#") {
            rest = rest.find("#}").map_or("", |end| &rest[end + 2..]);
            continue;
        }
        let length = tag(rest);
        if length > MAX_TAG {
            let message = format!("the tag that begins here has {length} bytes; the most is {MAX_TAG}");
            return Err(TemplateError { line: line(rest), message });
        }
        let word = rest[2..length].trim_start_matches(['-', '+']).trim_start();
        elifs += usize::from(rest.starts_with("{%") && word.starts_with("elif"));
        if elifs > MAX_ELIF {
            let message = format!("there are more than {MAX_ELIF} `elif`");
            return Err(TemplateError { line: line(rest), message });
        }
        // What stands between these two is text.
        let is_raw = rest.starts_with("{%") && word.starts_with("raw");
        rest = &rest[length..];
        if is_raw {
            rest = rest.find("endraw").map_or("", |end| &rest[end..]);
        }
    }
    Ok(())
}

/// How long the tag is that a text begins with, its borders included. What a string holds ends no tag.
fn tag(text: &str) -> usize {
    let end = if text.starts_with("{{") { "}}" } else { "%}" };
    let (mut quote, mut is_escaped) = (None, false);
    for (at, byte) in text.bytes().enumerate().skip(2) {
        match (quote, byte) {
            _ if is_escaped => is_escaped = false,
            (Some(_), b'\\') => is_escaped = true,
            (Some(open), close) if open == close => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, _) if text.as_bytes()[at..].starts_with(end.as_bytes()) => return at + end.len(),
            _ => {}
        }
    }
    text.len()
}

/// Finds unknown filters, tests and functions, which are looked up only when a rendering reaches them: it tries one without
/// any variable and one with all of them. Other mistakes of these two are no mistakes of the template.
fn try_names(environment: &mut Environment<'_>, variables: &BTreeSet<Box<str>>) -> Result<(), TemplateError> {
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    let all: Map<_, _> = variables.iter().map(|name| (name.to_string(), serde_json::Value::from("x"))).collect();
    for values in [Map::new(), all] {
        let template = environment.get_template(NAME).map_err(TemplateError::of)?;
        if let Err(error) = template.render(Value::from(Serde(&values)))
            && let ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction = error.kind()
        {
            return Err(TemplateError::of(error));
        }
    }
    Ok(())
}

impl TemplateError {
    fn of(error: Error) -> Self {
        let message = match (error.kind(), error.detail()) {
            (ErrorKind::UnknownFunction, Some(detail)) => format!("function {detail}"),
            (_, Some(detail)) => detail.to_owned(),
            (kind, None) => kind.to_string(),
        };
        Self { line: error.line().unwrap_or(1), message }
    }
}

impl RenderError {
    fn of(error: Error) -> Self {
        let line = error.line().unwrap_or(1);
        match error.kind() {
            // The detail of other errors may hold a value.
            ErrorKind::UndefinedError => Self::Undefined { name: error.detail().and_then(undefined), line },
            ErrorKind::OutOfFuel => Self::TooLarge,
            kind => Self::Failed { what: kind.to_string(), line },
        }
    }
}

/// The name in "`town.name` is undefined", if it is one that stands in the template.
fn undefined(detail: &str) -> Option<String> {
    let name = detail.strip_prefix('`')?.split('`').next()?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    (is_name && !name.is_empty()).then(|| name.to_owned())
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.0.source).finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the template: {}", self.line, self.message)
    }
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RenderError::Undefined { name: Some(name), line } => {
                write!(f, "`{name}` has no value, which line {line} of the template needs")
            }
            RenderError::Undefined { name: None, line } => {
                write!(f, "a value that line {line} of the template needs is missing")
            }
            RenderError::TooLarge => write!(f, "the prompt would be longer than {} KiB", MAX_RENDERED / 1024),
            RenderError::Failed { what, line } => write!(f, "line {line} of the template cannot use a value: {what}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values(values: serde_json::Value) -> Map<String, serde_json::Value> {
        values.as_object().unwrap().clone()
    }

    fn rendered(source: &str, with: serde_json::Value) -> Result<String, RenderError> {
        Template::new(source).unwrap().render(&values(with))
    }

    fn wrong(source: &str) -> TemplateError {
        Template::new(source).unwrap_err()
    }

    /// What would overflow the stack does so here: a test's thread has as much as the gateway's.
    #[test]
    fn chains_are_refused_before_they_take_the_stack() {
        let many = |piece: &str| piece.repeat(60_000 / piece.len());
        for (before, chain, after) in [
            ("{{ ", "not ", "x }}"),
            ("{{ ", "-", "1 }}"),
            ("{{ x", " ~ x", " }}"),
            ("{{ x", " and x", " }}"),
            ("{{ x", "[0]", " }}"),
            ("{{ x", "|upper", " }}"),
            ("{{ '}}' ", "~ x", " }}"),
            ("{% if ", "not ", "x %}{% endif %}"),
            ("{% if x %}", "{% elif x %}", "{% endif %}"),
            ("{% raw %}{% endraw %}{{ ", "not ", "x }}"),
        ] {
            let error = wrong(&format!("\n{before}{}{after}", many(chain)));
            assert_eq!(error.line, 2, "{error}");
            assert!(error.message.contains("the most is 1024") || error.message.contains("`elif`"), "{error}");
            // The longest that is read is read, tried and rendered: with an error perhaps.
            let room =
                if chain.contains("elif") { MAX_ELIF * chain.len() } else { MAX_TAG - before.len() - after.len() };
            let longest = format!("{before}{}{after}", chain.repeat(room / chain.len()));
            let _ = Template::new(&longest).map(|template| template.render(&values(json!({"x": [true]}))));
        }
        for text in ["{% raw %}{{ ", "{# {{ "] {
            let end = if text.starts_with("{#") { " #}" } else { "{% endraw %}" };
            assert!(Template::new(&format!("{text}{}{end}", many("not "))).is_ok(), "{text}");
        }
        assert_eq!(rendered("{{ '}}' }}{\"a\": {}}", json!({})).unwrap(), "}}{\"a\": {}}");
    }

    #[test]
    fn variables_take_their_places() {
        let text = "Sell {{ what }} in {{ towns | join(', ') }}{% if note is defined %} ({{ note }}){% endif %}.";
        let template = Template::new(text).unwrap();
        assert_eq!(template.variables().collect::<Vec<_>>(), ["note", "towns", "what"]);
        let both = values(json!({"what": "tea", "towns": ["Bonn", "Köln"]}));
        assert_eq!(template.render(&both).unwrap(), "Sell tea in Bonn, Köln.");
        let all = values(json!({"what": "tea", "towns": [], "note": "now"}));
        assert_eq!(template.render(&all).unwrap(), "Sell tea in  (now).");
        assert_eq!(template.source(), text);
    }

    #[test]
    fn functions_and_what_a_template_sets_itself_are_no_variables() {
        let text = "{% set n = 2 %}{% for i in range(n) %}{{ i }}{{ loop.index }}{{ dict(a=1).a }}{% endfor %}";
        let template = Template::new(text).unwrap();
        assert_eq!(template.variables().count(), 0);
        assert_eq!(template.render(&Map::new()).unwrap(), "011121");
    }

    #[test]
    fn json_is_written_as_it_is() {
        let canvas = json!({"canvas": {"keyPartners": ["A & B", "</script>\""]}});
        assert_eq!(rendered("{{ canvas.keyPartners[0] }}", canvas.clone()).unwrap(), "A & B");
        let text = rendered("{{ canvas | tojson }}", canvas.clone()).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), canvas["canvas"]);
    }

    #[test]
    fn a_variable_without_a_value_is_named_with_its_line() {
        let undefined = |name: &str, line| Err(RenderError::Undefined { name: Some(name.into()), line });
        assert_eq!(rendered("Hello\n{{ town }}", json!({})), undefined("town", 2));
        assert_eq!(rendered("{{ town.name }}", json!({"town": {}})), undefined("town.name", 1));
        assert_eq!(rendered("{% if town %}x{% endif %}", json!({})), undefined("town", 1));
        assert_eq!(rendered("{% for t in town %}x{% endfor %}", json!({})), undefined("town", 1));
        assert_eq!(rendered("{{ town | upper }}", json!({})), undefined("town", 1));
        let computed = rendered("{{ a[b] }}", json!({"a": {}, "b": "secret value"})).unwrap_err();
        assert!(matches!(computed, RenderError::Undefined { .. }) && !computed.to_string().contains("secret"));
        let shown = rendered("{{ town }}", json!({})).unwrap_err().to_string();
        assert_eq!(shown, "`town` has no value, which line 1 of the template needs");
    }

    #[test]
    fn values_are_never_read_as_a_template() {
        for value in ["{{ town }}", "{% for x in range(9) %}x{% endfor %}", "{# gone #}", "{% raw %}", "}}{{", "%}"] {
            let text = rendered("<{{ name }}{{ name | upper }}>", json!({"name": value, "town": "Bonn"})).unwrap();
            assert_eq!(text, format!("<{value}{}>", value.to_uppercase()));
            let nested = rendered("{{ a.b[0] }}", json!({"a": {"b": [value]}, "town": "Bonn"})).unwrap();
            assert_eq!(nested, value);
        }
        // Nor the names of fields.
        let keys = json!({"a": {"{{ town }}": 1}, "town": "Bonn"});
        assert_eq!(rendered("{{ a | items | first | first }}", keys).unwrap(), "{{ town }}");
    }

    #[test]
    fn no_other_file_and_no_definition_can_be_reached() {
        for source in [
            "{% include '/etc/passwd' %}",
            "{% import 'x' as y %}",
            "{% extends 'x' %}",
            "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
            "{% block a %}{% endblock %}",
        ] {
            assert!(wrong(source).message.contains("unknown statement"), "{source}: {}", wrong(source));
        }
        assert!(wrong("{{ debug() }}").message.contains("debug"), "{}", wrong("{{ debug() }}"));
    }

    #[test]
    fn work_and_output_are_bounded() {
        let loops = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}";
        assert_eq!(rendered(loops, json!({})), Err(RenderError::TooLarge));
        for source in
            ["{{ 'x' * 1000000000 }}", "{% set a = 'x' * 1000 %}{% for i in range(1000) %}{{ a }}{% endfor %}"]
        {
            assert_eq!(rendered(source, json!({})), Err(RenderError::TooLarge), "{source}");
        }
        let at_most = json!({"v": "y".repeat(MAX_RENDERED)});
        assert_eq!(rendered("{{ v }}", at_most.clone()).unwrap().len(), MAX_RENDERED);
        assert_eq!(rendered("{{ v }}.", at_most), Err(RenderError::TooLarge));
        assert_eq!(rendered("{{ v }}", json!({"v": "y".repeat(50_000_000)})), Err(RenderError::TooLarge));
        let doubled = "{% set a = v ~ v %}{% set b = a ~ a %}{% set c = b ~ b %}{% set d = c ~ c %}{{ d | length }}";
        assert_eq!(rendered(doubled, json!({"v": "y".repeat(200_000)})), Err(RenderError::TooLarge));
        let long = "x".repeat(MAX_TEMPLATE + 1);
        assert_eq!(wrong(&long).message, format!("it has {} bytes; the most is {MAX_TEMPLATE}", long.len()));
    }

    #[test]
    fn nesting_is_bounded_in_templates_and_in_values() {
        let deep = format!("{}x{}", "{% if true %}".repeat(2_000), "{% endif %}".repeat(2_000));
        assert_eq!(wrong(&deep).message, "template exceeds maximum recursion limits");
        let parens = format!("{{{{ {}1{} }}}}", "(".repeat(500), ")".repeat(500));
        assert_eq!(wrong(&parens).message, "template exceeds maximum recursion limits");
        // As deep as JSON may be that was read.
        let mut value = json!("{{ town }}");
        for _ in 0..126 {
            value = json!([value]);
        }
        let text = rendered("{{ v | tojson }}{{ v }}", json!({"v": value})).unwrap();
        assert!(text.starts_with(&"[".repeat(126)));
    }

    #[test]
    fn what_is_wrong_with_a_template_is_told_with_its_line() {
        let lines = [("a\nb {{ a", 2), ("{% if %}", 1), ("\n\n{% for x %}", 3), ("x {% endfor %}", 1)];
        for (source, line) in lines {
            let error = wrong(source);
            assert!(error.line == line && !error.message.is_empty(), "{source}: {error}");
        }
        let message = |source| wrong(source).to_string();
        assert_eq!(message("a\n{{ b | uper }}"), "line 2 of the template: filter uper is unknown");
        assert_eq!(
            message("{% if b is defined %}{{ b | uper }}{% endif %}"),
            "line 1 of the template: filter uper is unknown"
        );
        assert_eq!(message("{{ b() }}"), "line 1 of the template: function b is unknown");
        assert_eq!(message("{{ b is evn }}"), "line 1 of the template: test evn is unknown");
        assert_eq!(wrong("a\nb {% fro x in y %}").to_string(), "line 2 of the template: unknown statement fro");
    }

    #[test]
    fn an_error_never_shows_a_value() {
        for source in ["{% for x in v %}{% endfor %}", "{{ v + 1 }}", "{{ v | round }}", "{{ v.a() }}", "{{ v.a.b }}"] {
            let error = rendered(source, json!({"v": "canary"})).err().map(|error| error.to_string());
            assert!(error.as_ref().is_none_or(|error| !error.contains("canary")), "{source}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn any_value_comes_out_as_it_went_in(value in any::<String>()) {
            prop_assert_eq!(rendered("{{ v }}", json!({"v": value.clone()})).unwrap(), value);
        }

        #[test]
        fn any_template_is_read_or_refused(source in "[a-z{}%#|().\\[\\]'\"= \n-]{0,80}") {
            if let Ok(template) = Template::new(&source) {
                let _ = template.render(&Map::new());
            }
        }
    }
}
