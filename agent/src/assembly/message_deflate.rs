//! permessage-deflate (RFC 7692), one direction of a WebSocket. Enters: pieces of compressed messages. Leaves: plain bytes.
//! Never guesses at what it did not see: after a loss it starts from an empty window, and a message that refers to text
//! from before is refused by the decoder at that very reference (its distance goes past the output there is), so what comes
//! out is always what was sent. A sender that keeps its context refers back all the time: most of its later messages are
//! then unreadable, and are counted so.

use flate2::{Decompress, FlushDecompress, Status};

use super::inflate::Fault;

/// What one decoder holds: its window and its tables.
pub(super) const STATE_BYTES: usize = 48 << 10;
/// Output is drained in steps of this size.
const STEP_BYTES: usize = 16 << 10;
/// The ratio is judged only past this much output: short messages compress well without being bombs.
const RATIO_FREE_BYTES: u64 = 1 << 20;
/// What a sender takes off the end of each message (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A decoder that goes on from message to message.
#[derive(Debug)]
pub(super) struct MessageDeflate {
    state: Option<Box<Decompress>>,
    keeps_context: bool,
    ratio: u64,
    /// Bytes of the present message, in and out.
    taken: u64,
    given: u64,
}

impl MessageDeflate {
    /// `keeps_context`: the sender may refer to earlier messages. At most `ratio` bytes come out per byte taken.
    pub(super) fn new(keeps_context: bool, ratio: u64) -> Self {
        Self { state: None, keeps_context, ratio, taken: 0, given: 0 }
    }

    /// Decodes a piece of a message. `give` gets the output in steps and says whether it wants more.
    pub(super) fn push(&mut self, piece: &[u8], give: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Fault> {
        self.taken += piece.len() as u64;
        self.run(piece, give)
    }

    /// The message is over: gives the rest of its output.
    pub(super) fn end(&mut self, give: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Fault> {
        let result = self.run(&TAIL, give);
        if !self.keeps_context || result.is_err() {
            self.forget();
        }
        (self.taken, self.given) = (0, 0);
        result
    }

    /// Part of a message was not decoded: whatever refers to it from now on cannot be.
    pub(super) fn forget(&mut self) {
        (self.taken, self.given) = (0, 0);
        if let Some(state) = &mut self.state {
            state.reset(false);
        }
    }

    /// Bytes held now.
    pub(super) fn held_bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |_| STATE_BYTES)
    }

