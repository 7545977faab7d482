//! `application/vnd.amazon.eventstream` (smithy.io, "Amazon Event Stream Specification"). Enters: pieces of a body, cut
//! anywhere. Leaves: [`Event`]s, each with the arrival time of its frame's last byte. Never uses a frame whose checksum is
//! wrong, and reads nothing behind one: the length of the frame can no longer be believed.
//!
//! A frame: total length, headers' length, CRC-32 of these two, headers, payload, CRC-32 of all before; numbers are big-endian.
//!
//! Why not the crate aws-smithy-eventstream: its decoder gives whole frames only. Here the half frame before a hole is wanted,
//! as text and marked as [`UNVERIFIED`]; and a frame must be refused when its length comes, not when its bytes do.

use super::{Event, EventText, events::BadFrame};
use crate::units::Timestamp;

/// Name of an event whose checksum did not come: what is in it is text and nothing else.
pub const UNVERIFIED: &str = "?";

/// What an event costs to hold besides its text.
const EVENT_BYTES: usize = size_of::<Event>();
/// The two lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
/// The checksum at the end.
const CRC_BYTES: usize = 4;
/// The specification's largest headers and payload.
const MAX_HEADER_BYTES: usize = 128 << 10;
const MAX_PAYLOAD_BYTES: usize = 24 << 20;

/// An incremental parser. It holds one frame, whose length is bounded before its bytes are taken.
#[derive(Debug, Default)]
pub struct AwsEventParser {
    /// The frame so far.
    frame: Vec<u8>,
    /// A frame was wrong.
    failed: bool,
}

/// What the start of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prelude {
    total_bytes: usize,
    header_bytes: usize,
}

