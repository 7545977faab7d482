//! One exchange from its two messages. Enters: a request, and its answer if one was seen. Leaves: [`Exchange`]. Never guesses:
//! what neither message says stays empty.

use serde_json::Value;

use super::{
    Api, BodyFraming, Exchange, HeaderFacts, Leaves, View,
    facts::{Facts, Seen},
    headers,
    json::{self, Ended},
    openai_responses, request, shapes, stream,
    text::Whole,
};
use crate::{
    assembly::{Body, Content, End, Event, Head, Message, SseParser},
    rules::{VendorTable, vendors::Vendor},
};

/// Longest string that a fact is read from.
const FACT_BYTES: usize = 256;

/// Builds the exchange.
pub(super) fn exchange(request: Message, answer: Option<&Message>, vendors: &VendorTable) -> Exchange {
    let (method, target) = match &request.head {
        Head::Request { method, target, .. } => (method.clone(), target.as_str()),
        Head::Response { .. } => (String::new(), ""),
    };
    let path = path_of(target).to_owned();
    let host = match &request.server_name {
        Some(name) => name.to_ascii_lowercase(),
        None => request.head.headers().find("host").unwrap_or_default().to_ascii_lowercase(),
    };
    let vendor = vendors.vendor_of(&host);
    let (asked, request_text) = document(&request.body);
    let answered = answer.map(Answered::open);
    let api = vendors
        .api_of(vendor, &method, &path)
        .or_else(|| {
            let is_unknown = method == "POST" && vendor.is_none_or(Vendor::is_custom);
            let answer = answered.as_ref().map_or(&Value::Null, |answer| &answer.doc);
            if is_unknown { shapes::of(&asked, answer) } else { None }
        })
        .unwrap_or(Api::Other);
    let answer_head = answer.map(|answer| &answer.head);
    let status = answer_head.and_then(|head| match head {
        Head::Response { status, .. } => Some(*status),
        Head::Request { .. } => None,
    });
    let streaming = answered.as_ref().is_some_and(|answered| answered.events.is_some());
    let (mut facts, response_text) = answered.map(|answered| answered.read(api)).unwrap_or_default();
    if let Some(head) = answer_head {
        headers::models(head.headers(), api, &mut facts);
    }
    if let Some(status) = status.filter(|status| *status >= 400) {
        facts.error.get_or_insert_with(|| format!("http_{status}"));
    }
    let ended_at = answer.map_or(request.ended_at, |answer| answer.ended_at.max(request.ended_at));
    let started_at = request.started_at;
    let view = view(&request, answer, [&request_text, &response_text]);
    Exchange {
        stream: request.stream,
        vendor: vendor.map(|vendor| vendor.id.clone()),
        priced_as: vendor.and_then(|vendor| vendor.prices.as_deref()).map(Into::into),
        request_model: request::model(&asked, &path, api),
        usage_requested: request::usage_requested(&asked, api),
        host,
        method,
        path,
        api,
        status,
        response_model: facts.response_model,
        response_id: facts.response_id,
        streaming,
        framing: BodyFraming::default(),
        usage: facts.usage,
        finish_reasons: facts.finish_reasons,
        tool_calls: facts.tool_calls,
        server_tool_calls: facts.server_tool_calls,
        tool_results: Vec::new(),
        service_tier: facts.service_tier,
        usage_tier: facts.usage_tier,
        system_fingerprint: facts.system_fingerprint,
        error: facts.error,
        reported_cost: facts.reported_cost,
        conversation: None,
        headers: HeaderFacts::default(),
        mcp: None,
        realtime: None,
        started_at,
        first_token_at: answer.and_then(|answer| answer.body_at),
        ended_at,
        request_text,
        response_text,
        view,
        origin: request.origin,
    }
}

