//! The outline of a request, as it stands in its body. Enters: what a reader of JSON finds. Leaves: the few members that facts
//! are read from as a [`Value`], and the results of tools. A request is a long list of messages of which hardly any member is a
//! fact: to make a map of each of them costs more than all else. So it is a tree in one list that borrows what it can, and an
//! element of such a list is looked at when it is whole and then forgotten, but for the first. Never more values than an
//! outline has.

use std::{borrow::Cow, ops::Range};

use serde_json::{Number, Value};

use super::{
    History, ToolResult,
    arguments::ARGUMENTS_BYTES,
    outline::{Build, MAX_BULK_VALUES, MAX_OTHER_VALUES, Scalar},
    schemas::Spans,
    tool_results::{Results, fold, hash},
};

mod node;

pub(super) use self::node::Node;

/// Values of a small document.
const USUAL_VALUES: usize = 8;
/// Lists of which the length is told.
const MAX_LENGTHS: usize = 8;

/// So much of a text that is longer than what is kept can be looked at while its element is.
const BEGINNING_BYTES: usize = 1024;
/// All beginnings of one element together.
const MAX_BEGINNINGS_BYTES: usize = 1 << 20;

/// How many elements the lists have that are members of the document: its name and the number.
pub(super) type Lengths = Vec<(String, u64)>;

/// What facts of a request are read from.
#[derive(Debug, Default)]
pub(super) struct RequestFacts {
    /// Of each list the first element, and nothing that lies deep.
    pub(super) doc: Value,
    /// The results of tools.
    pub(super) tool_results: Vec<ToolResult>,
    /// The conversation that it goes on with.
    pub(super) history: History,
    /// How long its lists are, at most [`MAX_LENGTHS`] of them.
    pub(super) lengths: Lengths,
    /// Where the members stand that may hold a schema.
    pub(super) spans: Spans,
}

/// Values in the order of the document; each knows where what is below it ends.
#[derive(Debug)]
pub(super) struct Tape<'a> {
    /// Longest string that is told apart by more than its hash.
    keep: usize,
    /// The first `count` of them; the others are room.
    nodes: Vec<Held<'a>>,
    count: usize,
    /// The containers that are open, and are held.
    open: Vec<usize>,
    /// Containers that are open and not held, for want of room; whether they are objects.
    unheld: Vec<bool>,
    /// Strings whose escapes were read, and numbers; where those of the present element begin.
    decoded: String,
    decoded_before: usize,
    /// How the strings that are not kept begin, in the order of their nodes; which of them are those of the present element.
    beginnings: Vec<Beginning>,
    beginnings_before: usize,
    numbers: Vec<Number>,
    numbers_before: usize,
    /// Elements of lists are forgotten once they were looked at.
    forgets: bool,
    arrays: usize,
    /// Values below no array.
    other: usize,
    /// Hash of what there was no room for since the present element began.
    rest: u64,
    results: Results,
    /// Node of each list that is a member of the document, and its elements.
    lengths: Vec<(usize, u64)>,
    spans: Spans,
}

/// A value, in fields that are written one by one where they stay: to make an enum first and to move it stalls the processor.
#[derive(Debug)]
struct Held<'a> {
    key: Cow<'a, str>,
    kind: Kind,
    /// A string as it stands in the input.
    text: &'a str,
    /// What its kind says.
    data: u64,
    end: usize,
}

/// How a string begins that is not kept.
#[derive(Debug)]
struct Beginning {
    node: usize,
    /// In the decoded strings.
    text: Range<usize>,
    /// It is all of it.
    is_whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    False,
    True,
    /// `data`: which one of the numbers.
    Number,
    /// In `text`.
    Plain,
    /// `data`: where it begins in the decoded strings, and how long it is, 32 bits each.
    Decoded,
    /// A string that is not kept. `data`: its hash.
    Long,
    Object,
    Array,
    /// An array with numbers, which are not kept. `data`: their hash.
    Vector,
}