impl Prelude {
    /// `Err`: no frame starts so. `None`: too short to say.
    fn read(frame: &[u8]) -> Result<Option<Self>, ()> {
        let (Some(total), Some(headers), Some(told)) = (number(frame, 0), number(frame, 4), number(frame, 8)) else {
            return Ok(None);
        };
        let (total_bytes, header_bytes) = (total as usize, headers as usize);
        let around = PRELUDE_BYTES + CRC_BYTES;
        let payload = total_bytes.checked_sub(around).and_then(|inner| inner.checked_sub(header_bytes)).ok_or(())?;
        let is_sound = header_bytes <= MAX_HEADER_BYTES && payload <= MAX_PAYLOAD_BYTES;
        let counted = crc32fast::hash(frame.get(..8).unwrap_or_default());
        if is_sound && counted == told { Ok(Some(Self { total_bytes, header_bytes })) } else { Err(()) }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

impl AwsEventParser {
    /// Whether a body starts with a frame, as far as the checksum of its lengths tells.
    pub fn begins(body: &[u8]) -> bool {
        matches!(Prelude::read(body), Ok(Some(_)))
    }

    /// Takes a piece that arrived at `at`; finished events are added to `events`. Returns the bytes that `events` grew by.
    pub fn push(&mut self, piece: &[u8], at: Timestamp, events: &mut Vec<Event>) -> Result<usize, BadFrame> {
        if self.failed {
            return Err(BadFrame { grown_bytes: 0, unread_bytes: piece.len() });
        }
        let (mut grown, mut rest) = (0, piece);
        while !rest.is_empty() {
            let Ok(wanted) = self.wanted() else { return Err(self.fail(grown, rest)) };
            let (taken, tail) = rest.split_at(wanted.min(rest.len()));
            self.frame.extend_from_slice(taken);
            rest = tail;
            match Prelude::read(&self.frame) {
                Ok(Some(prelude)) if self.frame.len() >= prelude.total_bytes => match whole(&self.frame, prelude) {
                    Some((name, data)) => {
                        grown += EVENT_BYTES + name.len() + data.len();
                        events.push(Event { name: name.into(), data: data.into(), at });
                        self.frame.clear();
                    }
                    None => return Err(self.fail(grown, rest)),
                },
                Ok(_) => {}
                Err(()) => return Err(self.fail(grown, rest)),
            }
        }
        Ok(grown)
    }

    /// Bytes that the present frame, or its prelude, lacks.
    fn wanted(&self) -> Result<usize, ()> {
        let end = Prelude::read(&self.frame)?.map_or(PRELUDE_BYTES, |prelude| prelude.total_bytes);
        Ok(end.saturating_sub(self.frame.len()))
    }

    fn fail(&mut self, grown_bytes: usize, rest: &[u8]) -> BadFrame {
        self.failed = true;
        BadFrame { grown_bytes, unread_bytes: std::mem::take(&mut self.frame).len() + rest.len() }
    }

    /// The body ended. What came of the payload of an unfinished frame is given out as text, not as an event.
    pub fn finish(&mut self, at: Timestamp, events: &mut Vec<Event>) {
        let frame = std::mem::take(&mut self.frame);
        let Ok(Some(prelude)) = Prelude::read(&frame) else { return };
        let end = (prelude.total_bytes - CRC_BYTES).min(frame.len());
        let payload = frame.get(PRELUDE_BYTES + prelude.header_bytes..end).unwrap_or_default();
        if !payload.is_empty() {
            let data = EventText::lossy(payload);
            events.push(Event { name: UNVERIFIED.into(), data, at });
        }
    }

    /// Bytes held for the unfinished frame.
    pub fn buffered(&self) -> usize {
        self.frame.len()
    }
}

/// Name and payload of a whole frame. `None`: its checksum or its headers are wrong.
fn whole(frame: &[u8], prelude: Prelude) -> Option<(String, String)> {
    let (body, crc) = frame.split_at_checked(prelude.total_bytes.checked_sub(CRC_BYTES)?)?;
    if number(crc, 0)? != crc32fast::hash(body) {
        return None;
    }
    let (headers, payload) = body.get(PRELUDE_BYTES..)?.split_at_checked(prelude.header_bytes)?;
    let told = Told::read(headers)?;
    let failed = told.exception.or(told.error);
    let name = failed.map_or(told.event.unwrap_or_default().to_owned(), |what| format!("!{what}"));
    let data = if payload.is_empty() { told.message.unwrap_or_default().as_bytes() } else { payload };
    Some((name, String::from_utf8_lossy(data).into_owned()))
}

/// The headers that say what a frame is. An error (`:message-type` `error`) is one that the service's model does not have.
#[derive(Default)]
struct Told<'a> {
    event: Option<&'a str>,
    exception: Option<&'a str>,
    error: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn read(mut headers: &'a [u8]) -> Option<Self> {
        let mut told = Self::default();
        while let Some((name_length, rest)) = headers.split_first() {
            let (name, rest) = rest.split_at_checked(usize::from(*name_length))?;
            let (kind, rest) = rest.split_first()?;
            // Types: true, false, byte, short, integer, long, bytes, string, timestamp, UUID.
            let (value, rest) = match kind {
                0 | 1 => (&[][..], rest),
                2 => rest.split_at_checked(1)?,
                3 => rest.split_at_checked(2)?,
                4 => rest.split_at_checked(4)?,
                5 | 8 => rest.split_at_checked(8)?,
                6 | 7 => {
                    let (length, rest) = rest.split_at_checked(2)?;
                    rest.split_at_checked(usize::from(u16::from_be_bytes(length.try_into().ok()?)))?
                }
                9 => rest.split_at_checked(16)?,
                _ => return None,
            };
            headers = rest;
            let slot = match name {
                b":event-type" => &mut told.event,
                b":exception-type" => &mut told.exception,
                b":error-code" => &mut told.error,
                b":error-message" => &mut told.message,
                _ => continue,
            };
            if *kind == 7 {
                *slot = std::str::from_utf8(value).ok();
            }
        }
        Some(told)
    }
}

/// A frame with string headers, for tests.
#[cfg(test)]
pub(crate) fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for (name, value) in headers {
        packed.push(name.len() as u8);
        packed.extend_from_slice(name.as_bytes());
        packed.push(7);
        packed.extend_from_slice(&(value.len() as u16).to_be_bytes());
        packed.extend_from_slice(value.as_bytes());
    }
    let mut frame = ((PRELUDE_BYTES + packed.len() + payload.len() + CRC_BYTES) as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&(packed.len() as u32).to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&packed);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(name: &str, payload: &str) -> Vec<u8> {
        frame(&[(":message-type", "event"), (":event-type", name)], payload.as_bytes())
    }