fn view(request: &Message, answer: Option<&Message>, [sent, received]: [&Leaves; 2]) -> View {
    // A body that was all seen and could not be decoded was not seen in any way that counts.
    let whole = |message: &Message| {
        let unread = message.body.wire_bytes > 0 && message.body.content == Content::Empty;
        message.end == End::Complete && !unread
    };
    View {
        request_bytes: request.body.wire_bytes,
        request_missing_bytes: request.body.missing_bytes,
        request_unread_bytes: unread(&request.body, sent),
        response_unread_bytes: answer.map_or(0, |answer| unread(&answer.body, received)),
        response_bytes: answer.map_or(0, |answer| answer.body.wire_bytes),
        response_missing_bytes: answer.map_or(0, |answer| answer.body.missing_bytes),
        complete: whole(request) && answer.is_some_and(whole),
    }
}

/// Wire bytes that were seen and are not scanned. What is left out of a decoded body counts for its share of the wire.
fn unread(body: &Body, text: &Leaves) -> u64 {
    let read = body.wire_bytes.saturating_sub(body.missing_bytes).saturating_sub(body.unread_bytes);
    let decoded = match &body.content {
        Content::Empty => return body.unread_bytes,
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::Events(_, events) => events.iter().map(|event| event.data.len() as u64).sum(),
    };
    let share = u128::from(read) * u128::from(text.left_out_bytes) / u128::from(decoded.max(1));
    body.unread_bytes + u64::try_from(share).unwrap_or(u64::MAX).min(read)
}

/// An answer whose first look is taken: enough to tell its shape.
struct Answered<'a> {
    doc: Value,
    text: Leaves,
    events: Option<std::borrow::Cow<'a, [Event]>>,
    seen: Seen,
}

impl<'a> Answered<'a> {
    fn open(answer: &'a Message) -> Self {
        let seen = Seen::from(answer.end);
        let events: Option<std::borrow::Cow<'a, [Event]>> = match &answer.body.content {
            Content::Events(_, events) => Some(events.as_slice().into()),
            // Some servers stream without saying so.
            Content::Bytes(bytes) if bytes.starts_with(b"data:") || bytes.starts_with(b"event:") => {
                let (mut parser, mut events) = (SseParser::default(), Vec::new());
                parser.push(bytes, answer.ended_at, &mut events);
                parser.finish(answer.ended_at, &mut events);
                Some(events.into())
            }
            Content::Bytes(_) | Content::Empty => None,
        };
        let (doc, text) = match &events {
            None => document(&answer.body),
            Some(events) => {
                let first = events.first().map_or("", |event| event.data.as_str());
                (json::outline(first, FACT_BYTES).doc, Leaves::default())
            }
        };
        Self { doc, text, events, seen }
    }

    fn read(self, api: Api) -> (Facts, Leaves) {
        if let Some(events) = self.events {
            return stream::read(api, &events, self.seen);
        }
        let (mut facts, mut text) = (Facts::default(), self.text);
        shapes::answer(api, &self.doc, &mut facts);
        if api == Api::Responses {
            text = text.without(openai_responses::is_echo);
        }
        (facts, text)
    }
}

/// Outline and text of a body that is no event stream.
fn document(body: &Body) -> (Value, Leaves) {
    let Content::Bytes(bytes) = &body.content else { return (Value::Null, Leaves::default()) };
    let mut whole = Whole::with_room(bytes.len());
    let (doc, text_from) = if json::looks_like_json(bytes) {
        let add = &mut |path: &str, key: &str, text: &str| whole.add(path, key, text);
        let outline = json::read(bytes, "$", FACT_BYTES, add);
        (outline.doc, if let Ended::Malformed(at) = outline.end { at } else { bytes.len() })
    } else {
        (Value::Null, 0)
    };
    // No JSON from here on: text all the same, and of what is binary the text in it. A character that is cut at the end does
    // not make it so.
    let rest = bytes.get(text_from..).unwrap_or_default();
    match std::str::from_utf8(rest) {
        Ok(text) => whole.add("$", "", text),
        Err(error) if error.error_len().is_none() => {
            let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
            whole.add("$", "", &String::from_utf8_lossy(valid));
        }
        Err(_) => whole.add_bytes("$", rest),
    }
    (doc, whole.finish())
}

/// `/v1/x` of `/v1/x?y` and of `https://host/v1/x`.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
        }
        _ => target,
    };
    path.split(['?', '#']).next().unwrap_or(path)
}
