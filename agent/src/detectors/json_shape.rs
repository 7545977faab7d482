//! The shape of a JSON document: which paths it has and of which types they are. Enters: a value. Leaves: [`Shape`], with no value of
//! it. At most [`MAX_NODES`] paths of at most [`MAX_ELEMENTS`] elements of an array are looked at. Members whose names are data (ids,
//! dates, addresses) count as one, `*`.

use std::hash::Hasher as _;

use serde_json::Value;
use smallvec::SmallVec;
use twox_hash::XxHash64;

/// Paths of one document.
const MAX_NODES: usize = 96;
/// Paths for which no memory is asked.
const FEW_NODES: usize = 24;
/// Elements of an array that are looked at.
const MAX_ELEMENTS: usize = 8;
/// Values that are looked at.
const MAX_VALUES: usize = 400;
/// Deeper than this nothing is told apart.
const MAX_DEPTH: usize = 12;
/// An object with more members is a table, whose names are data.
const MAX_MEMBERS: usize = 32;
/// Names longer than this are data, and so are those with more digits than the next one says.
const MAX_KEY_BYTES: usize = 40;
const MAX_KEY_DIGITS: usize = 3;

/// Name of the members of a table.
const ANY_MEMBER: &str = "*";
/// Name of the elements of an array.
const ELEMENT: &str = "[]";

/// Types of values, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Types(pub(super) u8);

impl Types {
    const NAMES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];

    fn of(value: &Value) -> Self {
        Self(match value {
            Value::Null => 1,
            Value::Bool(_) => 2,
            Value::Number(_) => 4,
            Value::String(_) => 8,
            Value::Array(_) => 16,
            Value::Object(_) => 32,
        })
    }

    /// Those that are not among the others.
    pub(super) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// All of both.
    pub(super) fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// `number or string`
    pub(super) fn words(self) -> String {
        let named = Self::NAMES.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 == 1);
        named.map(|(_, name)| *name).collect::<Vec<_>>().join(" or ")
    }
}

/// One path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'v> {
    /// Hash of the path, the same in every run.
    pub(super) hash: u32,
    /// The path that it is below; that of the root is its own.
    pub(super) parent: usize,
    key: &'v str,
    /// Types of its values.
    pub(super) types: Types,
    /// How many values it has.
    pub(super) seen: u32,
    /// How many of them are objects whose members were looked at.
    pub(super) objects: u32,
}

impl Node<'_> {
    /// It is a member that is named, so it can be missing where its object is.
    pub(super) fn is_member(&self) -> bool {
        !matches!(self.key, ELEMENT | ANY_MEMBER | "$")
    }
}

/// All paths of a document; the first one is the root.
#[derive(Debug, Default)]
pub(super) struct Shape<'v> {
    nodes: SmallVec<[Node<'v>; FEW_NODES]>,
    values: usize,
    is_full: bool,
}

impl<'v> Shape<'v> {
    /// The shape of a value.
    pub(super) fn of(value: &'v Value) -> Self {
        let mut shape = Self::default();
        let root = shape.add(0, 0, "$");
        shape.walk(root, value, 0);
        shape
    }

    /// The paths, each behind the one that it is below.
    pub(super) fn nodes(&self) -> &[Node<'v>] {
        &self.nodes
    }

    /// It has more paths than there was room for: what is not here is not missing.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// The path of a hash.
    pub(super) fn find(&self, hash: u32) -> Option<&Node<'v>> {
        self.nodes.iter().find(|node| node.hash == hash)
    }

    /// `$.items[].price`
    pub(super) fn name(&self, node: &Node<'v>) -> String {
        let mut keys = vec![node.key];
        let mut at = node;
        while let Some(parent) = self.nodes.get(at.parent).filter(|parent| parent.hash != at.hash) {
            keys.push(parent.key);
            at = parent;
        }
        let mut name = String::new();
        for key in keys.iter().rev() {
            if !matches!(*key, ELEMENT | "$") {
                name.push('.');
            }
            name.push_str(key);
        }
        name
    }

    /// The node of a key below a parent; an index past the end when there is no room.
    fn add(&mut self, parent: usize, parent_hash: u32, key: &'v str) -> usize {
        let mut hasher = XxHash64::with_seed(u64::from(parent_hash));
        hasher.write(key.as_bytes());
        let hash = hasher.finish() as u32;
        if let Some(known) = self.nodes.iter().position(|node| node.hash == hash) {
            return known;
        }
        if self.nodes.len() >= MAX_NODES {
            self.is_full = true;
            return MAX_NODES;
        }
        self.nodes.push(Node { hash, parent, key, types: Types::default(), seen: 0, objects: 0 });
        self.nodes.len() - 1
    }

    fn walk(&mut self, at: usize, value: &'v Value, depth: usize) {
        self.values += 1;
        let Some(node) = self.nodes.get_mut(at) else { return };
        node.types = node.types.and(Types::of(value));
        node.seen += 1;
        let hash = node.hash;
        if depth >= MAX_DEPTH || self.values >= MAX_VALUES {
            return;
        }
        // Only those whose members are looked at.
        node.objects += u32::from(value.is_object());
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let key = if map.len() > MAX_MEMBERS || is_data(key) { ANY_MEMBER } else { key };
                    let child = self.add(at, hash, key);
                    self.walk(child, value, depth + 1);
                }
            }
            Value::Array(values) => {
                for value in values.iter().take(MAX_ELEMENTS) {
                    let child = self.add(at, hash, ELEMENT);
                    self.walk(child, value, depth + 1);
                }
            }
            _ => {}
        }
    }
}

/// Whether the name of a member is data rather than a name.
fn is_data(key: &str) -> bool {
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    let is_plain = key.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | ' ' | '$'));
    key.is_empty() || key.len() > MAX_KEY_BYTES || digits > MAX_KEY_DIGITS || !is_plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(value: &Value) -> Vec<String> {
        let shape = Shape::of(value);
        let nodes = shape.nodes().iter();
        nodes.map(|node| format!("{} {} {}", shape.name(node), node.types.words(), node.seen)).collect()
    }

    #[test]
    fn paths_types_and_how_often() {
        assert_eq!(
            shown(&json!({"a": 1, "items": [{"n": 1.5, "s": null}, {"n": "x"}], "empty": []})),
            [
                "$ object 1",
                "$.a number 1",
                "$.empty array 1",
                "$.items array 1",
                "$.items[] object 2",
                "$.items[].n number or string 2",
                "$.items[].s null 1"
            ]
        );
        let ids = json!({"by": {"user-12345": {"n": 1}, "jane@example.com": {"n": 2}}});
        assert_eq!(shown(&ids), ["$ object 1", "$.by object 1", "$.by.* object 2", "$.by.*.n number 2"]);
        assert_eq!(shown(&json!([])), ["$ array 1"]);
    }

    #[test]
    fn a_document_of_any_size_has_a_shape_of_bounded_size() {
        let wide: Value = (0..30).map(|at| (format!("k{at}"), json!({"a": 1, "b": 2, "c": 3, "d": 4}))).collect();
        assert_eq!(Shape::of(&wide).nodes().len(), MAX_NODES);
        let table: Value = (0..10_000).map(|at| (format!("k{at}"), json!(1))).collect();
        assert_eq!(Shape::of(&table).nodes().len(), 2);
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert_eq!(Shape::of(&deep).nodes().len(), MAX_DEPTH + 1);
    }
}
