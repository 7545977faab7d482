//! Header compression (RFC 7541), for one who may have come late. Enters: header blocks of one direction, in order. Leaves: their
//! fields, and how many could not be known. Never a wrong field: what refers to something that we did not see is left out.
//!
//! The decoders of crates stop for good at the first index that they do not know. Here an index counts back from the newest
//! entry, so what was inserted since we came always resolves; what is older does not, and the decoding goes on behind it.
//! That holds whatever the size of the peer's table is: it holds the newest part of all that was ever inserted, and so does ours.
//! Ours may be the shorter one (we came late, our cap is lower) or the longer one (a change of size was lost): then an index
//! finds nothing, or parts of ours are never asked for.

use std::collections::VecDeque;

use super::{huffman, static_table};

/// Size of the dynamic table before anything is said about it: RFC 9113, section 6.5.2.
const DEFAULT_TABLE_BYTES: usize = 4096;
/// Largest table that is held, as the RFC counts; a peer may have negotiated more, of which we know the newest part.
const MAX_TABLE_BYTES: usize = 16 << 10;
/// What an entry counts besides its text: RFC 7541, section 4.1.
const ENTRY_BYTES: usize = 32;
/// Fields of one block that are read; those behind are counted as unknown.
const MAX_FIELDS: usize = 256;

/// The fields of a block.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// Those that are known, in order; names and values as sent.
    pub(super) known: Vec<(Vec<u8>, Vec<u8>)>,
    /// Those that are not: from before we came, lost, or past a cap.
    pub(super) unknown: usize,
}

/// The block cannot be read from some place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

/// Decodes the header blocks of one direction.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    size_bytes: usize,
    max_bytes: usize,
}

/// `None`: was not seen.
#[derive(Clone, Debug)]
struct Entry {
    name: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
}

impl Entry {
    fn size_bytes(&self) -> usize {
        let length = |text: &Option<Box<[u8]>>| text.as_ref().map_or(0, |text| text.len());
        ENTRY_BYTES + length(&self.name) + length(&self.value)
    }
}

/// One side of a field: known or not.
type Text = Option<Vec<u8>>;

impl Decoder {
    /// Knows nothing yet.
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), size_bytes: 0, max_bytes: DEFAULT_TABLE_BYTES }
    }

    /// A block, or the rest of one, was lost: how many entries it inserted is unknown, and with it the place of all others.
    pub(super) fn forget(&mut self) {
        self.entries = VecDeque::new();
        self.size_bytes = 0;
    }

    /// Bytes held.
    pub(super) fn buffered(&self) -> usize {
        self.size_bytes
    }

    /// Decodes a block. `whole`: it is all there; else its end was lost, and what there is of it counts. Fields past `cap` bytes
    /// in all are not kept.
    pub(super) fn decode(&mut self, block: &[u8], whole: bool, cap: usize) -> Fields {
        let mut fields = Fields::default();
        let (mut rest, mut held_bytes) = (block, 0);
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            result = self.field(&mut rest, cap).map(|field| match field {
                Some((Some(name), Some(value)))
                    if fields.known.len() < MAX_FIELDS && held_bytes + name.len() + value.len() <= cap =>
                {
                    held_bytes += name.len() + value.len();
                    fields.known.push((name, value));
                }
                Some(_) => fields.unknown += 1,
                None => {} // a change of size
            });
        }
        if !whole || result.is_err() {
            fields.unknown += 1;
            self.forget();
        }
        fields
    }

    /// One representation: RFC 7541, section 6.
    fn field(&mut self, rest: &mut &[u8], cap: usize) -> Result<Option<(Text, Text)>, Broken> {
        let first = *rest.first().ok_or(Broken)?;
        if first & 0x80 != 0 {
            let index = integer(rest, 7)?;
            return if index == 0 { Err(Broken) } else { Ok(Some(self.entry(index))) };
        }
        if first & 0xe0 == 0x20 {
            let bytes = integer(rest, 5)?;
            self.max_bytes = bytes.min(MAX_TABLE_BYTES);
            self.evict(self.max_bytes);
            return Ok(None);
        }
        let inserts = first & 0x40 != 0;
        let index = integer(rest, if inserts { 6 } else { 4 })?;
        let name = if index == 0 { string(rest, cap)? } else { self.entry(index).0 };
        let value = string(rest, cap)?;
        if inserts {
            self.insert(&name, &value);
        }
        Ok(Some((name, value)))
    }

    fn entry(&self, index: usize) -> (Text, Text) {
        let nth = index - 1;
        if let Some((name, value)) = static_table::ENTRIES.get(nth) {
            return (Some(name.as_bytes().to_vec()), Some(value.as_bytes().to_vec()));
        }
        match self.entries.get(nth - static_table::ENTRIES.len()) {
            Some(Entry { name, value }) => (name.as_deref().map(<[u8]>::to_vec), value.as_deref().map(<[u8]>::to_vec)),
            None => (None, None),
        }
    }

    /// An entry that is larger than the table empties it: RFC 7541, section 4.4.
    fn insert(&mut self, name: &Text, value: &Text) {
        let boxed = |text: &Text| text.as_deref().map(Into::into);
        let entry = Entry { name: boxed(name), value: boxed(value) };
        let size_bytes = entry.size_bytes();
        self.evict(self.max_bytes.saturating_sub(size_bytes));
        if size_bytes <= self.max_bytes {
            self.size_bytes += size_bytes;
            self.entries.push_front(entry);
        } else {
            self.forget();
        }
    }

    fn evict(&mut self, down_to_bytes: usize) {
        while self.size_bytes > down_to_bytes {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size_bytes -= oldest.size_bytes();
        }
    }
}

