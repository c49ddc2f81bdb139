//! Cost: how much work a JSON Schema makes for each value that it is held against, and how deep it goes. Few lines of a schema
//! can stand for more work than anybody has time for; such a schema is refused before it is used.
//!
//! Counted are the subschemas as they are applied: one that is referred to twice counts twice. It does not know what a
//! keyword means, only to which value its subschemas are applied: the same one, or one inside it.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value};

/// The most subschemas that one value may be held against, all that it is made of included.
pub const MAX_COST: u64 = 10_000;

/// The longest way through a schema, references included. Each step takes stack when the schema is used.
pub const MAX_PATH: usize = 64;

/// As many words of an `enum`, or names of `required`, are as much work as a subschema.
const WORDS: usize = 16;

/// What a schema costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Subschemas that a value is held against.
    pub steps: u64,
    /// The most subschemas that refer to each other in a circle; 0: no value is held against the same one again, however deep
    /// it is.
    pub circle: usize,
    /// Its patterns.
    pub patterns: usize,
}

/// Why a schema is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The JSON pointer to the place; empty for the whole schema.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.is_empty() {
            true => out.write_str(&self.what),
            false => write!(out, "{}: {}", self.at, self.what),
        }
    }
}

/// Counts.
///
/// # Errors
/// A schema that is too much work, or too deep; that refers to itself without going deeper, or in two ways at once; or to
/// anything but a part of itself.
pub fn of(schema: &Value) -> Result<Cost, Refused> {
    let mut counter = Counter {
        root: schema,
        nodes: Vec::new(),
        known: HashMap::new(),
        open: Vec::new(),
        cost: Cost { steps: 0, circle: 0, patterns: 0 },
    };
    let root = counter.visit(schema, String::new(), 0)?;
    counter.cost.steps = counter.nodes[root].steps;
    Ok(counter.cost)
}

/// One subschema on the way.
struct Node {
    /// Its place among those in the order in which they were reached, and the earliest that it leads back to (Tarjan).
    earliest: usize,
    is_open: bool,
    edges: Vec<Edge>,
    own: u64,
    /// Known once it is closed.
    steps: u64,
    at: String,
}

/// A subschema of another one.
struct Edge {
    to: usize,
    /// To which value it is applied.
    onto: Onto,
    times: u64,
}

/// To which value a subschema is applied. Of those in one group at most one is applied to the same value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Onto {
    /// To the same value.
    Itself,
    /// To a field, which this one has by its name, or because no other has it.
    Field,
    /// To fields that others may have too.
    Matching,
    /// To an item, by its place.
    Item,
    /// To items that others may have too.
    AnyItem,
}

struct Counter<'a> {
    root: &'a Value,
    nodes: Vec<Node>,
    /// Nodes by their place in memory: the schema stays where it is.
    known: HashMap<*const Value, usize>,
    open: Vec<usize>,
    cost: Cost,
}

impl<'a> Counter<'a> {
    fn visit(&mut self, schema: &'a Value, at: String, depth: usize) -> Result<usize, Refused> {
        if let Some(known) = self.known.get(&std::ptr::from_ref(schema)) {
            return Ok(*known);
        }
        if depth > MAX_PATH {
            let what = format!("it is nested deeper than {MAX_PATH} levels, references included");
            return Err(Refused { at, what });
        }
        let index = self.nodes.len();
        self.known.insert(schema, index);
        self.open.push(index);
        let mut node = Node { earliest: index, is_open: true, edges: Vec::new(), own: 1, steps: 0, at };
        let Value::Object(object) = schema else {
            if !schema.is_boolean() {
                return Err(Refused { at: node.at, what: "a schema is an object, `true` or `false`".into() });
            }
            self.nodes.push(node);
            return self.close(index).map(|()| index);
        };
        node.own += words(object);
        let place = node.at.clone();
        self.nodes.push(node);
        for (onto, times, path, sub) in self.subschemas(object, &place)? {
            let to = self.visit(sub, path, depth + 1)?;
            self.nodes[index].edges.push(Edge { to, onto, times });
            if self.nodes[to].is_open {
                self.nodes[index].earliest = self.nodes[index].earliest.min(self.nodes[to].earliest);
            }
        }
        self.close(index).map(|()| index)
    }