    fn run(&mut self, piece: &[u8], give: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Fault> {
        let state = self.state.get_or_insert_with(|| Box::new(Decompress::new(false)));
        let mut rest = piece;
        let mut scratch = vec![0; STEP_BYTES];
        loop {
            let (in_before, out_before) = (state.total_in(), state.total_out());
            let result = state.decompress(rest, &mut scratch, FlushDecompress::None);
            let (used, made) = ((state.total_in() - in_before) as usize, (state.total_out() - out_before) as usize);
            rest = rest.get(used..).unwrap_or_default();
            self.given += made as u64;
            let wanted = made == 0 || give(scratch.get(..made).unwrap_or_default());
            let status = result.map_err(|_| Fault::Encoding)?;
            if self.given > RATIO_FREE_BYTES && self.given / self.ratio.max(1) > self.taken {
                return Err(Fault::Bomb);
            }
            if !wanted {
                return Ok(());
            }
            if status == Status::StreamEnd {
                // A final block does not end the message (section 7.2.3.4). The decoder cannot go on with its window
                // behind one, so references to what came before are refused like those to what was lost.
                state.reset(false);
            } else if made < STEP_BYTES && rest.is_empty() {
                return Ok(());
            } else if made == 0 && used == 0 {
                return Err(Fault::Encoding);
            }
            if rest.is_empty() && status == Status::StreamEnd {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    fn decode(decoder: &mut MessageDeflate, message: &[u8], size: usize) -> (String, Result<(), Fault>) {
        let mut plain = Vec::new();
        let mut give = |bytes: &[u8]| {
            plain.extend_from_slice(bytes);
            true
        };
        let mut result = Ok(());
        for piece in message.chunks(size.max(1)) {
            result = result.and_then(|()| decoder.push(piece, &mut give));
        }
        let result = result.and_then(|()| decoder.end(&mut give));
        (String::from_utf8_lossy(&plain).into_owned(), result)
    }

    fn compress(state: &mut Compress, text: &[u8]) -> Vec<u8> {
        if text.is_empty() {
            return vec![0]; // section 7.2.3.6; a compressor that has nothing to flush flushes nothing
        }
        let mut out = Vec::with_capacity(text.len() * 2 + 64);
        state.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        out
    }

    /// The examples of RFC 7692, section 7.2.3; all of them say "Hello".
    #[test]
    fn examples_of_the_rfc() {
        for (name, messages) in [
            ("7.2.3.1, one block", &[&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..]][..]),
            (
                "7.2.3.2, a shared window",
                &[&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], &[0xf2, 0x00, 0x11, 0x00, 0x00]],
            ),
            ("7.2.3.3, no compression", &[&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]]),
            ("7.2.3.4, a final block", &[&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]]),
            ("7.2.3.5, two blocks", &[&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]]),
        ] {
            for size in [1, 2, 3, 100] {
                let mut decoder = MessageDeflate::new(true, 200);
                for message in messages {
                    assert_eq!(decode(&mut decoder, message, size), ("Hello".to_owned(), Ok(())), "{name}, {size}");
                }
            }
        }
    }

    #[test]
    fn an_empty_message_is_one_byte() {
        // Section 7.2.3.6.
        let mut decoder = MessageDeflate::new(true, 200);
        assert_eq!(decode(&mut decoder, &[0], 1), (String::new(), Ok(())));
        assert_eq!(decode(&mut decoder, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 1).0, "Hello");
    }

    #[test]
    fn what_refers_to_lost_text_is_refused() {
        let mut decoder = MessageDeflate::new(true, 200);
        assert_eq!(decode(&mut decoder, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 9).1, Ok(()));
        decoder.forget();
        let (text, result) = decode(&mut decoder, &[0xf2, 0x00, 0x11, 0x00, 0x00], 9);
        assert_eq!((text.as_str(), result), ("H", Err(Fault::Encoding)), "the literal was sent, the rest refers back");
        let mut decoder = MessageDeflate::new(false, 200);
        assert_eq!(decode(&mut decoder, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], 9).1, Ok(()));
        assert!(decode(&mut decoder, &[0xf2, 0x00, 0x11, 0x00, 0x00], 9).1.is_err(), "nothing is taken over");
    }

    #[test]
    fn a_bomb_is_stopped() {
        let mut state = Compress::new(Compression::default(), false);
        let bomb = compress(&mut state, &vec![b'a'; 64 << 20]);
        let (text, result) = decode(&mut MessageDeflate::new(true, 200), &bomb, 4096);
        assert_eq!(result, Err(Fault::Bomb));
        assert!(text.len() < 16 << 20, "{} bytes came out", text.len());
    }

    proptest! {
        /// Messages that share a window, some of them lost: what comes out is the start of what was sent, or all of it.
        #[test]
        fn losses_never_make_text(
            texts in prop::collection::vec("[ab]{0,40}(\"type\":\"[a-d]{3,9}\"){0,6}[a-z ]{0,20}", 1..12),
            lost in prop::collection::vec(any::<bool>(), 12),
            size in 1usize..40,
        ) {
            let mut state = Compress::new(Compression::default(), false);
            let mut decoder = MessageDeflate::new(true, 200);
            let mut any_lost = false;
            for (text, lost) in texts.iter().zip(lost) {
                let message = compress(&mut state, text.as_bytes());
                if lost {
                    decoder.forget();
                    any_lost = true;
                    continue;
                }
                let (plain, result) = decode(&mut decoder, &message, size);
                prop_assert!(text.starts_with(&plain), "{plain:?} of {text:?}");
                prop_assert!(result.is_err() || plain == *text);
                prop_assert!(any_lost || result.is_ok());
            }
        }
    }
}
