//! A small document, as it stands in its input. Enters: what a reader of JSON finds. Leaves: a tree that borrows its strings,
//! in one list that serves one event after another. It is for the thousands of events of a stream that say a word each, where
//! making a [`serde_json::Value`] costs more than all else. Never more than [`MAX_NODES`] of them: longer events are no words.

use std::{borrow::Cow, ops::Range};

use serde_json::Number;

use super::{
    json,
    outline::{Build, Scalar},
    quoted,
};

/// Values of a tree.
const MAX_NODES: usize = 128;

/// Values in the order of the document; each knows where the one behind it and all below it stands.
#[derive(Debug, Default)]
pub(super) struct Tree<'a> {
    nodes: Vec<Held<'a>>,
    open: Vec<usize>,
    /// Strings whose escapes were read.
    decoded: String,
    /// It did not fit, or has keys with escapes.
    is_partial: bool,
    /// What it was read from, once that was whole.
    input: &'a str,
}

#[derive(Debug)]
struct Held<'a> {
    key: &'a str,
    kind: Kind<'a>,
    end: usize,
    /// Where a string or a number stands in the input; a string without its quotes.
    span: Range<usize>,
}

impl<'a> Held<'a> {
    /// Whether it is something that can change without a change of what stands around it.
    fn is_slot(&self) -> bool {
        matches!(self.kind, Kind::Number(_) | Kind::Plain(_) | Kind::Decoded(_))
    }

    /// What was at `old` is at `new`.
    fn go(&mut self, old: usize, new: usize) {
        self.span.start = (self.span.start + new).saturating_sub(old);
        self.span.end = (self.span.end + new).saturating_sub(old);
    }

    /// Takes the value of the same kind that begins at `start`, and says how long it is.
    fn replace(&mut self, input: &'a str, start: usize) -> Option<usize> {
        let rest = input.as_bytes().get(start..)?;
        let length;
        if let Kind::Number(number) = &mut self.kind {
            length = json::number_length(rest);
            *number = json::read_number(input.get(start..start + length)?)?;
            rest.get(length)?; // more digits may have followed
        } else {
            length = quoted::quote_or_backslash(rest)?;
            if rest.get(length) != Some(&b'"') {
                return None; // it has to be decoded
            }
            self.kind = Kind::Plain(input.get(start..start + length)?);
        }
        Some(length)
    }
}

/// How many bytes are the same in both from the start.
fn same_bytes(mut left: &[u8], mut right: &[u8]) -> usize {
    let mut same = 0;
    while let (Some((a, left_behind)), Some((b, right_behind))) =
        (left.split_first_chunk::<16>(), right.split_first_chunk::<16>())
    {
        let differs = u128::from_le_bytes(*a) ^ u128::from_le_bytes(*b);
        if differs != 0 {
            return same + (differs.trailing_zeros() / 8) as usize;
        }
        same += 16;
        (left, right) = (left_behind, right_behind);
    }
    same + left.iter().zip(right).take_while(|(a, b)| a == b).count()
}

#[derive(Debug)]
enum Kind<'a> {
    Null,
    Bool,
    Number(Number),
    Plain(&'a str),
    Decoded(Range<usize>),
    Object,
    Array,
}

impl<'a> Tree<'a> {
    /// Makes room for another document.
    pub(super) fn begin(&mut self) {
        self.nodes.clear();
        self.open.clear();
        self.decoded.clear();
        self.is_partial = false;
        self.input = "";
    }

    /// The document was read, and is whole.
    pub(super) fn end(&mut self, input: &'a str) {
        self.input = if self.is_partial { "" } else { input };
    }

    /// Takes a document that differs from the last one in some of its strings and numbers alone, as the events of a stream
    /// nearly always do: what is the same need not be read again. False: it differs in more, and is yet to be read.
    pub(super) fn again(&mut self, input: &'a str) -> bool {
        let before = std::mem::take(&mut self.input);
        let is_again = !before.is_empty() && self.follow(before, input).is_some();
        if is_again {
            self.input = input;
        }
        is_again
    }

    fn follow(&mut self, before: &'a str, input: &'a str) -> Option<()> {
        let (mut old, mut new) = (0, 0);
        let mut held = self.nodes.iter_mut();
        loop {
            let (left, right) = (before.as_bytes().get(old..)?, input.as_bytes().get(new..)?);
            let same = same_bytes(left, right);
            if same == left.len() && same == right.len() {
                break;
            }
            // Behind the last change all places have moved by as much.
            let differs = old + same;
            let changed = loop {
                let held = held.next()?;
                if held.is_slot() && (held.span.start..=held.span.end).contains(&differs) {
                    break held;
                }
                held.go(old, new);
            };
            let Range { start, end } = changed.span;
            changed.go(old, new);
            let start_new = (start + new).checked_sub(old)?;
            let length = changed.replace(input, start_new)?;
            (old, new) = (end, start_new + length);
            changed.span.end = new;
        }
        held.for_each(|held| held.go(old, new));
        Some(())
    }

    /// The document, unless it is more than a tree holds.
    pub(super) fn root(&self) -> Option<Node<'_>> {
        let held = self.nodes.first().filter(|_| !self.is_partial)?;
        Some(Node { tree: self, held, at: 0 })
    }

    #[expect(clippy::ptr_arg, reason = "a key that is borrowed may be kept for as long as the input")]
    fn add(&mut self, key: &Cow<'a, str>, kind: Kind<'a>, span: Range<usize>) {
        match key {
            Cow::Borrowed(key) if self.nodes.len() < MAX_NODES => {
                let end = self.nodes.len() + 1;
                self.nodes.push(Held { key, kind, end, span });
            }
            _ => self.is_partial = true,
        }
    }
}

