//! A body whose head may be known in part only. Enters: pieces of the body. Leaves: [`Incoming`]. Where the header that names the
//! coding could not be known, the first bytes decide: compressed formats begin with numbers that no text begins with.

use crate::{
    assembly::{AnomalyKind, Headers, Limits, body::Incoming},
    units::Timestamp,
};

/// First bytes of compressed formats: RFC 1952, section 2.3.1 with its only method; RFC 8878, section 3.1.1. Brotli has none.
const MAGIC: [(&[u8], &str); 2] = [(&[0x1f, 0x8b, 8], "gzip"), (&[0x28, 0xb5, 0x2f, 0xfd], "zstd")];
/// The longest of them.
const MAGIC_BYTES: usize = 4;

/// A body that is coming in.
#[derive(Debug)]
pub(super) enum Arriving {
    /// Its coding is open, and these are its first bytes.
    Guessed { headers: Headers, held: Vec<u8>, at: Timestamp },
    /// It is what its head says.
    Known(Box<Incoming>),
}

impl Arriving {
    /// `is_whole`: all fields of the head are known.
    pub(super) fn new(headers: &Headers, is_whole: bool, limits: &Limits) -> Self {
        if is_whole || headers.find("content-encoding").is_some() {
            let length = headers.find("content-length").and_then(|length| length.parse().ok());
            return Self::Known(Box::new(Incoming::new(headers, length, limits)));
        }
        Self::Guessed { headers: headers.clone(), held: Vec::new(), at: Timestamp(0) }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Guessed { held, .. } => held.is_empty(),
            Self::Known(body) => body.first_at().is_none(),
        }
    }

    pub(super) fn buffered(&self) -> usize {
        match self {
            Self::Guessed { held, .. } => held.len(),
            Self::Known(body) => body.buffered(),
        }
    }

    /// Takes wire bytes. Something wrong with them is reported once.
    pub(super) fn push(&mut self, piece: &[u8], at: Timestamp, limits: &Limits) -> Option<AnomalyKind> {
        let Self::Guessed { headers, held, at: first_at } = self else {
            let Self::Known(body) = self else { return None };
            return body.push(piece, at);
        };
        if held.is_empty() {
            *first_at = at;
        }
        let (start, rest) = piece.split_at(piece.len().min(MAGIC_BYTES - held.len()));
        held.extend_from_slice(start);
        if held.len() < MAGIC_BYTES {
            return None;
        }
        let mut body = decided(headers, held, limits);
        let anomaly = body.push(held, *first_at).or_else(|| body.push(rest, at));
        *self = Self::Known(Box::new(body));
        anomaly
    }

    /// Bytes of this body were lost.
    pub(super) fn lose(&mut self, bytes: u64, at: Timestamp, limits: &Limits) {
        if let Some(body) = self.settle(limits) {
            body.lose(bytes, at);
        }
    }

    /// Bytes of this body will never come.
    pub(super) fn lack(&mut self, bytes: u64, limits: &Limits) {
        if let Some(body) = self.settle(limits) {
            body.lack(bytes);
        }
    }

    fn settle(&mut self, limits: &Limits) -> Option<&mut Incoming> {
        if let Self::Guessed { headers, held, at } = self {
            let mut body = decided(headers, held, limits);
            body.push(held, *at);
            *self = Self::Known(Box::new(body));
        }
        if let Self::Known(body) = self { Some(body) } else { None }
    }

    /// Nothing more comes that could decide.
    pub(super) fn decide(self, limits: &Limits) -> Incoming {
        match self {
            Self::Known(body) => *body,
            Self::Guessed { headers, held, at } => {
                let mut body = decided(&headers, &held, limits);
                body.push(&held, at);
                body
            }
        }
    }
}

fn decided(headers: &Headers, start: &[u8], limits: &Limits) -> Incoming {
    let mut headers = headers.clone();
    if let Some((_, coding)) = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
        headers.0.push(("content-encoding".to_owned(), (*coding).to_owned()));
    }
    Incoming::new(&headers, None, limits)
}
