//! A value in a tape, for those who read facts. Enters: its place. Leaves: what it is and what is below it. It changes nothing.

use serde_json::{Number, Value};

use super::{super::tool_results::hash, Held, Kind, Tape};

/// Containers deeper than this hold no facts of a request.
const FACT_DEPTH: usize = 4;

/// A value. Its methods are those of [`Value`].
#[derive(Clone, Copy, Debug)]
pub(in crate::exchange) struct Node<'t> {
    pub(super) tape: &'t Tape<'t>,
    pub(super) held: &'t Held<'t>,
    pub(super) at: usize,
}

impl<'t> Node<'t> {
    /// The key it stands under; empty for an element.
    pub(in crate::exchange) fn key(self) -> &'t str {
        &self.held.key
    }

    /// Members of an object, elements of an array, in the order of the document.
    pub(in crate::exchange) fn below(self) -> impl Iterator<Item = Self> {
        let end = self.held.end;
        let mut next = self.at + 1;
        std::iter::from_fn(move || {
            let held = self.tape.nodes.get(next).filter(|_| next < end)?;
            let node = Self { tape: self.tape, held, at: next };
            next = held.end.max(next + 1);
            Some(node)
        })
    }

    /// A member. Of several with one name the last one counts, as in a map.
    pub(in crate::exchange) fn get(self, key: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        self.below().filter(|member| member.held.key == key).last()
    }

    /// Text of a string that is kept.
    pub(in crate::exchange) fn as_str(self) -> Option<&'t str> {
        match self.held.kind {
            Kind::Plain => Some(self.held.text).filter(|text| text.len() <= self.tape.keep),
            Kind::Decoded => {
                let (start, length) = ((self.held.data >> 32) as usize, self.held.data as u32 as usize);
                self.tape.decoded.get(start..start + length)
            }
            _ => None,
        }
    }

    /// Whether it is a string that is not.
    pub(in crate::exchange) fn is_long(self) -> bool {
        self.held.kind == Kind::Long || (self.held.kind == Kind::Plain && self.held.text.len() > self.tape.keep)
    }

    /// The hash of such a string.
    pub(in crate::exchange) fn long(self) -> Option<u64> {
        match self.held.kind {
            Kind::Plain if self.is_long() => Some(hash(self.held.text.as_bytes())),
            Kind::Long => Some(self.held.data),
            _ => None,
        }
    }

    /// How a string begins, if that is known, and whether it is all of it. At least a kilobyte.
    pub(in crate::exchange) fn beginning(self) -> Option<(&'t str, bool)> {
        match self.held.kind {
            Kind::Plain => Some((self.held.text, true)),
            Kind::Decoded => self.as_str().map(|text| (text, true)),
            Kind::Long => {
                let beginnings = &self.tape.beginnings;
                let at = beginnings.binary_search_by_key(&self.at, |beginning| beginning.node).ok()?;
                let beginning = beginnings.get(at)?;
                Some((self.tape.decoded.get(beginning.text.clone())?, beginning.is_whole))
            }
            _ => None,
        }
    }

    /// Hash of the numbers in an array.
    pub(in crate::exchange) fn numbers(self) -> Option<u64> {
        (self.held.kind == Kind::Vector).then_some(self.held.data)
    }

    pub(in crate::exchange) fn as_number(self) -> Option<&'t Number> {
        self.tape.numbers.get(self.held.data as usize).filter(|_| self.held.kind == Kind::Number)
    }

    pub(in crate::exchange) fn as_bool(self) -> Option<bool> {
        match self.held.kind {
            Kind::False => Some(false),
            Kind::True => Some(true),
            _ => None,
        }
    }

    pub(in crate::exchange) fn is_null(self) -> bool {
        self.held.kind == Kind::Null
    }

    pub(in crate::exchange) fn is_object(self) -> bool {
        self.held.kind == Kind::Object
    }

    pub(in crate::exchange) fn is_array(self) -> bool {
        matches!(self.held.kind, Kind::Array | Kind::Vector)
    }

    pub(super) fn facts(self, depth: usize) -> Value {
        let most = if depth < FACT_DEPTH { usize::MAX } else { 0 };
        match self.held.kind {
            Kind::Plain | Kind::Decoded | Kind::Long | Kind::Null => self.as_str().map_or(Value::Null, Value::from),
            Kind::False | Kind::True => Value::Bool(self.held.kind == Kind::True),
            Kind::Number => self.as_number().map_or(Value::Null, |number| Value::Number(number.clone())),
            Kind::Array | Kind::Vector => self.below().take(most.min(1)).map(|first| first.facts(depth + 1)).collect(),
            Kind::Object => {
                let members = self.below().take(most).map(|member| (member.key().to_owned(), member.facts(depth + 1)));
                Value::Object(members.collect())
            }
        }
    }
}
