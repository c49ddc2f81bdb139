//! Input: the texts of a request that a model will read.
//!
//! It does not know what they are checked for.

use serde_json::Value;

/// The fields whose strings a model reads. Pictures, recordings and files stand in others.
const TEXTS: [&str; 9] =
    ["messages", "system", "content", "text", "prompt", "input", "instructions", "arguments", "output"];

/// Reads the texts of a JSON body, in their order. What is no JSON has none.
pub(crate) fn read_by_model(body: &[u8], mut read: impl FnMut(&str)) {
    walk(&serde_json::from_slice(body).unwrap_or_default(), true, &mut read);
}

/// It is no deeper than the decoders let through.
fn walk(value: &Value, is_text: bool, read: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) if is_text => read(text),
        Value::Array(items) => items.iter().for_each(|item| walk(item, is_text, read)),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| walk(value, TEXTS.contains(&&**name), read));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_reads_texts_and_no_pictures() {
        for (body, wanted) in [
            (r#"{"messages":[{"role":"user","content":"a"},{"content":[{"type":"text","text":"b"}]}]}"#, "a|b"),
            (r#"{"content":[{"type":"image_url","image_url":{"url":"data:x"}}],"prompt":["a","b"]}"#, "a|b"),
            (r#"{"model":"m","input":"a","instructions":"b","metadata":{"x":"c"}}"#, "a|b"),
            (r#"{"input":[{"type":"function_call_output","output":"a"}]}"#, "a"),
            (
                r#"{"system":[{"type":"text","text":"a"}],"messages":[{"content":[{"type":"tool_result","content":"b"}]}]}"#,
                "a|b",
            ),
            (r#""a""#, "a"),
            ("no JSON", ""),
        ] {
            let mut texts = Vec::new();
            read_by_model(body.as_bytes(), |text| texts.push(text.to_owned()));
            assert_eq!(texts.join("|"), wanted, "{body}");
        }
    }
}
