//! Segments: the parts of a block that a match may not leave, such as the leaves of a body or the lines of a log. Enters: a
//! position. Leaves: the segment around it, found only when somebody asks.

use std::ops::Range;

use crate::exchange::Leaves;

/// One part of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'s> {
    /// Extent in the block, bytes.
    pub range: Range<usize>,
    /// What it is called: a JSON path. Words in it count as context.
    pub label: &'s str,
}

/// Tells the segment around a position. Segments do not overlap, and a line feed that belongs to none stands between two.
pub trait Segments {
    /// The segment that holds the byte at `position`.
    fn around(&self, position: usize) -> Option<Segment<'_>>;
}

impl Segments for Leaves {
    fn around(&self, position: usize) -> Option<Segment<'_>> {
        self.at(position).map(|(label, range)| Segment { range, label })
    }
}

/// The block is one segment.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// Its length in bytes.
    pub length: usize,
}

impl Segments for Whole {
    fn around(&self, position: usize) -> Option<Segment<'_>> {
        (position < self.length).then_some(Segment { range: 0..self.length, label: "" })
    }
}

/// Each line is a segment.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'b>(pub &'b [u8]);

impl Segments for Lines<'_> {
    fn around(&self, position: usize) -> Option<Segment<'_>> {
        if *self.0.get(position)? == b'\n' {
            return None;
        }
        let start = memchr::memrchr(b'\n', self.0.get(..position)?).map_or(0, |at| at + 1);
        let end = memchr::memchr(b'\n', self.0.get(position..)?).map_or(self.0.len(), |length| position + length);
        Some(Segment { range: start..end, label: "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_around_a_position() {
        let lines = Lines(b"one\n\ntwo");
        assert_eq!(lines.around(0).unwrap().range, 0..3);
        assert_eq!(lines.around(7).unwrap().range, 5..8);
        for outside in [3, 4, 8] {
            assert_eq!(lines.around(outside), None);
        }
    }
}
