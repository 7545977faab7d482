//! One turn of a session: what was said since the one before it. Enters: messages that a shape has read. Leaves: the
//! [`Exchange`]. Text of both sides is kept; audio and images are counted.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{gemini, openai, session::Known};
use crate::{
    assembly::{End, Frame},
    exchange::{
        Exchange, RealtimeShape, RealtimeTurn, ToolResult, View,
        facts::{Facts, MAX_LISTED},
        json::{self, Ended},
        text::{Joined, Mode, Whole},
        tool_results,
    },
    sources::Direction,
    units::Timestamp,
};

/// Longest report of usage that is kept as it came.
const MAX_REPORT_BYTES: usize = 8 << 10;

/// Where a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Not here.
    Inside,
    /// Before the message: it begins the next one.
    Before,
    /// With the message.
    After,
}

/// A tool that the model wants to be run.
#[derive(Debug)]
struct Call {
    /// The answer that it is part of.
    response: Option<String>,
    /// Its own id.
    id: String,
    name: String,
    is_server: bool,
}

/// Where the text of an item stands.
#[derive(Clone, Copy, Debug)]
struct Item {
    response: usize,
    index: usize,
    /// All of it was taken.
    is_done: bool,
}

/// A turn that is open.
///
/// State: text as it came, and lists of at most [`MAX_LISTED`] entries.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) sent: Whole,
    pub(super) joined: Joined,
    pub(super) facts: Facts,
    pub(super) realtime: RealtimeTurn,
    /// Gemini: the vendor said that its turn is over.
    pub(super) is_turn_complete: bool,
    /// The connection may go on unseen.
    pub(super) is_cut: bool,
    items: BTreeMap<String, Item>,
    /// Answers by the order of their first message.
    responses: Vec<String>,
    /// What the user said, by the order in which it was heard.
    heard: Vec<String>,
    calls: Vec<Call>,
    tool_results: Vec<ToolResult>,
    sent_messages: usize,
    received_messages: usize,
    held_bytes: usize,
    view: View,
    has_losses: bool,
    started_at: Option<Timestamp>,
    first_token_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

impl Turn {
    /// Bytes held now.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Bytes of it may be missing that no message shows.
    pub(super) fn has_holes(&self) -> bool {
        self.has_losses
    }

    /// Nothing of it is missing.
    pub(super) fn is_complete(&self) -> bool {
        !self.has_losses && !self.is_cut
    }

    /// Begins the turn that follows. Tools that answers which are not over yet asked for are its own.
    pub(super) fn next(&mut self) -> Self {
        let mut next = Self { is_cut: self.is_cut, ..Self::default() };
        if self.realtime.responses > 0 {
            let ended = self.facts.response_id.as_deref();
            let is_open = |call: &Call| call.response.is_some() && call.response.as_deref() != ended;
            (next.calls, self.calls) = std::mem::take(&mut self.calls).into_iter().partition(is_open);
        }
        next
    }

    /// Takes the bytes and times of a message. `media_bytes`: of its text, those that were left out.
    pub(super) fn count(&mut self, frame: &Frame, media_bytes: usize) {
        let decoded = u128::from(frame.data.len().max(1) as u64);
        let read = frame.wire_bytes.saturating_sub(frame.missing_bytes).saturating_sub(frame.unread_bytes);
        let share = u128::from(read) * (media_bytes as u128) / decoded;
        let unread = frame.unread_bytes.saturating_add(u64::try_from(share).unwrap_or(read).min(read));
        let view = &mut self.view;
        let (bytes, missing, left) = match frame.direction {
            Direction::Sent => {
                (&mut view.request_bytes, &mut view.request_missing_bytes, &mut view.request_unread_bytes)
            }
            Direction::Received => {
                (&mut view.response_bytes, &mut view.response_missing_bytes, &mut view.response_unread_bytes)
            }
        };
        *bytes = bytes.saturating_add(frame.wire_bytes);
        *missing = missing.saturating_add(frame.missing_bytes);
        *left = left.saturating_add(unread);
        self.has_losses |= frame.end != End::Complete || frame.missing_bytes > 0;
        self.held_bytes += frame.data.len().saturating_sub(media_bytes);
        self.started_at.get_or_insert(frame.started_at);
        self.ended_at = self.ended_at.max(Some(frame.ended_at));
    }

