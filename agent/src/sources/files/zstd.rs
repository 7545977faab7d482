//! A reader of zstd frames, one after the other (RFC 8878). Enters: a reader of the file. Leaves: a reader of its contents. The
//! library decodes one frame and keeps its window to itself until the frame ends; a damaged file gives what came before the damage.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

/// Bytes that are decoded at a time, beside the window.
const STEP_BYTES: usize = 128 * 1024;

/// An empty last block (RFC 8878, section 3.1.1.2) and room for a checksum: ends a frame whose rest cannot be read.
const ENDING: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];

/// Decodes a file of frames.
pub(super) struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    state: State,
}

enum State {
    Between,
    InFrame,
    Ended,
    Failed(io::Error),
}

impl<R: BufRead> Zstd<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), state: State::Between }
    }

    fn step(&mut self) -> io::Result<State> {
        if !matches!(self.state, State::InFrame) {
            return self.open();
        }
        if self.decoder.is_finished() {
            let (told, counted) = (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum());
            let differs = told.is_some_and(|told| counted.is_some_and(|counted| counted != told));
            return if differs { Err(io::Error::other("the checksum is wrong")) } else { Ok(State::Between) };
        }
        match self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBytes(STEP_BYTES)) {
            Ok(_) => Ok(State::InFrame),
            Err(error) => {
                let ended = self.source.fill_buf().is_ok_and(<[u8]>::is_empty);
                // What was decoded before stays, whether this frame can be ended or not.
                let _ = self.decoder.decode_blocks(ENDING.as_slice(), BlockDecodingStrategy::All);
                Err(if ended { io::ErrorKind::UnexpectedEof.into() } else { io::Error::other(error) })
            }
        }
    }

    /// The next frame, past those that hold no data.
    fn open(&mut self) -> io::Result<State> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(State::Ended);
        }
        match self.decoder.reset(&mut self.source) {
            Ok(()) => Ok(State::InFrame),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let length = u64::from(length);
                let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                if skipped == length { Ok(State::Between) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            }
            Err(_) if self.source.fill_buf()?.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if buffer.is_empty() || self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok(0),
                State::Failed(error) => return Err(error),
                state => {
                    self.state = state;
                    self.state = self.step().unwrap_or_else(State::Failed);
                }
            }
        }
    }
}
