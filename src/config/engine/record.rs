//! Record: which keys the readers asked for, and their types. Only the generated pages need it; a gateway keeps
//! none.
//!
//! It knows no key itself, so that every key that is read is documented.

use std::collections::BTreeMap;

use crate::config::engine::shape::Form;

/// Stands for a name that the user chooses.
pub(crate) const ANY: &str = "*";

/// A table or a key, with what is inside it.
#[derive(Debug, Default)]
pub(crate) struct KnownKey {
    /// All ways to write it.
    pub(crate) forms: Vec<Form>,
    /// True when its table makes no sense without it.
    pub(crate) is_required: bool,
    /// What is inside, by key; [`ANY`] in a table of names.
    pub(crate) inside: BTreeMap<String, KnownKey>,
}

impl KnownKey {
    /// Notes that a key, by its full name, can be written like this.
    pub(crate) fn add(&mut self, path: &str, form: Form) {
        let known = self.at(path);
        if !known.forms.contains(&form) {
            known.forms.push(form);
        }
    }

    /// Notes that there is a key. What it takes is noted by whoever reads it.
    pub(crate) fn meet(&mut self, path: &str) {
        self.at(path);
    }

    /// Notes that a key has to be there.
    pub(crate) fn require(&mut self, path: &str) {
        self.at(path).is_required = true;
    }

    /// What is known by this name; names that the user chose all count as [`ANY`].
    pub(crate) fn find(&self, path: &str) -> Option<&KnownKey> {
        segments(path).iter().try_fold(self, |known, segment| known.inside.get(known.name_of(segment)))
    }

    /// True for a key of which nobody has said that it may be shown.
    pub(crate) fn is_hidden(&self, path: &str) -> bool {
        let Some(known) = self.find(path) else { return true };
        known.forms.is_empty() || known.forms.iter().any(Form::is_secret)
    }

    /// The names of all keys that take secrets, below `path`.
    #[cfg(test)]
    pub(crate) fn secret_keys(&self, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (key, known) in &self.inside {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            found.extend(known.secret_keys(&path));
            if known.forms.iter().any(Form::is_secret) {
                found.push(path);
            }
        }
        found
    }

    /// What a user's own tables look like with nothing in them: `[provider.NAME]`. Whoever reads this misses what they need.
    pub(crate) fn bare(&self) -> String {
        let mut text = String::new();
        for (key, known) in self.inside.iter().filter(|(_, known)| known.forms.contains(&Form::Names)) {
            text.push_str(&format!("[{key}.NAME]\n"));
            let named = known.inside.get(ANY).into_iter().flat_map(|named| &named.inside);
            let holders = named.filter(|(_, known)| known.forms.contains(&Form::Tables));
            holders.for_each(|(key, _)| text.push_str(&format!("{key} = [{{}}]\n")));
        }
        text
    }

    /// The general name of a key: `provider.*.url` of `provider.openai.url`.
    pub(crate) fn general(&self, path: &str) -> String {
        let (mut known, mut names) = (Some(self), Vec::new());
        for segment in segments(path) {
            let name = known.map_or(segment, |known| known.name_of(segment));
            known = known.and_then(|known| known.inside.get(name));
            names.push(name);
        }
        names.join(".")
    }

    fn at(&mut self, path: &str) -> &mut KnownKey {
        segments(path).into_iter().fold(self, |known, segment| {
            let name = known.name_of(segment).to_owned();
            known.inside.entry(name).or_default()
        })
    }

    fn name_of<'a>(&self, segment: &'a str) -> &'a str {
        if self.forms.contains(&Form::Names) { ANY } else { segment }
    }
}

/// The parts of a full name; dots within quotes belong to a part.
fn segments(path: &str) -> Vec<&str> {
    let mut is_quoted = false;
    path.split(move |letter| {
        is_quoted ^= letter == '"';
        letter == '.' && !is_quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_users_choose_are_one_name() {
        let mut root = KnownKey::default();
        root.add("price", Form::Names);
        root.add(r#"price."gpt-3.5*".input"#, Form::Table);
        root.add("price.mine.output", Form::Table);
        assert_eq!(root.general("price.other.input"), "price.*.input");
        let inside: Vec<&String> =
            root.find("price.any").map(|known| known.inside.keys().collect()).unwrap_or_default();
        assert_eq!(inside, ["input", "output"]);
        assert!(root.find("price.any.else").is_none());
    }
}