impl<'a> Tape<'a> {
    pub(super) fn new(keep: usize) -> Self {
        Self {
            keep,
            nodes: Vec::new(),
            count: 0,
            open: Vec::new(),
            unheld: Vec::new(),
            decoded: String::new(),
            decoded_before: 0,
            beginnings: Vec::new(),
            beginnings_before: 0,
            forgets: true,
            numbers: Vec::new(),
            numbers_before: 0,
            arrays: 0,
            other: 0,
            rest: 0,
            results: Results::default(),
            lengths: Vec::new(),
            spans: Spans::default(),
        }
    }

    /// For a small document of which every value counts.
    pub(super) fn of_all(keep: usize) -> Self {
        Self { forgets: false, nodes: Vec::with_capacity(USUAL_VALUES), ..Self::new(keep) }
    }

    /// The document.
    pub(super) fn root(&self) -> Option<Node<'_>> {
        self.node(0)
    }

    /// Nothing will follow. When reading stopped early, whole members of the outermost container are kept; those that were open
    /// are not, as in any outline.
    pub(super) fn finish(&mut self) {
        if let Some(cut) = self.open.get(1).copied() {
            if let Some(member) = self.nodes.get(cut) {
                self.results.begin(&member.key);
            }
            self.count = cut;
        }
        if let (Some(_), Some(root)) = (self.open.first(), self.nodes.first_mut()) {
            root.end = self.count;
        }
        self.open.clear();
    }

    /// What facts are read from.
    pub(super) fn into_facts(self) -> RequestFacts {
        let doc = self.node(0).map_or(Value::Null, |root| root.facts(0));
        let named = |(list, length): &(usize, u64)| Some((self.node(*list)?.key().to_owned(), *length));
        let lengths = self.lengths.iter().filter_map(named).collect();
        let (tool_results, history) = self.results.into_parts();
        RequestFacts { doc, tool_results, history, lengths, spans: self.spans }
    }

    /// Counts an element of a list that is a member of the document.
    #[inline]
    fn counts(&mut self, list: usize) {
        if let Some((_, length)) = self.lengths.last_mut().filter(|(known, _)| *known == list) {
            *length += 1;
        } else if self.lengths.len() < MAX_LENGTHS {
            self.lengths.push((list, 1));
        }
    }

    fn node(&self, at: usize) -> Option<Node<'_>> {
        let held = self.nodes.get(..self.count)?.get(at)?;
        Some(Node { tape: self, held, at })
    }

    #[expect(clippy::ptr_arg, reason = "a key that is borrowed is kept as it is")]
    #[inline]
    fn add(&mut self, key: &Cow<'a, str>, kind: Kind, text: &'a str, data: u64) {
        let key = match key {
            Cow::Borrowed(key) => Cow::Borrowed(*key),
            Cow::Owned(key) => Cow::Owned(key.clone()),
        };
        let end = self.count + 1;
        if let Some(held) = self.nodes.get_mut(self.count) {
            held.key = key;
            held.kind = kind;
            held.text = text;
            held.data = data;
            held.end = end;
        } else {
            self.nodes.push(Held { key, kind, text, data, end });
        }
        self.count = end;
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        if !self.unheld.is_empty() {
            return false;
        }
        if self.arrays > 0 {
            return self.count < MAX_BULK_VALUES;
        }
        self.other += 1;
        self.other <= MAX_OTHER_VALUES
    }

    /// The list that is a member of the document and whose elements are coming.
    #[inline]
    fn list(&self) -> Option<usize> {
        let [root, list] = self.open.as_slice() else { return None };
        if !self.forgets {
            return None;
        }
        let kind = |at: &usize| self.nodes.get(*at).map(|held| held.kind);
        let is_list = matches!(kind(list), Some(Kind::Array | Kind::Vector));
        (is_list && kind(root) == Some(Kind::Object)).then_some(*list)
    }

    /// Keeps how a string of the present element begins; of the arguments of a call all of it, to be read.
    fn begins(&mut self, key: &str, text: &str) {
        let is_list = |at: &usize| self.nodes.get(*at).is_some_and(|held| held.kind == Kind::Array);
        if self.open.len() < 3 || !self.open.get(1).is_some_and(is_list) {
            return;
        }
        let most = if key == "arguments" { ARGUMENTS_BYTES } else { BEGINNING_BYTES };
        let kept = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
        let start = self.decoded.len();
        if start + kept.len() <= self.decoded_before + MAX_BEGINNINGS_BYTES {
            self.decoded.push_str(kept);
            let is_whole = kept.len() == text.len();
            self.beginnings.push(Beginning { node: self.count, text: start..self.decoded.len(), is_whole });
        }
    }

    /// An element of a list is whole.
    fn element_ends(&mut self, list: usize, element: usize) {
        let mut results = std::mem::take(&mut self.results);
        if let (Some(list), Some(element)) = (self.node(list), self.node(element)) {
            results.take(list.key(), element, self.rest);
        }
        self.results = results;
        self.rest = 0;
        if element > list + 1 {
            self.count = element;
            self.decoded.truncate(self.decoded_before);
            self.beginnings.truncate(self.beginnings_before);
            self.numbers.truncate(self.numbers_before);
        }
    }
}