    /// Takes a message that a shape can read; gives the bytes of media in it.
    pub(super) fn take(&mut self, shape: RealtimeShape, frame: &Frame, doc: &Value, known: &mut Known) -> usize {
        match (shape, frame.direction) {
            (RealtimeShape::Openai, Direction::Sent) => openai::sent(self, doc, &frame.data, known),
            (RealtimeShape::Openai, Direction::Received) => openai::received(self, doc, frame, known),
            (RealtimeShape::Gemini, Direction::Sent) => gemini::sent(self, doc, &frame.data, known),
            (RealtimeShape::Gemini, Direction::Received) => gemini::received(self, doc, frame, known),
        }
    }

    /// Takes a message that no shape can read: its text was sent all the same.
    pub(super) fn plain(&mut self, direction: Direction, data: &str) -> usize {
        match direction {
            Direction::Sent => self.send(data, &|_, _| false),
            Direction::Received => self.receive(data),
        }
    }

    /// Takes the text of a message of the client, but for what `is_media` says; gives the bytes of that.
    pub(super) fn send(&mut self, data: &str, is_media: &dyn Fn(&str, &str) -> bool) -> usize {
        let root = format!("$.sent[{}]", self.sent_messages);
        self.sent_messages += 1;
        let (sent, mut media_bytes) = (&mut self.sent, 0);
        let mut take = |path: &str, key: &str, text: &str| {
            if is_media(path, key) {
                media_bytes += text.len();
            } else {
                sent.add(path, key, text);
            }
        };
        if !json::looks_like_json(data.as_bytes()) {
            sent.add(&root, "", data);
            return 0;
        }
        let outline = json::read(data.as_bytes(), &root, 0, &mut take);
        if let Ended::Malformed(at) = outline.end {
            self.sent.add(&root, "", data.get(at..).unwrap_or(data));
        }
        media_bytes
    }

    fn receive(&mut self, data: &str) -> usize {
        let root = format!("$.received[{}]", self.received_messages);
        self.received_messages += 1;
        if !json::looks_like_json(data.as_bytes()) {
            self.joined.put(&root, "", data, Mode::Set);
            return 0;
        }
        let joined = &mut self.joined;
        let mut take = |path: &str, key: &str, text: &str| joined.put(path, key, text, Mode::Set);
        let outline = json::read(data.as_bytes(), &root, 0, &mut take);
        if let Ended::Malformed(at) = outline.end {
            self.joined.put(&root, "", data.get(at..).unwrap_or(data), Mode::Append);
        }
        0
    }

    /// The path of a message of the vendor that has no place of its own.
    pub(super) fn received_root(&mut self) -> String {
        let root = format!("$.received[{}]", self.received_messages);
        self.received_messages += 1;
        root
    }

    /// Notes a tool call, once.
    pub(super) fn call(&mut self, response: Option<&str>, id: &str, name: &str, is_server: bool) {
        let is_known = !id.is_empty() && self.calls.iter().any(|call| call.id == id);
        if !is_known && self.calls.len() < MAX_LISTED {
            let response = response.map(str::to_owned);
            self.calls.push(Call { response, id: id.to_owned(), name: name.to_owned(), is_server });
        }
    }

    /// Tool calls noted so far.
    pub(super) fn calls_count(&self) -> usize {
        self.calls.len()
    }

    /// The number of an answer in this turn; one without an id is the first.
    pub(super) fn response(&mut self, id: Option<&str>) -> usize {
        id.map_or(0, |id| position(&mut self.responses, id))
    }

