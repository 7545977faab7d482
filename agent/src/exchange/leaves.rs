//! Text of one message. Enters: texts with their paths, in order. Leaves: one block, and where in it each of them lies. Never
//! holds what is no text.

use std::ops::Range;

use crate::spare;

/// Text leaves of one message, laid end to end in one block so that one scan covers them all. Leaf i never overlaps leaf i + 1
/// and a line feed stands between them.
///
/// Offsets count bytes of UTF-8 in the leaf, and the leaf is what was written, not how it travelled: content encoding, JSON
/// escapes, percent-encoding and base64 are undone, the parts of a stream are joined. So a finding's path and offsets lead to
/// the text in the member that the path names, once that is decoded. Two leaves hold more than their member: a short value
/// whose key says what it is has `key: ` in front, and `$…` holds the rest past the bound.
///
/// Paths begin with `$` for the JSON body (or a body that is none), `$form` for the fields of a form, `$file` for the files in
/// one, `$query` for the query of the URL, `$header` for headers. `~` behind a path is the name itself: of a member, of a file.
///
/// The paths lie in a block of their own: a body of ten thousand leaves makes no ten thousand allocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves {
    pub(super) text: String,
    paths: String,
    entries: Vec<Leaf>,
    /// Bytes of the decoded body that are no text and were left out.
    pub(super) left_out_bytes: u64,
}

/// Where a leaf ends, and its path. Both begin where those of the leaf before it end: the text behind its line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaf {
    text_end: usize,
    path_end: usize,
}

/// A state of [`Leaves`] to go back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    text: usize,
    paths: usize,
    entries: usize,
    left_out_bytes: u64,
}

impl Leaves {
    /// Adds a leaf; `path` is a JSON path such as `$.messages[0].content`. Empty text is not kept.
    pub fn push(&mut self, path: impl AsRef<str>, text: &str) {
        self.push_parts(path.as_ref(), &[text]);
    }

    /// Adds a leaf whose text is these, one behind the other.
    #[inline]
    pub(super) fn push_parts(&mut self, path: &str, parts: &[&str]) {
        let start = self.text.len();
        for part in parts {
            self.text.push_str(part);
        }
        self.close(path, start);
    }

    /// What stands in the block from `start` on is a leaf.
    #[inline]
    pub(super) fn close(&mut self, path: &str, start: usize) {
        if self.text.len() <= start {
            return;
        }
        self.paths.push_str(path);
        self.entries.push(Leaf { text_end: self.text.len(), path_end: self.paths.len() });
        self.text.push('\n');
    }

    /// These leaves but those whose path is out.
    pub(super) fn without(&self, is_out: impl Fn(&str) -> bool) -> Self {
        let mut kept = Self::default();
        kept.left_out_bytes = self.left_out_bytes;
        for (path, range) in self.iter().filter(|(path, _)| !is_out(path)) {
            kept.push(path, self.text.get(range).unwrap_or_default());
        }
        kept
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            text: self.text.len(),
            paths: self.paths.len(),
            entries: self.entries.len(),
            left_out_bytes: self.left_out_bytes,
        }
    }

    /// Takes back what was added since.
    pub(super) fn go_back(&mut self, mark: Mark) {
        self.text.truncate(mark.text);
        self.paths.truncate(mark.paths);
        self.entries.truncate(mark.entries);
        self.left_out_bytes = mark.left_out_bytes;
    }

    /// The whole block.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Path and extent of each leaf in the block, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        (0..self.entries.len()).filter_map(|index| self.show(index))
    }

    /// The leaf that holds the byte at `position`; `None` on a separator or past the end.
    pub fn at(&self, position: usize) -> Option<(&str, Range<usize>)> {
        let index = self.entries.partition_point(|leaf| leaf.text_end <= position);
        self.show(index).filter(|(_, text)| text.start <= position)
    }

    fn show(&self, index: usize) -> Option<(&str, Range<usize>)> {
        let leaf = self.entries.get(index)?;
        let (text_start, path_start) = match index.checked_sub(1).and_then(|before| self.entries.get(before)) {
            Some(before) => (before.text_end + 1, before.path_end),
            None => (0, 0),
        };
        Some((self.paths.get(path_start..leaf.path_end).unwrap_or_default(), text_start..leaf.text_end))
    }

    /// Text of the last leaf at this path.
    pub fn find_last(&self, path: &str) -> Option<&str> {
        let found = (0..self.entries.len()).rev().filter_map(|index| self.show(index)).find(|(at, _)| *at == path);
        self.text.get(found?.1)
    }

    /// Number of leaves.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No leaf at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Drop for Leaves {
    fn drop(&mut self) {
        spare::give_back(std::mem::take(&mut self.text).into_bytes());
    }
}