    /// All subschemas of an object, and what is referred to.
    fn subschemas(
        &mut self,
        object: &'a Map<String, Value>,
        at: &str,
    ) -> Result<Vec<(Onto, u64, String, &'a Value)>, Refused> {
        let mut subs = Vec::new();
        // To know what nobody has looked at, everybody is asked again.
        let times = if object.keys().any(|key| key.starts_with("unevaluated")) { 2 } else { 1 };
        for (keyword, value) in object {
            let path = format!("{at}/{}", escaped(keyword));
            match keyword.as_str() {
                "$ref" => {
                    let target = self.target(value, &path)?;
                    subs.push((Onto::Itself, times, target.0, target.1));
                }
                "not" | "if" | "then" | "else" | "propertyNames" => subs.push((Onto::Itself, times, path, value)),
                "additionalProperties" | "unevaluatedProperties" => subs.push((Onto::Field, 1, path, value)),
                "contains" => subs.push((Onto::AnyItem, 1, path, value)),
                "additionalItems" | "unevaluatedItems" => subs.push((Onto::Item, 1, path, value)),
                "items" if !value.is_array() => subs.push((Onto::Item, 1, path, value)),
                "allOf" | "anyOf" | "oneOf" | "items" | "prefixItems" => {
                    let onto = if keyword.ends_with("tems") { Onto::Item } else { Onto::Itself };
                    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                    let places = items.iter().enumerate();
                    subs.extend(places.map(|(place, sub)| (onto, times, format!("{path}/{place}"), sub)));
                }
                "properties" | "patternProperties" | "dependentSchemas" => {
                    let onto = match keyword.as_str() {
                        "properties" => Onto::Field,
                        "patternProperties" => Onto::Matching,
                        _ => Onto::Itself,
                    };
                    let fields = value.as_object().into_iter().flatten();
                    self.cost.patterns += if onto == Onto::Matching { fields.clone().count() } else { 0 };
                    subs.extend(fields.map(|(name, sub)| (onto, 1, format!("{path}/{}", escaped(name)), sub)));
                }
                "pattern" => self.cost.patterns += 1,
                _ => {}
            }
        }
        Ok(subs)
    }

    /// What a reference leads to.
    fn target(&self, reference: &Value, at: &str) -> Result<(String, &'a Value), Refused> {
        let refused = |what: String| Refused { at: at.to_owned(), what };
        let pointer = reference.as_str().and_then(|it| it.strip_prefix('#'));
        let pointer = pointer.filter(|it| it.is_empty() || it.starts_with('/')).filter(|it| !it.contains('%'));
        let pointer = pointer.ok_or_else(|| {
            refused("a reference leads to a part of the same schema, as in `#/$defs/name`; nothing else is read".into())
        })?;
        let target = self.root.pointer(pointer).ok_or_else(|| refused(format!("there is nothing at `#{pointer}`")))?;
        Ok((pointer.to_owned(), target))
    }

    /// Everything that a node leads to was visited. The last node of a circle closes the circle.
    fn close(&mut self, index: usize) -> Result<(), Refused> {
        if self.nodes[index].earliest != index {
            return Ok(());
        }
        let first = self.open.iter().rposition(|open| *open == index).unwrap_or_default();
        let members = self.open.split_off(first);
        let is_inside = |to: usize| members.contains(&to);
        let is_circle = members.len() > 1 || self.nodes[index].edges.iter().any(|edge| edge.to == index);
        let mut steps = 0_u64;
        for &member in &members {
            let node = &self.nodes[member];
            let outside = node.edges.iter().filter(|edge| !is_inside(edge.to));
            let outside = outside.map(|edge| self.nodes[edge.to].steps.saturating_mul(edge.times));
            steps = outside.fold(steps.saturating_add(node.own), u64::saturating_add);
            if is_circle && ways(node, is_inside) > 1 {
                let what = "it refers to itself in two ways at once, which is too much work for deep answers".into();
                return Err(Refused { at: node.at.clone(), what });
            }
        }
        if is_circle && self.turns_in_place(&members) {
            let what = "it refers to itself without going deeper".into();
            return Err(Refused { at: self.nodes[index].at.clone(), what });
        }
        if steps > MAX_COST {
            let what = format!(
                "it is too much work: more than {MAX_COST} subschemas would be applied, each as often as it is used"
            );
            return Err(Refused { at: self.nodes[index].at.clone(), what });
        }
        if is_circle {
            self.cost.circle = self.cost.circle.max(members.len());
        }
        for member in members {
            let node = &mut self.nodes[member];
            (node.is_open, node.steps) = (false, steps);
        }
        Ok(())
    }

    /// True when a circle has a part in which nothing is entered. Each node has one way on, so that it is walked once.
    fn turns_in_place(&self, members: &[usize]) -> bool {
        members.iter().any(|&start| {
            let (mut at, mut walked) = (start, 0);
            let on =
                |at: usize| self.nodes[at].edges.iter().find(|it| it.onto == Onto::Itself && members.contains(&it.to));
            while let Some(edge) = on(at) {
                (at, walked) = (edge.to, walked + 1);
                if walked > members.len() {
                    return true;
                }
            }
            false
        })
    }
}

/// In how many ways at once a node of a circle leads back into it: with two, the work doubles on each level.
fn ways(node: &Node, is_inside: impl Fn(usize) -> bool) -> u64 {
    let times = |onto: Onto| node.edges.iter().filter(move |edge| edge.onto == onto);
    let all = |onto: Onto| times(onto).filter(|edge| is_inside(edge.to)).map(|edge| edge.times).sum::<u64>();
    let one = |onto: Onto| all(onto).min(1);
    let (fields, items) = (one(Onto::Field) + all(Onto::Matching), one(Onto::Item) + all(Onto::AnyItem));
    all(Onto::Itself) + fields.max(items)
}

