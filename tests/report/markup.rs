//! Reads markup as strictly as XML: every tag closed, every attribute quoted, nothing but escaped text between them.

/// What was found in it.
#[derive(Default)]
pub(crate) struct Markup {
    /// The names of its elements.
    pub(crate) elements: Vec<String>,
    /// Attributes with their values, as they are written.
    pub(crate) attributes: Vec<(String, String)>,
}

/// Reads it, or says where it is not well-formed.
pub(crate) fn read(text: &str) -> Result<Markup, String> {
    let mut found = Markup::default();
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.strip_prefix("<!doctype html>\n").unwrap_or(text);
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        check_text(before)?;
        if let Some(name) = tag.strip_prefix("</") {
            let (name, after) = name.split_once('>').ok_or("a tag without its end")?;
            let opened = open.pop();
            if opened != Some(name) {
                return Err(format!(
                    "</{name}> closes {opened:?}, after {:?}",
                    &before[before.len().saturating_sub(40)..]
                ));
            }
            rest = after;
            continue;
        }
        let end = tag.find(['>', ' ', '/']).ok_or("a tag without its end")?;
        let name = &tag[1..end];
        if name.is_empty() || !name.bytes().all(|letter| letter.is_ascii_alphanumeric()) {
            return Err(format!("<{name}> is no name"));
        }
        found.elements.push(name.to_owned());
        let mut attributes = &tag[end..];
        loop {
            attributes = attributes.trim_start();
            if let Some(after) = attributes.strip_prefix("/>") {
                rest = after;
                break;
            }
            if let Some(after) = attributes.strip_prefix('>') {
                open.push(name);
                rest = after;
                break;
            }
            let (key, value) = attributes.split_once("=\"").ok_or(format!("an attribute of {name} without a value"))?;
            let (value, after) = value.split_once('"').ok_or(format!("{key} without an end"))?;
            if !key.bytes().all(|letter| letter.is_ascii_alphabetic() || letter == b'-') {
                return Err(format!("{key} is no attribute"));
            }
            check_text(value)?;
            if value.contains('<') {
                return Err(format!("{key} has a `<`"));
            }
            found.attributes.push((key.to_owned(), value.to_owned()));
            attributes = after;
        }
        if name == "style" {
            // Style is not escaped: it holds nothing that would have to be.
            let (style, _) = rest.split_once("</style>").ok_or("style without an end")?;
            assert!(!style.contains('<') && !style.contains('&'));
            rest = &rest[style.len()..];
        }
    }
    check_text(rest)?;
    if open.is_empty() { Ok(found) } else { Err(format!("{open:?} stay open")) }
}

fn check_text(text: &str) -> Result<(), String> {
    const ENTITIES: [&str; 5] = ["amp;", "lt;", "gt;", "quot;", "#39;"];
    let is_entity = |rest: &str| ENTITIES.iter().any(|entity| rest.starts_with(entity));
    if text.split('&').skip(1).any(|rest| !is_entity(rest)) {
        return Err(format!("a bare `&` in {text:?}"));
    }
    match text.chars().find(|letter| letter.is_control() && *letter != '\n') {
        Some(control) => Err(format!("{control:?} in {text:?}")),
        None => Ok(()),
    }
}