impl<'a> Build<'a> for &mut Tape<'a> {
    fn enter(&mut self, key: &Cow<'a, str>, is_object: bool, start: usize) {
        match self.open.len() {
            1 => {
                self.results.begin(key);
                if self.unheld.is_empty() {
                    self.spans.begin(key, start);
                }
            }
            2 => {
                (self.decoded_before, self.numbers_before) = (self.decoded.len(), self.numbers.len());
                self.beginnings_before = self.beginnings.len();
            }
            _ => {}
        }
        if self.has_room() {
            self.open.push(self.count);
            self.add(key, if is_object { Kind::Object } else { Kind::Array }, "", 0);
        } else {
            self.unheld.push(is_object);
        }
        self.arrays += usize::from(!is_object);
    }

    fn leave(&mut self, end: usize) {
        if let Some(is_object) = self.unheld.pop() {
            self.arrays -= usize::from(!is_object);
            return;
        }
        let Some(begun) = self.open.pop() else { return };
        if let Some(held) = self.nodes.get_mut(begun) {
            held.end = self.count;
            self.arrays -= usize::from(held.kind != Kind::Object);
            if self.open.len() == 1 {
                self.spans.end(&held.key, end);
            }
        }
        if let Some(list) = self.list() {
            self.counts(list);
            self.element_ends(list, begun);
        }
    }

    fn scalar(&mut self, key: &Cow<'a, str>, value: Scalar<'a, '_>, _: Range<usize>) {
        if self.open.len() == 1 {
            self.results.begin(key);
        }
        if self.open.len() == 2
            && let Some(list) = self.list()
        {
            self.counts(list);
            // Of a list of texts the first one says what they are.
            if self.count > list + 1 {
                return;
            }
        }
        if !self.has_room() {
            if let Scalar::Plain(text) | Scalar::Decoded(text) = value {
                self.rest = fold(self.rest, hash(text.as_bytes()));
            }
            return;
        }
        match value {
            Scalar::Null => self.add(key, Kind::Null, "", 0),
            Scalar::Bool(is) => self.add(key, if is { Kind::True } else { Kind::False }, "", 0),
            Scalar::Number(number) => {
                self.add(key, Kind::Number, "", self.numbers.len() as u64);
                self.numbers.push(number);
            }
            Scalar::Plain(text) => self.add(key, Kind::Plain, text, 0),
            Scalar::Decoded(text) if text.len() > self.keep => {
                self.begins(key, text);
                self.add(key, Kind::Long, "", hash(text.as_bytes()));
            }
            Scalar::Decoded(text) => {
                self.add(key, Kind::Decoded, "", (self.decoded.len() as u64) << 32 | text.len() as u64);
                self.decoded.push_str(text);
            }
        }
    }

    fn element(&mut self, number: &str) {
        if self.open.len() <= 2 && self.forgets {
            return; // of no result
        }
        let next = hash(number.as_bytes());
        if !self.unheld.is_empty() {
            self.rest = fold(self.rest, next);
        } else if let Some(array) = self.open.last().and_then(|open| self.nodes.get_mut(*open)) {
            array.data = if array.kind == Kind::Vector { fold(array.data, next) } else { next };
            array.kind = Kind::Vector;
        }
    }
}
