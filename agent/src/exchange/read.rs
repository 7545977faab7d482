//! One exchange from its two messages. Enters: a request, and its answer if one was seen. Leaves: [`Exchange`]. Never guesses:
//! what neither message says stays empty.

use serde_json::Value;

use super::{
    Api, Asking, BodyFraming, Exchange, History, Leaves, McpCall, View,
    body::{self, FACT_BYTES},
    called,
    extra::{self, Asked},
    facts::{Facts, Seen},
    framing::{self, Framed},
    grpc, headers, mcp, openai_responses, request, retrieval, schemas, shapes, stream,
    text::Whole,
    written::{self, MAX_READ_BYTES},
};
use crate::{
    assembly::{Body, Content, End, Head, Headers, Message},
    rules::{
        VendorTable,
        vendors::{Kind, Vendor},
    },
    spare,
};

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
    let Asked { doc: asked, tool_results, history, lengths, spans, text: request_text } =
        extra::request(&request, target);
    let mut answered = answer.map(Answered::open);
    let sent_headers = request.head.headers();
    let answer_headers = answer.map(|answer| answer.head.headers());
    let api = {
        let answer = answered.as_ref().map_or(&Value::Null, |answer| &answer.doc);
        api(vendors, vendor, (&method, &path), &asked, answer)
            .filter(|api| *api == Api::Converse || !(path.is_empty() && is_amazons(answer_headers)))
            .or_else(|| mcp::is_listening(&method, sent_headers).then_some(Api::McpStreamableHttp))
            .unwrap_or(Api::Other)
    };
    let status = answer.and_then(|answer| status_of(&answer.head));
    if let (Some(answered), Some(answer)) = (&mut answered, answer) {
        answered.grow(answer, api);
    }
    let framing = answered.as_ref().map(Answered::framing).unwrap_or_default();
    let streaming = answered.as_ref().is_some_and(Answered::is_stream);
    let header_facts = headers::facts(sent_headers, target, answer_headers);
    let conversation = request::conversation(&asked, sent_headers);
    let mcp_call = (api == Api::McpStreamableHttp).then(|| mcp::call(&asked, sent_headers, answer_headers));
    let (mut facts, response_text) = answered.map(|answered| answered.read(api)).unwrap_or_default();
    if let Some(headers) = answer_headers {
        add_headers(headers, api, &mut facts);
    }
    if let Some(status) = status.filter(|status| *status >= 400) {
        facts.error.get_or_insert_with(|| format!("http_{status}"));
    }
    let ended_at = answer.map_or(request.ended_at, |answer| answer.ended_at.max(request.ended_at));
    let view = view(&request, answer, [&request_text, &response_text]);
    let request_model = request::model(&asked, &path, api);
    let retrieval = retrieval::facts(api, &path, request_model.as_deref(), &request, answer).map(Box::new);
    let usage_requested = request::usage_requested(&asked, api, request.end == End::Complete);
    let asking = Asking::read(&asked, &lengths, &request_text, &request, api);
    let unlisted = match vendor {
        Some(_) => None,
        None => authority(&host, sent_headers).and_then(|sent| vendors.unlisted_name(sent, api)).cloned(),
    };
    // What a cut body says may be half of it, and an answer that failed keeps to nothing.
    if let Content::Bytes(body) = &request.body.content
        && view.complete
        && facts.error.is_none()
        && written::is_written(api)
    {
        facts.written.schemas = schemas::read(body, &spans, &facts.tool_calls);
    }
    give_back(request.body);
    Exchange {
        vendor: vendor.map(|vendor| vendor.id.clone()).or(unlisted),
        priced_as: vendor.and_then(|vendor| vendor.prices.as_deref()).map(Into::into),
        request_model,
        usage_requested,
        method,
        path,
        api,
        status,
        response_model: facts.response_model,
        response_id: facts.response_id,
        streaming,
        framing,
        usage: facts.usage,
        finish_reasons: facts.finish_reasons,
        called: if facts.tool_calls.is_empty() { Vec::new() } else { called::calls(&response_text) },
        tool_calls: facts.tool_calls,
        server_tool_calls: facts.server_tool_calls,
        written: Box::new(facts.written),
        asking,
        // A call that is not understood has no tools, whatever its members are called.
        tool_results: if api == Api::Other { Vec::new() } else { tool_results },
        history: if api == Api::Other { History::default() } else { history },
        service_tier: facts.service_tier,
        usage_tier: facts.usage_tier,
        system_fingerprint: facts.system_fingerprint,
        error: facts.error,
        reported_cost: facts.reported_cost,
        conversation,
        headers: header_facts,
        mcp: mcp_call.map(|call| McpCall { tool_failed: facts.tool_failed, ..call }),
        retrieval,
        first_token_at: answer.and_then(|answer| answer.body_at),
        ended_at,
        request_text,
        response_text,
        view,
        // Of what its bytes do not say, nothing is known yet.
        ..Exchange::unknown(request.stream, request.origin, host, request.started_at)
    }
}