    /// The number of something that the user said.
    pub(super) fn heard(&mut self, id: Option<&str>) -> usize {
        id.map_or(0, |id| position(&mut self.heard, id))
    }

    /// Where the text of an item stands: the number of its answer, and its own. An item that was seen keeps its place.
    pub(super) fn item(&mut self, response: Option<&str>, id: Option<&str>, index: Option<usize>) -> (usize, usize) {
        if let Some(item) = id.and_then(|id| self.items.get(id)) {
            return (item.response, item.index);
        }
        let response = self.response(response);
        let index = index.unwrap_or_else(|| self.items.values().filter(|item| item.response == response).count());
        if let Some(id) = id.filter(|_| self.items.len() < MAX_LISTED) {
            self.items.insert(id.to_owned(), Item { response, index, is_done: false });
        }
        (response, index)
    }

    /// All of an item was taken.
    pub(super) fn item_done(&mut self, id: Option<&str>) {
        if let Some(item) = id.and_then(|id| self.items.get_mut(id)) {
            item.is_done = true;
        }
    }

    /// Whether all of an item was taken.
    pub(super) fn is_item_done(&self, id: Option<&str>) -> bool {
        id.and_then(|id| self.items.get(id)).is_some_and(|item| item.is_done)
    }

    /// Notes the result of a tool.
    pub(super) fn result(&mut self, call_id: Option<String>, name: Option<String>, is_error: bool, text: &str) {
        if self.tool_results.len() < MAX_LISTED {
            let (digest, said) = (tool_results::hash(text.as_bytes()), tool_results::look(text, is_error));
            // The call was in another part of the session: which turn it was nobody knows.
            self.tool_results.push(ToolResult { call_id, name, arguments: None, turn: 0, is_error, said, digest });
        }
    }

    /// Keeps a report of usage as the vendor wrote it.
    pub(super) fn report(&mut self, report: &Value) {
        let fits = report.to_string().len() <= MAX_REPORT_BYTES;
        self.realtime.reported = fits.then(|| report.clone());
    }

    /// The first part of an answer came.
    pub(super) fn answers_at(&mut self, at: Timestamp) {
        self.first_token_at.get_or_insert(at);
    }

    /// The exchange. `is_complete`: no direction is out of place.
    pub(super) fn finish(mut self, base: Exchange, shape: Option<RealtimeShape>, is_complete: bool) -> Exchange {
        let complete = is_complete && self.is_complete();
        let (server, client): (Vec<_>, Vec<_>) = self.calls.into_iter().partition(|call| call.is_server);
        let names = |calls: Vec<Call>| calls.into_iter().map(|call| call.name).collect();
        self.realtime.shape = shape;
        let facts = self.facts;
        Exchange {
            response_model: facts.response_model.or(base.response_model),
            response_id: facts.response_id,
            streaming: true,
            usage: facts.usage,
            finish_reasons: facts.finish_reasons,
            tool_calls: names(client),
            server_tool_calls: names(server),
            tool_results: self.tool_results,
            service_tier: facts.service_tier,
            usage_tier: facts.usage_tier,
            system_fingerprint: facts.system_fingerprint,
            error: facts.error,
            reported_cost: facts.reported_cost,
            started_at: self.started_at.unwrap_or(base.started_at),
            first_token_at: self.first_token_at,
            ended_at: self.ended_at.unwrap_or(base.ended_at),
            request_text: self.sent.finish(),
            response_text: self.joined.finish(),
            view: View { complete, ..self.view },
            realtime: Some(self.realtime),
            ..base
        }
    }
}

/// The number of an id in a list, to which it is added.
fn position(ids: &mut Vec<String>, id: &str) -> usize {
    let known = ids.iter().position(|known| known == id);
    known.unwrap_or_else(|| {
        if ids.len() < MAX_LISTED {
            ids.push(id.to_owned());
        }
        ids.len() - 1
    })
}