/// An integer whose first byte has it in the lowest `bits` bits: RFC 7541, section 5.1.
fn integer(rest: &mut &[u8], bits: u8) -> Result<usize, Broken> {
    let (first, mut tail) = rest.split_first().ok_or(Broken)?;
    let full = (1 << bits) - 1;
    let mut value = usize::from(*first) & full;
    if value == full {
        // Four more bytes make 28 bits: more than any block that is held could need.
        for shift in [0, 7, 14, 21, 28] {
            let (byte, next) = tail.split_first().ok_or(Broken)?;
            tail = next;
            if shift == 28 && *byte != 0 {
                return Err(Broken);
            }
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = tail;
    Ok(value)
}

/// A string: RFC 7541, section 5.2. One that is longer than `cap` is unknown, not broken.
fn string(rest: &mut &[u8], cap: usize) -> Result<Text, Broken> {
    let coded = rest.first().ok_or(Broken)? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (text, tail) = rest.split_at_checked(length).ok_or(Broken)?;
    *rest = tail;
    Ok(if coded { huffman::decode(text, cap) } else { (length <= cap).then(|| text.to_vec()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::assembly::http2::tests::Encoder;

    const CAP: usize = 64 << 10;

    fn known(fields: &[(&str, &str)]) -> Fields {
        let known = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        Fields { known, unknown: 0 }
    }

    /// RFC 7541, appendices C.3 and C.5 (without the last response's long cookie): one decoder for all blocks of a part.
    #[test]
    fn the_examples_of_the_rfc() {
        let mut requests = Decoder::new();
        for (block, fields) in [
            (
                &b"\x82\x86\x84\x41\x0fwww.example.com"[..],
                &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")][..],
            ),
            (
                b"\x82\x86\x84\xbe\x58\x08no-cache",
                &[
                    (":method", "GET"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":authority", "www.example.com"),
                    ("cache-control", "no-cache"),
                ],
            ),
            (
                b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
                &[
                    (":method", "GET"),
                    (":scheme", "https"),
                    (":path", "/index.html"),
                    (":authority", "www.example.com"),
                    ("custom-key", "custom-value"),
                ],
            ),
        ] {
            assert_eq!(requests.decode(block, true, CAP), known(fields));
        }
        assert_eq!(requests.buffered(), 164, "appendix C.3.3");
        let mut responses = Decoder::new();
        // Table of 256 bytes: the fourth entry evicts the first.
        let first = b"\x3f\xe1\x01\x48\x03302\x58\x07private\x61\x1dMon, 21 Oct 2013 20:13:21 GMT\x6e\x17https://www.example.com";
        let rest = [
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ];
        let with = |status| known(&[&[(":status", status)], &rest[..]].concat());
        assert_eq!(responses.decode(first, true, CAP), with("302"));
        assert_eq!(responses.buffered(), 222, "appendix C.5.1");
        assert_eq!(responses.decode(b"\x48\x03307\xc1\xc0\xbf", true, CAP), with("307"));
        assert_eq!(responses.buffered(), 222, "appendix C.5.2");
    }

    #[test]
    fn what_is_not_known_is_counted_and_read_over() {
        let decode = |block: &[u8]| Decoder::new().decode(block, true, CAP);
        // An index of before us, between two that all know; then a name of before us with a value of now.
        assert_eq!(decode(b"\x82\xc5\x87").known, known(&[(":method", "GET"), (":scheme", "https")]).known);
        assert_eq!(decode(b"\x82\xc5\x87").unknown, 1);
        let mut decoder = Decoder::new();
        let fields = decoder.decode(b"\x7f\x00\x03new\x40\x01a\x01b\xbf\xbe", true, CAP);
        assert_eq!(fields.known, known(&[("a", "b"), ("a", "b")]).known);
        assert_eq!(fields.unknown, 2, "an entry whose name is not known keeps its place");
        // Blocks that end within a field, and numbers that no block needs.
        for broken in
            [&b"\x40"[..], b"\x40\x05ab", b"\x80", b"\x7f\xff\xff\xff\xff\xff\xff", b"\x3f\x80\x80\x80\x80\x80\x80"]
        {
            let mut decoder = Decoder::new();
            decoder.decode(b"\x40\x01a\x01b", true, CAP);
            let block = [b"\x82", broken].concat();
            assert_eq!(decoder.decode(&block, true, CAP), Fields { unknown: 1, ..known(&[(":method", "GET")]) });
            assert_eq!(decoder.decode(b"\xbe", true, CAP).unknown, 1, "entries of before are not to be had");
        }
        // A name that is not Huffman's code leaves the rest alone.
        assert_eq!(decode(b"\x00\x81\x00\x01b\x82"), Fields { unknown: 1, ..known(&[(":method", "GET")]) });
    }

    #[test]
    fn the_table_and_what_comes_of_it_are_bounded() {
        let mut decoder = Decoder::new();
        let long = [&b"\x3f\xe1\xff\x7f\x40\x01a\x7f\xa1\x1e"[..], &[b'x'; 4000]].concat();
        assert_eq!(decoder.decode(&long, true, CAP).unknown, 0);
        // 4 KiB a byte.
        let fields = decoder.decode(&[0xbe; 5000], true, CAP);
        assert!(fields.known.len() <= 16 && fields.known.len() + fields.unknown == 5000);
        assert_eq!(decoder.max_bytes, MAX_TABLE_BYTES, "whatever was asked for");
        for _ in 0..50 {
            decoder.decode(&long[4..], true, CAP);
            assert!(decoder.buffered() <= MAX_TABLE_BYTES);
        }
    }

    fn headers() -> impl Strategy<Value = Vec<Vec<(String, String)>>> {
        let name = prop_oneof!["[a-c]{1,2}", Just(":path".to_owned()), Just("content-type".to_owned())];
        let field = (name, "[a-d]{0,2}|[ -~]{0,80}");
        prop::collection::vec(prop::collection::vec(field, 0..12), 1..12)
    }

    fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    proptest! {
        #[test]
        fn it_reads_what_another_encoder_writes(blocks in headers(), table_bytes in 100usize..4097) {
            let (mut encoder, mut decoder) = (loona_hpack::Encoder::new(), Decoder::new());
            encoder.set_max_table_size(table_bytes);
            let mut size = Vec::new();
            loona_hpack::encoder::encode_integer_into(table_bytes, 5, 0x20, &mut size).unwrap();
            prop_assert_eq!(decoder.decode(&size, true, CAP), known(&[]));
            for fields in &blocks {
                let fields = borrowed(fields);
                let block = encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
                prop_assert_eq!(decoder.decode(&block, true, CAP), known(&fields));
            }
        }

        #[test]
        fn it_agrees_with_another_decoder(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..6)) {
            let (mut theirs, mut ours) = (loona_hpack::Decoder::new(), Decoder::new());
            for block in blocks {
                let Ok(fields) = theirs.decode(&block) else { break };
                prop_assert_eq!(ours.decode(&block, true, CAP), Fields { known: fields, unknown: 0 });
            }
        }

        /// Whoever misses blocks knows less, and nothing else.
        #[test]
        fn what_was_missed_is_missing_and_not_wrong(
            blocks in headers(),
            seen in prop::collection::vec(0u8..4, 12),
            their_bytes in 0usize..4097,
        ) {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new());
            for (index, (fields, seen)) in blocks.iter().zip(seen).enumerate() {
                let mut block = if index == 0 { Vec::new() } else { encoder.shrink(their_bytes) };
                block.extend(encoder.encode(&borrowed(fields)));
                match seen {
                    0 => decoder.forget(),
                    1 => {
                        let cut = block.len() / 2;
                        let fields_known = decoder.decode(&block[..cut], false, CAP).known;
                        let all = known(&borrowed(fields)).known;
                        prop_assert!(fields_known.iter().all(|field| all.contains(field)));
                    }
                    _ => {
                        let read = decoder.decode(&block, true, CAP);
                        let mut all = known(&borrowed(fields)).known.into_iter();
                        prop_assert_eq!(read.known.len() + read.unknown, fields.len());
                        prop_assert!(read.known.iter().all(|field| all.any(|one| one == *field)), "in order");
                    }
                }
            }
        }
    }
}