/// What the headers of an answer know besides its body.
fn add_headers(headers: &Headers, api: Api, facts: &mut Facts) {
    headers::models(headers, api, facts);
    headers::aws(headers, api, facts);
    grpc::status(headers, facts);
}

fn status_of(head: &Head) -> Option<u16> {
    match head {
        // Zero: it came in a part that we did not see.
        Head::Response { status, .. } => Some(*status).filter(|status| *status != 0),
        Head::Request { .. } => None,
    }
}

/// A body is read: its room can be that of another one.
pub(super) fn give_back(body: Body) {
    if let Content::Bytes(bytes) = body.content {
        spare::give_back(bytes);
    }
}

/// The host with its port as the request says it. A server name alone has no port, and that may decide what is there.
fn authority<'a>(host: &str, headers: &'a Headers) -> Option<&'a str> {
    let sent = headers.find("host")?;
    sent.get(..host.len()).is_some_and(|name| name.eq_ignore_ascii_case(host)).then_some(sent)
}

/// Bedrock hands out bodies in the shapes of their makers: without the path they say whose model it is, not which call.
fn is_amazons(answered: Option<&Headers>) -> bool {
    answered.is_some_and(|headers| headers.0.iter().any(|(name, _)| name.starts_with("x-amzn-")))
}

/// What a call is: by its path; on hosts that no file lists, and on those of tools, by the shape of its bodies.
fn api(
    vendors: &VendorTable,
    vendor: Option<&Vendor>,
    (method, path): (&str, &str),
    asked: &Value,
    answered: &Value,
) -> Option<Api> {
    if path.is_empty() {
        // Its head came before we did (HTTP/2): only the answer says for certain what the path would have said. A vendor
        // that no path of has this shape wraps another one's: which of its calls it was, nobody knows.
        let serves = |api: &Api| vendor.is_none_or(|vendor| vendor.is_custom() || vendor.serves(*api));
        return shapes::of(&Value::Null, answered).filter(serves);
    }
    let is_unknown = vendor.is_none_or(Vendor::is_custom);
    let by_path = vendors.api_of(vendor, method, path);
    let by_path = by_path.filter(|api| !is_unknown || shapes::agrees(*api, asked, answered));
    let is_open = is_unknown || vendor.is_some_and(|vendor| vendor.kind == Kind::Mcp);
    by_path.or_else(|| if method == "POST" && is_open { shapes::of(asked, answered) } else { None })
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
    body: &'a Body,
    doc: Value,
    text: Leaves,
    framed: Option<Framed<'a>>,
    seen: Seen,
}

impl<'a> Answered<'a> {
    fn open(answer: &'a Message) -> Self {
        let seen = Seen::from(answer.end);
        let framed = framing::open(answer);
        let (doc, text) = match &framed {
            None => document(&answer.body),
            Some(framed) => (framing::first_document(&framed.events, FACT_BYTES), Leaves::default()),
        };
        Self { body: &answer.body, doc, text, framed, seen }
    }

    /// Now that the kind of call is known: an array may be a stream.
    fn grow(&mut self, answer: &Message, api: Api) {
        if self.framed.is_none() && self.doc.is_array() {
            self.framed = framing::growing(answer, api);
        }
    }

    fn framing(&self) -> BodyFraming {
        self.framed.as_ref().map(|framed| framed.framing).unwrap_or_default()
    }

    /// One message of gRPC is a whole answer.
    fn is_stream(&self) -> bool {
        let framed = self.framed.as_ref();
        framed.is_some_and(|framed| framed.framing != BodyFraming::Grpc || framed.events.len() > 1)
    }

    fn read(self, api: Api) -> (Facts, Leaves) {
        if let Some(framed) = self.framed {
            if framed.framing == BodyFraming::Grpc {
                return (Facts::default(), grpc::text(&framed.events));
            }
            return stream::read(api, &framed.events, self.seen);
        }
        let (mut facts, mut text) = (Facts::default(), self.text);
        shapes::answer(api, &self.doc, &mut facts);
        if written::is_written(api)
            && let Content::Bytes(body) = &self.body.content
        {
            let doc = written::document(api, !facts.tool_calls.is_empty(), self.doc, body);
            facts.written = written::whole(&doc);
        }
        if api == Api::Responses {
            text = text.without(openai_responses::is_echo);
        }
        (facts, text)
    }
}

/// Outline and text of a body; of one that is a stream of events, the text alone.
fn document(body: &Body) -> (Value, Leaves) {
    let bytes = match &body.content {
        Content::Bytes(bytes) => bytes,
        Content::Events(_, events) => return (Value::Null, grpc::text(events)),
        Content::Empty => return (Value::Null, Leaves::default()),
    };
    let mut whole = Whole::default();
    let doc = body::read_keeping(bytes, "$", MAX_READ_BYTES, &mut whole);
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
