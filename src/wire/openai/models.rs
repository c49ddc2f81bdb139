//! Model lists (`GET /models`): reads a provider's list, and merges several. Entries stay as their provider wrote
//! them.
//!
//! It does not know which models the gateway serves, nor who may name them.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The largest list that is looked into: several times what a provider with every model there is says of them.
pub const MAX_LIST: usize = 4 << 20;

/// One model of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name, where it has one.
    pub id: Option<Box<str>>,
    /// What its provider says of it.
    pub raw: Bytes,
}

impl Model {
    /// A model of which nothing is known but its name and whose it is.
    pub fn named(id: &str, owner: &str) -> Self {
        let raw = json!({"id": id, "object": "model", "created": 0, "owned_by": owner});
        Self { id: Some(id.into()), raw: raw.to_string().into() }
    }

    fn read(body: &Bytes, raw: &RawValue) -> Option<Self> {
        #[derive(Deserialize)]
        struct Named {
            id: Value,
        }
        // What is no object describes no model.
        let is_object = raw.get().starts_with('{');
        let id = match serde_json::from_str(raw.get()) {
            Ok(Named { id: Value::String(id) }) => Some(id.into()),
            _ => None,
        };
        is_object.then(|| Self { id, raw: body.slice_ref(raw.get().as_bytes()) })
    }
}

/// The models of a list, in its order: `{"data": [...]}`, or a bare array. `None`: it is no list, or too large for one.
pub fn read(body: &Bytes) -> Option<Vec<Model>> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
    }
    if body.len() > MAX_LIST {
        return None;
    }
    let items = match body.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice::<Vec<&RawValue>>(body).ok()?,
        _ => serde_json::from_slice::<List<'_>>(body).ok()?.data,
    };
    Some(items.into_iter().filter_map(|raw| Model::read(body, raw)).collect())
}

/// A list of these models.
pub fn write<'a>(models: impl IntoIterator<Item = &'a Model>) -> Bytes {
    let mut list = b"{\"object\":\"list\",\"data\":[".to_vec();
    for (number, model) in models.into_iter().enumerate() {
        if number > 0 {
            list.push(b',');
        }
        list.extend_from_slice(&model.raw);
    }
    list.extend_from_slice(b"]}");
    list.into()
}

/// A list with only the models whose names are `wanted`. What is no list has none.
pub fn only(body: &Bytes, wanted: impl Fn(&str) -> bool) -> Bytes {
    let models = read(body).unwrap_or_default();
    let is_wanted = |model: &&Model| model.id.as_deref().is_some_and(&wanted);
    match !models.is_empty() && models.iter().all(|model| is_wanted(&model)) {
        true => body.clone(),
        false => write(models.iter().filter(is_wanted)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn ids(body: &'static str) -> Option<Vec<Option<Box<str>>>> {
        Some(read(&Bytes::from_static(body.as_bytes()))?.into_iter().map(|model| model.id).collect())
    }

    #[test]
    fn lists_are_read_in_every_form_and_what_is_none_is_no_list() {
        let a_b = Some(vec![Some("a".into()), Some("b".into())]);
        for body in [
            r#"{"object":"list","data":[{"id":"a"},{"id":"b","object":"model"}]}"#,
            r#"{"data":[{"object":"model","id":"a"},{"id":"b"}],"has_more":false,"first_id":null}"#,
            r#" [ {"id":"a"} , {"id":"b","pricing":{"input":0.10}} ] "#,
            "\n{\"data\" : [{\"id\":\"\\u0061\"},{\"id\":\"b\",\"id2\":1e400}]}",
            r#"{"data":[{"id":"a"},"b",null,7,["c"],{"id":"b"}]}"#,
        ] {
            assert_eq!(ids(body), a_b, "{body}");
        }
        for body in [r#"{"data":[{"name":"a"}]}"#, r#"[{"id":7}]"#, r#"{"data":[{"id":null}]}"#, r#"[{}]"#] {
            assert_eq!(ids(body), Some(vec![None]), "{body}");
        }
        for body in
            ["", "null", "7", "{}", r#"{"data":null}"#, r#"{"data":{"id":"a"}}"#, r#"{"models":[]}"#, "[{", "<html>"]
        {
            assert_eq!(ids(body), None, "{body}");
        }
        assert_eq!(ids("[]"), Some(Vec::new()));
        assert_eq!(read(&format!("[{}]", " ".repeat(MAX_LIST)).into()), None);
    }

    #[test]
    fn what_is_said_of_a_model_stays_as_it_was_written() {
        let one = Bytes::from_static(br#"{"data":[{"id":"a", "x" : 1.50e+3,"y":{"b":2,"a":1}}]}"#);
        let two = Bytes::from_static(b"[{\"id\":\"b\",\n\"n\":12345678901234567890}]");
        let (one, two) = (read(&one).unwrap(), read(&two).unwrap());
        let own = Model::named("c\"", "local");
        let list = write(one.iter().chain(&two).chain([&own]));
        let wanted = concat!(
            r#"{"object":"list","data":[{"id":"a", "x" : 1.50e+3,"y":{"b":2,"a":1}},"#,
            "{\"id\":\"b\",\n\"n\":12345678901234567890},",
            r#"{"id":"c\"","object":"model","created":0,"owned_by":"local"}]}"#
        );
        assert_eq!(std::str::from_utf8(&list).unwrap(), wanted);
        assert_eq!(write([]), r#"{"object":"list","data":[]}"#);
    }

    #[test]
    fn only_wanted_models_are_left_and_a_list_of_them_is_left_as_it_is() {
        let only_b = |body: &'static str| only(&Bytes::from_static(body.as_bytes()), |id| id.starts_with('b'));
        for (body, wanted) in [
            (
                r#"{"data":[{"id":"a"},{"id":"b"},{"id":"bc"}],"last_id":"a"}"#,
                r#"{"object":"list","data":[{"id":"b"},{"id":"bc"}]}"#,
            ),
            (r#"{"data": [{"id":"b"}],"x":1}"#, r#"{"data": [{"id":"b"}],"x":1}"#),
            (r#"[{"id":"a"},{"x":1}]"#, r#"{"object":"list","data":[]}"#),
            (r#"{"data":[]}"#, r#"{"object":"list","data":[]}"#),
            (r#"{"models":["a"]}"#, r#"{"object":"list","data":[]}"#),
        ] {
            assert_eq!(only_b(body), wanted, "{body}");
        }
    }
}
