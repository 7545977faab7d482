//! One session. Enters: what its upgrade said, and its messages. Leaves: an [`Exchange`] for each turn, and one for what is
//! left at the end. It knows no vendor's messages itself: those are in [`openai`] and [`gemini`].

use serde_json::Value;

use super::{
    Opened, gemini, openai,
    turn::{Bounds, Turn},
};
use crate::{
    assembly::{End, Frame},
    exchange::{Api, BodyFraming, Exchange, RealtimeShape, json, query},
    sources::Direction,
};

/// Messages in which a session on a host that no table lists must show what it is.
const UNDECIDED_MESSAGES: u64 = 16;
/// Text of such a session that is held until then.
const UNDECIDED_BYTES: usize = 256 << 10;
/// Text of one turn. A turn that is longer is given out in parts.
const MAX_TURN_BYTES: usize = 4 << 20;
/// Longest model name in a query.
const MAX_MODEL_BYTES: usize = 256;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// It is part of the session.
    Part,
    /// The session is none: a WebSocket for something else.
    NotLlm,
}

/// What is known of a session from its start to its end.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Model that the client asked for.
    pub(super) request_model: Option<String>,
    /// Model that the vendor says it uses.
    pub(super) response_model: Option<String>,
    /// The vendor's id of the conversation, else of the session.
    pub(super) conversation: Option<String>,
}

/// A session.
///
/// State: one turn, at most [`MAX_TURN_BYTES`] of text.
#[derive(Debug)]
pub(super) struct Session {
    upgrade: Exchange,
    is_listed: bool,
    shape: Option<RealtimeShape>,
    known: Known,
    turn: Turn,
    messages: u64,
    /// Turns given out.
    given: u64,
    /// Directions in which the place is lost: sent, received.
    lost: [bool; 2],
}

impl Session {
    pub(super) fn new(opened: Opened) -> Self {
        let Opened { mut upgrade, api, target } = opened;
        upgrade.api = api.unwrap_or(upgrade.api);
        upgrade.framing = BodyFraming::Websocket;
        if upgrade.request_model.is_none() {
            upgrade.request_model = model_of(&target);
        }
        let mut turn = Turn::default();
        for (path, range) in upgrade.request_text.iter() {
            turn.sent.add(path, "", upgrade.request_text.text().get(range).unwrap_or_default());
        }
        Self {
            is_listed: upgrade.vendor.is_some(),
            known: Known {
                request_model: upgrade.request_model.clone(),
                response_model: upgrade.response_model.clone(),
                conversation: upgrade.conversation.clone(),
            },
            upgrade,
            shape: None,
            turn,
            messages: 0,
            given: 0,
            lost: [false; 2],
        }
    }

    /// Bytes held now.
    pub(super) fn held_bytes(&self) -> usize {
        self.turn.held_bytes()
    }

    /// Takes a message.
    pub(super) fn frame(&mut self, frame: &Frame, out: &mut Vec<Exchange>) -> Took {
        let side = usize::from(frame.direction == Direction::Received);
        if let Some(lost) = self.lost.get_mut(side) {
            *lost = match frame.end {
                // Nobody knows what else was in the hole, or came before the place was found again.
                End::Gap | End::Cut if frame.data.is_empty() => true,
                End::Complete => false,
                _ => *lost,
            };
        }
        let is_nothing = frame.data.is_empty() && matches!(frame.end, End::Gap | End::Cut);
        if is_nothing {
            self.turn.count(frame, 0);
            return Took::Part;
        }
        self.messages += 1;
        let doc = document(frame);
        let doc = doc.as_ref();
        if let (None, Some(doc)) = (self.shape, doc) {
            self.shape = shape_of(doc);
        }
        if self.shape.is_none() && !self.is_listed {
            if self.messages >= UNDECIDED_MESSAGES || self.turn.held_bytes() > UNDECIDED_BYTES {
                return Took::NotLlm;
            }
        } else if self.upgrade.api == Api::Other && self.shape.is_some() {
            self.upgrade.api = Api::Realtime;
        }
        let bounds = match (self.shape, doc) {
            (Some(RealtimeShape::Gemini), Some(doc)) => gemini::bounds(&self.turn, frame.direction, doc),
            (Some(RealtimeShape::Openai), Some(doc)) => openai::bounds(frame.direction, doc),
            _ => Bounds::Inside,
        };
        if bounds == Bounds::Before {
            self.give(out);
        }
        let media_bytes = match (self.shape, doc) {
            (Some(shape), Some(doc)) => self.turn.take(shape, frame, doc, &mut self.known),
            _ => self.turn.plain(frame.direction, &frame.data),
        };
        self.turn.count(frame, media_bytes);
        self.turn.realtime.frames += 1;
        let is_over = match self.shape {
            Some(RealtimeShape::Gemini) => gemini::is_over(&self.turn),
            _ => bounds == Bounds::After,
        };
        if is_over || self.turn.held_bytes() > MAX_TURN_BYTES {
            self.give(out);
        }
        Took::Part
    }

