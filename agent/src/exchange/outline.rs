//! What a reader of JSON makes besides strings. Enters: containers and scalars, in order. Leaves: an outline of the document
//! for reading facts. Never more than so many values, whatever the body is.

use std::{borrow::Cow, ops::Range};

use serde_json::{Map, Number, Value};

/// Values kept in the outline below an array, and those that are not. Usage stands below no array, so that a body full of
/// bulk (log probabilities, embeddings) cannot push it out.
pub(super) const MAX_BULK_VALUES: usize = 100_000;
pub(super) const MAX_OTHER_VALUES: usize = 10_000;

/// A value that holds no other. `'a`: the input, `'t`: this call only.
#[derive(Debug)]
pub(super) enum Scalar<'a, 't> {
    Null,
    Bool(bool),
    Number(Number),
    /// A string as it stands in the input.
    Plain(&'a str),
    /// A string whose escapes were read.
    Decoded(&'t str),
}

/// Gets the document, value by value. A key is empty when there is none.
#[expect(clippy::ptr_arg, reason = "a key that is borrowed may be kept for as long as the input")]
pub(super) trait Build<'a> {
    /// A container begins, at `start` in the input.
    fn enter(&mut self, key: &Cow<'a, str>, is_object: bool, start: usize);
    /// The last container that began is whole; the input goes on at `end`.
    fn leave(&mut self, end: usize);
    /// A whole value. `span`: where it stands in the input, a string without its quotes.
    fn scalar(&mut self, key: &Cow<'a, str>, value: Scalar<'a, '_>, span: Range<usize>);
    /// A number in an array: whole vectors pass by.
    fn element(&mut self, _number: &str) {}
}

/// Makes nothing, for those who want the strings alone.
#[derive(Debug)]
pub(super) struct Nothing;

impl<'a> Build<'a> for Nothing {
    fn enter(&mut self, _: &Cow<'a, str>, _: bool, _: usize) {}
    fn leave(&mut self, _: usize) {}
    fn scalar(&mut self, _: &Cow<'a, str>, _: Scalar<'a, '_>, _: Range<usize>) {}
}

/// Makes a [`Value`] in which strings that are too long to be facts are `null`.
#[derive(Debug)]
pub(super) struct Outliner {
    /// Longest string that is kept.
    keep: usize,
    root: Value,
    open: Vec<Open>,
    bulk: usize,
    other: usize,
    arrays: usize,
}

#[derive(Debug)]
struct Open {
    /// Key under which it will stand.
    key: String,
    into: Filling,
}

#[derive(Debug)]
enum Filling {
    Object(Map<String, Value>),
    Array(Vec<Value>),
}

impl Outliner {
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, root: Value::Null, open: Vec::new(), bulk: 0, other: 0, arrays: 0 }
    }

    /// The outline. When reading stopped early, whole members of the outermost container are kept; those that were open are
    /// not, because half a container says things (a sum, a count) that the whole one did not.
    pub(super) fn into_doc(mut self) -> Value {
        self.open.truncate(1);
        self.open.pop().map_or(self.root, |open| open.into.into_value())
    }

    fn is_room(&mut self) -> bool {
        let (count, most) =
            if self.arrays > 0 { (&mut self.bulk, MAX_BULK_VALUES) } else { (&mut self.other, MAX_OTHER_VALUES) };
        let is_room = *count < most;
        *count += usize::from(is_room);
        is_room
    }

    fn put(&mut self, key: impl FnOnce() -> String, value: Value) {
        match self.open.last_mut() {
            None => self.root = value,
            Some(Open { into: Filling::Object(map), .. }) => {
                map.insert(key(), value);
            }
            Some(Open { into: Filling::Array(values), .. }) => values.push(value),
        }
    }
}

impl Filling {
    fn into_value(self) -> Value {
        match self {
            Self::Object(map) => Value::Object(map),
            Self::Array(values) => Value::Array(values),
        }
    }
}

impl<'a> Build<'a> for Outliner {
    fn enter(&mut self, key: &Cow<'a, str>, is_object: bool, _: usize) {
        self.arrays += usize::from(!is_object);
        let into = if is_object { Filling::Object(Map::new()) } else { Filling::Array(Vec::new()) };
        self.open.push(Open { key: key.as_ref().to_owned(), into });
    }

    fn leave(&mut self, _: usize) {
        let Some(open) = self.open.pop() else { return };
        self.arrays -= usize::from(matches!(open.into, Filling::Array(_)));
        if self.is_room() {
            self.put(|| open.key, open.into.into_value());
        }
    }

    fn scalar(&mut self, key: &Cow<'a, str>, value: Scalar<'a, '_>, _: Range<usize>) {
        if !self.is_room() {
            return;
        }
        let value = match value {
            Scalar::Bool(is) => Value::Bool(is),
            Scalar::Number(number) => Value::Number(number),
            Scalar::Plain(text) | Scalar::Decoded(text) if text.len() <= self.keep => Value::String(text.to_owned()),
            Scalar::Null | Scalar::Plain(_) | Scalar::Decoded(_) => Value::Null,
        };
        self.put(|| key.as_ref().to_owned(), value);
    }
}