    type Parsed = (Vec<(String, String)>, Option<usize>);

    /// Events, and how many bytes were unread when a frame was wrong.
    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Parsed {
        let (mut parser, mut events, mut unread) = (AwsEventParser::default(), Vec::new(), None);
        for piece in pieces {
            if let Err(bad) = parser.push(piece, Timestamp(1), &mut events) {
                unread = Some(unread.unwrap_or(0) + bad.unread_bytes);
            }
        }
        parser.finish(Timestamp(2), &mut events);
        assert_eq!(parser.buffered(), 0);
        (events.into_iter().map(|event| (event.name.to_string(), event.data.to_string())).collect(), unread)
    }

    fn parsed(events: &[(&str, &str)], unread: Option<usize>) -> Parsed {
        (events.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect(), unread)
    }

    #[test]
    fn frames() {
        let a = event("a", "{}");
        let (length, mut wrong) = (a.len(), event("b", "{\"x\":1}"));
        wrong[40] ^= 1;
        let mut lengths = event("b", "{}");
        lengths[7] ^= 1;
        let huge = [&u32::MAX.to_be_bytes()[..], &[0; 8]].concat();
        let exception =
            frame(&[(":message-type", "exception"), (":exception-type", "throttled")], b"{\"message\":\"m\"}");
        let error = frame(&[(":message-type", "error"), (":error-code", "c"), (":error-message", "m")], b"");
        for (name, wire, expected) in [
            ("two", [a.clone(), event("b", "two")].concat(), parsed(&[("a", "{}"), ("b", "two")], None)),
            ("an exception", exception, parsed(&[("!throttled", "{\"message\":\"m\"}")], None)),
            ("an error", error, parsed(&[("!c", "m")], None)),
            ("no headers", frame(&[], b"x"), parsed(&[("", "x")], None)),
            (
                "a wrong checksum stops all",
                [a.clone(), wrong.clone(), a.clone()].concat(),
                parsed(&[("a", "{}")], Some(wrong.len() + length)),
            ),
            ("wrong lengths", [a.clone(), lengths.clone()].concat(), parsed(&[("a", "{}")], Some(lengths.len()))),
            ("too long", huge, parsed(&[], Some(12))),
            ("cut in the payload", a[..length - 5].to_vec(), parsed(&[(UNVERIFIED, "{")], None)),
            ("cut in the checksum", a[..length - 1].to_vec(), parsed(&[(UNVERIFIED, "{}")], None)),
            ("cut in the headers", a[..20].to_vec(), parsed(&[], None)),
            ("nothing", Vec::new(), parsed(&[], None)),
        ] {
            assert_eq!(parse([&wire[..]]), expected, "{name}");
            for size in [1, 3, 12, 13] {
                assert_eq!(parse(wire.chunks(size)), expected, "{name}, pieces of {size}");
            }
        }
    }

    #[test]
    fn a_body_that_begins_with_a_frame_is_known() {
        assert!(AwsEventParser::begins(&event("a", "{}")[..12]));
        assert!(!AwsEventParser::begins(&event("a", "{}")[..11]));
        assert!(!AwsEventParser::begins(b"{\"message\":\"no stream\"}"));
        assert!(!AwsEventParser::begins(&[0; 64]));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            payloads in prop::collection::vec("[a-z]{0,40}", 0..5),
            flip in prop::option::of(0usize..400),
            cut in 0usize..40,
            size in 1usize..70,
        ) {
            let mut wire: Vec<u8> = payloads.iter().flat_map(|payload| event("e", payload)).collect();
            wire.truncate(wire.len().saturating_sub(cut));
            if let Some(byte) = flip.and_then(|at| wire.get_mut(at)) {
                *byte ^= 0x10;
            }
            let whole = parse([&wire[..]]);
            prop_assert_eq!(&parse(wire.chunks(size)), &whole);
            let sure = whole.0.iter().filter(|(name, _)| name != UNVERIFIED);
            prop_assert!(sure.zip(&payloads).all(|((_, have), want)| have == want), "a wrong frame was used");
        }

        #[test]
        fn garbage_never_panics(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            parse(pieces.iter().map(Vec::as_slice));
        }
    }
}