impl<'a> Build<'a> for &mut Tree<'a> {
    fn enter(&mut self, key: &Cow<'a, str>, is_object: bool, _: usize) {
        self.open.push(self.nodes.len());
        self.add(key, if is_object { Kind::Object } else { Kind::Array }, 0..0);
    }

    fn leave(&mut self, _: usize) {
        let end = self.nodes.len();
        let Some(begun) = self.open.pop() else { return };
        if let Some(held) = self.nodes.get_mut(begun) {
            held.end = end;
        }
    }

    fn scalar(&mut self, key: &Cow<'a, str>, value: Scalar<'a, '_>, span: Range<usize>) {
        let kind = match value {
            Scalar::Null => Kind::Null,
            Scalar::Bool(_) => Kind::Bool,
            Scalar::Number(number) => Kind::Number(number),
            Scalar::Plain(text) => Kind::Plain(text),
            Scalar::Decoded(text) => {
                let start = self.decoded.len();
                self.decoded.push_str(text);
                Kind::Decoded(start..self.decoded.len())
            }
        };
        self.add(key, kind, span);
    }
}

/// A value of a tree. Its methods are those of [`serde_json::Value`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'t> {
    tree: &'t Tree<'t>,
    held: &'t Held<'t>,
    at: usize,
}

impl<'t> Node<'t> {
    /// The key it stands under; empty for an element.
    pub(super) fn key(self) -> &'t str {
        self.held.key
    }

    /// Members of an object, elements of an array, in the order of the document.
    pub(super) fn below(self) -> impl Iterator<Item = Self> {
        let end = self.held.end;
        let mut next = self.at + 1;
        std::iter::from_fn(move || {
            let held = self.tree.nodes.get(next).filter(|_| next < end)?;
            let node = Self { tree: self.tree, held, at: next };
            next = held.end.max(next + 1);
            Some(node)
        })
    }

    /// A member. Of several with one name the last one counts, as in a map.
    pub(super) fn get(self, key: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        self.below().filter(|member| member.held.key == key).last()
    }

    /// Text of a string.
    pub(super) fn as_str(self) -> Option<&'t str> {
        match &self.held.kind {
            Kind::Plain(text) => Some(text),
            Kind::Decoded(range) => self.tree.decoded.get(range.clone()),
            _ => None,
        }
    }

    /// A number.
    pub(super) fn as_number(self) -> Option<&'t Number> {
        if let Kind::Number(number) = &self.held.kind { Some(number) } else { None }
    }

    /// A number that counts.
    pub(super) fn as_u64(self) -> Option<u64> {
        self.as_number()?.as_u64()
    }

    pub(super) fn is_null(self) -> bool {
        matches!(self.held.kind, Kind::Null)
    }

    pub(super) fn is_object(self) -> bool {
        matches!(self.held.kind, Kind::Object)
    }

    pub(super) fn is_array(self) -> bool {
        matches!(self.held.kind, Kind::Array)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn value(node: Node<'_>) -> Value {
        let number = node.as_number().cloned();
        match &node.held.kind {
            Kind::Null => Value::Null,
            Kind::Bool => json!("a bool"),
            Kind::Number(_) => number.map_or(Value::Null, Value::Number),
            Kind::Plain(_) | Kind::Decoded(_) => node.as_str().into(),
            Kind::Array => node.below().map(value).collect(),
            Kind::Object => Value::Object(node.below().map(|below| (below.key().to_owned(), value(below))).collect()),
        }
    }

    /// The same documents, each by a tree of its own, and by one that goes on.
    fn check(inputs: &[&str]) {
        let mut tree = Tree::default();
        for input in inputs {
            let mut fresh = Tree::default();
            let alone = json::tree(input, &mut fresh).then(|| fresh.root().map(value));
            let went_on = json::tree(input, &mut tree).then(|| tree.root().map(value));
            assert_eq!(went_on, alone, "{input} of {inputs:?}");
        }
    }

    #[test]
    fn what_differs_in_values_alone_is_not_read_again() {
        let mut tree = Tree::default();
        assert!(json::tree(r#"{"a":"x","n":[{"b":9}],"c":"y\n","d":null}"#, &mut tree));
        for (input, is_again) in [
            (r#"{"a":"","n":[{"b":10}],"c":"y\n","d":null}"#, true),
            (r#"{"a":"xyz","n":[{"b":1.5}],"c":"y\n","d":null}"#, true),
            (r#"{"a":"xy","n":[{"b":1}],"c":"","d":null}"#, true),
            (r#"{"a":"xy","n":[{"b":1}],"c":"long \u00fc","d":null}"#, false), // to be decoded
        ] {
            let mut fresh = Tree::default();
            assert_eq!(tree.again(input), is_again, "{input}");
            assert!(json::tree(input, &mut fresh));
            if is_again {
                assert_eq!(tree.root().map(value), fresh.root().map(value), "{input}");
            }
        }
    }

    proptest! {
        #[test]
        fn going_on_says_what_reading_says(
            inputs in prop::collection::vec(
                "\\{\"a\":\"[ab\\\\\"ü]{0,3}\",\"n\":[-0-9.e]{1,3},?(\"c\":\\[[1\"a,]{0,4}\\],)?\"d\":(null|true|\"[de]{0,2}\"|\\{\\})\\}{0,2}",
                1..8,
            ),
        ) {
            check(&inputs.iter().map(String::as_str).collect::<Vec<_>>());
        }

        #[test]
        fn the_same_bytes_are_counted(left in "[ab]{0,40}", right in "[ab]{0,40}", front in "[ab]{0,40}") {
            let (left, right) = (format!("{front}{left}"), format!("{front}{right}"));
            let same = left.bytes().zip(right.bytes()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(same_bytes(left.as_bytes(), right.as_bytes()), same);
        }
    }
}
