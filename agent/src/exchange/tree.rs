//! A small document, as it stands in its input. Enters: what a reader of JSON finds. Leaves: a tree that borrows its strings,
//! in one list that serves one event after another. It is for the thousands of events of a stream that say a word each, where
//! making a [`serde_json::Value`] costs more than all else. Never more than [`MAX_NODES`] of them: longer events are no words.

use std::{borrow::Cow, ops::Range};

use serde_json::Number;

use super::outline::{Build, Scalar};

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
}

#[derive(Debug)]
struct Held<'a> {
    key: &'a str,
    kind: Kind<'a>,
    end: usize,
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
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.open.clear();
        self.decoded.clear();
        self.is_partial = false;
    }

    /// The document, unless it is more than a tree holds.
    pub(super) fn root(&self) -> Option<Node<'_>> {
        let held = self.nodes.first().filter(|_| !self.is_partial)?;
        Some(Node { tree: self, held, at: 0 })
    }

    #[expect(clippy::ptr_arg, reason = "a key that is borrowed may be kept for as long as the input")]
    fn add(&mut self, key: &Cow<'a, str>, kind: Kind<'a>) {
        match key {
            Cow::Borrowed(key) if self.nodes.len() < MAX_NODES => {
                let end = self.nodes.len() + 1;
                self.nodes.push(Held { key, kind, end });
            }
            _ => self.is_partial = true,
        }
    }
}

impl<'a> Build<'a> for &mut Tree<'a> {
    fn enter(&mut self, key: &Cow<'a, str>, is_object: bool) {
        self.open.push(self.nodes.len());
        self.add(key, if is_object { Kind::Object } else { Kind::Array });
    }

    fn leave(&mut self) {
        let end = self.nodes.len();
        let Some(begun) = self.open.pop() else { return };
        if let Some(held) = self.nodes.get_mut(begun) {
            held.end = end;
        }
    }

    fn scalar(&mut self, key: &Cow<'a, str>, value: Scalar<'a, '_>) {
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
        self.add(key, kind);
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