    /// The session is over. `is_cut`: it may go on unseen.
    pub(super) fn end(mut self, is_cut: bool, out: &mut Vec<Exchange>) {
        self.turn.is_cut |= is_cut;
        if self.messages == 0 && !self.turn.has_holes() {
            // Nothing followed the upgrade: it is all there is.
            self.upgrade.view.complete &= !self.turn.is_cut;
            out.push(self.upgrade);
        } else if self.shape.is_some() || self.is_listed {
            // A part without messages says that some may be missing.
            if self.turn.realtime.frames > 0 || !self.turn.is_complete() {
                self.give(out);
            }
        }
    }

    /// Gives out the turn that is open.
    fn give(&mut self, out: &mut Vec<Exchange>) {
        let next = self.turn.next();
        let turn = std::mem::replace(&mut self.turn, next);
        let base = Exchange {
            request_model: self.known.request_model.clone(),
            response_model: self.known.response_model.clone(),
            conversation: self.known.conversation.clone(),
            ..self.upgrade.clone()
        };
        let is_complete = self.lost == [false; 2] && (self.given > 0 || self.upgrade.view.complete);
        self.given += 1;
        out.push(turn.finish(base, self.shape, is_complete));
    }
}

/// The message as JSON, when it is whole.
fn document(frame: &Frame) -> Option<Value> {
    if frame.end != End::Complete || !json::looks_like_json(frame.data.as_bytes()) {
        return None;
    }
    let ignore = &mut |_: &str, _: &str, _: &str| {};
    let outline = json::read(frame.data.as_bytes(), "$", usize::MAX, ignore);
    (outline.end == json::Ended::Whole && outline.doc.is_object()).then_some(outline.doc)
}

fn shape_of(doc: &Value) -> Option<RealtimeShape> {
    if openai::is_shape(doc) {
        Some(RealtimeShape::Openai)
    } else if gemini::is_shape(doc) {
        Some(RealtimeShape::Gemini)
    } else {
        None
    }
}

/// The model that a query names: `?model=` (OpenAI, xAI and most gateways), `?deployment=` (Azure).
fn model_of(target: &str) -> Option<String> {
    let find = |name: &str| {
        form_urlencoded::parse(query::of(target).as_bytes()).find_map(|(key, value)| (key == name).then_some(value))
    };
    let model = find("model").or_else(|| find("deployment"))?;
    (1..=MAX_MODEL_BYTES).contains(&model.len()).then(|| model.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_names_the_model() {
        for (target, model) in [
            ("/v1/realtime?model=gpt-realtime", Some("gpt-realtime")),
            ("/openai/realtime?api-version=1&deployment=my%2Fone", Some("my/one")),
            ("/v1/realtime?intent=transcription", None),
            ("/v1/realtime?model=", None),
            ("/v1/realtime?model=%zz%4", Some("%zz%4")),
            ("/v1/realtime", None),
        ] {
            assert_eq!(model_of(target).as_deref(), model, "{target}");
        }
    }
}