/// Lists that are looked through: of words many at a time, of other values each with all that is in it.
fn words(object: &Map<String, Value>) -> u64 {
    let items = |key: &str| object.get(key).and_then(Value::as_array).into_iter().flatten();
    let words = items("required").chain(items("enum").filter(|item| !is_nested(item))).count();
    let nested = items("enum").filter(|item| is_nested(item)).map(values).sum::<usize>();
    (words / WORDS + nested) as u64
}

fn is_nested(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

/// How many values there are in a value, itself included. A schema is not deep.
fn values(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(values).sum::<usize>(),
        _ => 1,
    }
}

/// A name as JSON pointers have it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Schemas that refer to the one before twice each.
    fn doubled(levels: usize, by: impl Fn(&Value) -> Value) -> Value {
        let mut defs = Map::new();
        defs.insert("d0".into(), json!({"type": "string"}));
        for level in 1..levels {
            defs.insert(format!("d{level}"), by(&json!({"$ref": format!("#/$defs/d{}", level - 1)})));
        }
        json!({"$ref": format!("#/$defs/d{}", levels - 1), "$defs": defs})
    }

    #[test]
    fn a_subschema_counts_as_often_as_it_is_applied() {
        assert_eq!(of(&json!(true)).map(|it| it.steps), Ok(1));
        let schema = json!({"properties": {"a": {"items": {"type": "string"}}, "b": true}, "required": ["a", "b"]});
        assert_eq!(of(&schema), Ok(Cost { steps: 4, circle: 0, patterns: 0 }));
        let schema = json!({"$defs": {"x": {"pattern": "a"}}, "allOf": [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/x"}]});
        assert_eq!(of(&schema), Ok(Cost { steps: 5, circle: 0, patterns: 1 }));
        let words: Vec<String> = (0..160).map(|it| it.to_string()).collect();
        assert_eq!(of(&json!({"enum": words})).map(|it| it.steps), Ok(11));
        assert_eq!(of(&json!({"enum": [{"a": [1, 2]}, ["b"], 3]})).map(|it| it.steps), Ok(7));
    }

    #[test]
    fn few_lines_that_are_endless_work_are_refused() {
        let either = |it: &Value| json!({"anyOf": [it, it]});
        assert!(of(&doubled(10, either)).is_ok());
        for by in [
            either,
            |it: &Value| json!({"properties": {"a": it, "b": it}}),
            |it: &Value| json!({"allOf": [it], "not": it}),
            |it: &Value| json!({"allOf": [it], "unevaluatedProperties": false}),
            |it: &Value| json!({"items": it, "contains": it}),
        ] {
            let refused = of(&doubled(24, by)).unwrap_err();
            assert!(refused.what.contains("too much work") && refused.at.starts_with("/$defs/d"), "{refused:?}");
        }
    }

    #[test]
    fn recursion_is_allowed_where_each_value_is_entered_once() {
        for schema in [
            json!({"properties": {"children": {"items": {"$ref": "#"}}}}),
            json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}),
            json!({"$defs": {"node": {"properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}},
                   "$ref": "#/$defs/node"}),
            json!({"additionalProperties": {"$ref": "#"}}),
        ] {
            assert!(of(&schema).is_ok_and(|cost| cost.circle > 0), "{schema}");
        }
    }

    #[test]
    fn recursion_that_doubles_or_stands_still_is_refused() {
        for (schema, what) in [
            (json!({"$ref": "#"}), "without going deeper"),
            (json!({"allOf": [{"anyOf": [{"$ref": "#"}]}]}), "without going deeper"),
            (
                json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
                "without",
            ),
            (json!({"properties": {"a": {"$ref": "#"}}, "patternProperties": {"^a": {"$ref": "#"}}}), "two ways"),
            (json!({"items": {"$ref": "#"}, "contains": {"$ref": "#"}}), "two ways"),
            (
                json!({"anyOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]}),
                "two ways",
            ),
            (json!({"allOf": [{"properties": {"a": {"$ref": "#"}}}], "unevaluatedProperties": false}), "two ways"),
        ] {
            let refused = of(&schema).unwrap_err();
            assert!(refused.what.contains(what), "{schema}: {refused:?}");
        }
    }

    #[test]
    fn only_parts_of_the_same_schema_are_read() {
        for reference in
            ["https://example.com/a.json", "file:///etc/passwd", "#name", "a.json", "#/%24defs/a", "#/none"]
        {
            let refused = of(&json!({"properties": {"a": {"$ref": reference}}})).unwrap_err();
            assert_eq!(refused.at, "/properties/a/$ref", "{reference}");
        }
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let nested = |levels| (0..levels).fold(json!(true), |inner, _| json!({"properties": {"a": inner}}));
        assert!(of(&nested(MAX_PATH)).is_ok());
        assert!(of(&nested(MAX_PATH + 1)).unwrap_err().what.contains("nested deeper"));
        let refused = of(&doubled(MAX_PATH, |it| json!({"allOf": [it]}))).unwrap_err();
        assert!(refused.what.contains("nested deeper"), "a long way of references too");
    }
}
