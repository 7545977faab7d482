//! Recorded sessions give what their index says, however they are framed, cut and compressed; with losses nothing is wrong.
//! And what the recordings do not have: other gateways, two answers at once, sessions that are none.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    assembly::{Assembled, Assembler, Limits},
    exchange::Correlator,
    rules::{RuleSource, VendorTable},
    sources::{
        Direction, Input, Origin, StreamEvent,
        replay::{
            Answer, Record,
            wire_ws::{Peers, Takeover, wire},
        },
    },
    units::Timestamp,
};

/// Keys that must be equal.
const FACTS: [&str; 12] = [
    "vendor",
    "api",
    "response_model",
    "frames",
    "responses",
    "input_tokens_sum",
    "output_tokens_sum",
    "cached_tokens_sum",
    "tool_calls",
    "errors",
    "gemini_usage_messages",
    "gemini_usage_last",
];

/// A generator for seeds (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The inputs of a connection. `split`: cut at random. `lose`: of so many pieces one is lost, those of the upgrade never.
fn inputs(record: &Record, peers: Peers, split: Option<u64>, lose: Option<u64>) -> Vec<Input> {
    let mut random = Random(split.unwrap_or(0) + 77);
    let mut positions = [0_u64; 2];
    let mut events = vec![StreamEvent::Opened { server_name: record.request.host_name.as_str().into() }];
    let Answer::Session(messages) = &record.answer else { panic!("no session") };
    for (number, (direction, bytes)) in wire(&record.request, messages, peers).into_iter().enumerate() {
        let mut rest = Bytes::from(bytes);
        let position = &mut positions[usize::from(direction == Direction::Received)];
        while !rest.is_empty() {
            let most = if split.is_some() { 1 << random.below(13) } else { u64::MAX >> 34 };
            let size = if split.is_some() { 1 + random.below(most) } else { most };
            let piece = rest.split_to(rest.len().min(size as usize));
            let length = piece.len() as u64;
            if number < 2 || lose.is_none_or(|lose| random.below(lose) != 0) {
                events.push(StreamEvent::Bytes { direction, offset: *position, bytes: piece });
            }
            *position += length;
        }
    }
    events.push(StreamEvent::Closed { sent_bytes: Some(positions[0]), received_bytes: Some(positions[1]) });
    let origin = Arc::new(Origin::default());
    let input = |(at, event)| Input { stream: StreamId(1), origin: Arc::clone(&origin), at: Timestamp(at), event };
    (1..).zip(events).map(input).collect()
}

fn exchanges(inputs: &[Input], vendors: &Arc<VendorTable>) -> Vec<Exchange> {
    let (mut assembler, mut correlator) = (Assembler::new(Limits::default()), Correlator::new(Arc::clone(vendors)));
    let (mut events, mut out) = (Vec::new(), Vec::new());
    for input in inputs {
        assembler.push(input, &mut events);
    }
    assembler.finish(Timestamp(u64::MAX), &mut events);
    for one in events {
        match one {
            Assembled::Message(message) => correlator.push(*message, &mut out),
            Assembled::Closed(stream) => correlator.closed(stream, &mut out),
            Assembled::CallOver { stream, call } => correlator.call_over(stream, call, &mut out),
            Assembled::Frame(frame) => correlator.frame(*frame, &mut out),
            Assembled::Anomaly(_) => {}
        }
    }
    correlator.finish(&mut out);
    out
}

fn vendors() -> Arc<VendorTable> {
    Arc::new(VendorTable::load(&RuleSource::Embedded).unwrap())
}

fn folder() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/exchanges");
    let folder = env::var_os("OUTFLOW_EXCHANGES").map_or(default, PathBuf::from).join("realtime");
    if folder.join("index.jsonl").is_file() {
        return Some(folder);
    }
    let required = env::var_os("OUTFLOW_REQUIRE_EXCHANGES").is_some_and(|value| value == "1");
    assert!(!required, "no recorded sessions in {}", folder.display());
    println!("skipped: no recorded sessions in {} (set OUTFLOW_EXCHANGES)", folder.display());
    None
}

struct Case {
    index: Value,
    raw: Value,
    record: Record,
}

fn cases() -> Vec<Case> {
    let Some(folder) = folder() else { return Vec::new() };
    let index = fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let cases: Vec<_> = index
        .lines()
        .map(|line| {
            let index: Value = serde_json::from_str(line).unwrap();
            let text = fs::read(folder.join(index["file"].as_str().unwrap())).unwrap();
            let record = Record::parse(&text).unwrap();
            Case { index, raw: serde_json::from_slice(&text).unwrap(), record }
        })
        .collect();
    assert!(cases.len() >= 20, "only {} sessions found", cases.len());
    cases
}

/// All that a peer may do otherwise, by a number.
fn variant(number: u64) -> Peers {
    Peers {
        fragments: (!number.is_multiple_of(4)).then_some(number),
        deflate: [None, Some(Takeover::Both), Some(Takeover::Neither)][(number % 3) as usize],
        is_binary: number.is_multiple_of(5),
        is_cut: number.is_multiple_of(7),
    }
}

#[test]
fn facts_equal_the_index_whole_split_compressed_and_in_fragments() {
    let vendors = vendors();
    let (mut compared, mut wrong) = (0, Vec::new());
    for case in cases() {
        let mut texts: Option<Vec<(String, String)>> = None;
        for seed in 0..=20 {
            for peers in [Peers::default(), variant(seed)] {
                let found = exchanges(&inputs(&case.record, peers, (seed > 0).then_some(seed), None), &vendors);
                let facts = facts_of_session(&found);
                assert_eq!(facts["complete"], true, "{} {seed} {peers:?}", case.index["id"]);
                for name in FACTS {
                    compared += 1;
                    if facts[name] != case.index[name] {
                        let (ours, theirs) = (&facts[name], &case.index[name]);
                        wrong.push(format!(
                            "{} {name}: {ours}, the index says {theirs} ({seed} {peers:?})",
                            case.index["id"]
                        ));
                    }
                }
                let text =
                    |turn: &Exchange| (turn.request_text.text().to_owned(), turn.response_text.text().to_owned());
                let now: Vec<_> = found.iter().map(text).collect();
                assert_eq!(texts.get_or_insert_with(|| now.clone()), &now, "{} {seed} {peers:?}", case.index["id"]);
            }
        }
    }
    println!("{compared} facts compared");
    assert!(wrong.is_empty(), "{} wrong facts:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn losses_leave_facts_out_and_make_none_up() {
    let vendors = vendors();
    let (mut known, mut unknown, mut turns, mut wrong) = (0, 0, 0, Vec::new());
    for case in cases() {
        let whole = exchanges(&inputs(&case.record, Peers::default(), None, None), &vendors);
        for seed in 1..=20 {
            let peers = variant(seed);
            let found = exchanges(&inputs(&case.record, peers, Some(seed), Some(4 + seed * 5)), &vendors);
            let facts = facts_of_session(&found);
            for name in FACTS.iter().filter(|name| !found.is_empty() || **name != "api") {
                match (&facts[*name], &case.index[*name]) {
                    (Value::Null, _) => unknown += 1,
                    (ours, theirs) if ours == theirs => known += 1,
                    (ours, theirs) => wrong.push(format!("{} {name}: {ours}, not {theirs} ({seed})", case.index["id"])),
                }
            }
            for turn in &found {
                turns += 1;
                // What a turn says of an answer is what the whole session says of it.
                let same = |other: &&Exchange| {
                    other.response_id == turn.response_id
                        && other.usage == turn.usage
                        && other.finish_reasons == turn.finish_reasons
                };
                let says = turn.response_id.is_some() || turn.usage != crate::exchange::Usage::default();
                if says && !whole.iter().any(|other| same(&other)) {
                    wrong.push(format!("{} turn {:?} {:?} ({seed})", case.index["id"], turn.response_id, turn.usage));
                }
                if turn.response_model.is_some()
                    && whole.iter().all(|other| other.response_model != turn.response_model)
                {
                    wrong.push(format!("{} model {:?} ({seed})", case.index["id"], turn.response_model));
                }
            }
        }
    }
    println!("{turns} turns, {known} facts right, {unknown} unknown, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The plain way to see what was said, apart from the code under test.
#[test]
fn every_text_of_both_sides_is_there() {
    let vendors = vendors();
    let mut checked = 0;
    for case in cases() {
        let found = exchanges(&inputs(&case.record, Peers::default(), Some(3), None), &vendors);
        let all = |text: fn(&Exchange) -> &str| found.iter().map(text).collect::<String>();
        let (sent, received) = (all(|turn| turn.request_text.text()), all(|turn| turn.response_text.text()));
        let mut spoken = String::new();
        for message in case.raw["messages"].as_array().unwrap() {
            let data = &message["data"];
            let (place, expected) = match data["type"].as_str() {
                Some("conversation.item.create") => (&sent, &data["item"]["content"][0]["text"]),
                Some("session.update") => (&sent, &data["session"]["instructions"]),
                Some("response.output_text.done") => (&received, &data["text"]),
                Some(
                    "response.output_audio_transcript.done" | "conversation.item.input_audio_transcription.completed",
                ) => (&received, &data["transcript"]),
                None => {
                    spoken += data["serverContent"]["outputTranscription"]["text"].as_str().unwrap_or_default();
                    (&sent, &data["client_content"]["turns"][0]["parts"][0]["text"])
                }
                _ => continue,
            };
            if let Some(expected) = expected.as_str() {
                assert!(place.contains(expected), "{}: {expected:?}", case.index["id"]);
                checked += 1;
            }
            assert!(!sent.contains(data["audio"].as_str().unwrap_or("\0")), "audio is no text");
        }
        if found.len() == 1 {
            assert!(received.contains(&spoken), "{}: {spoken:?}", case.index["id"]);
        }
    }
    assert!(checked > 50 || folder().is_none(), "only {checked} texts checked");
}

/// A session of messages that are written here.
fn session(url: &str, messages: &Value) -> Vec<Exchange> {
    let messages: Vec<_> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|message| {
            let (direction, data) = (&message[0], &message[1]);
            json!({"direction": if direction == ">" { "sent" } else { "received" }, "data": data})
        })
        .collect();
    let record = json!({"request": {"method": "GET", "url": url}, "messages": messages});
    let record = Record::parse(record.to_string().as_bytes()).unwrap();
    exchanges(&inputs(&record, Peers::default(), Some(1), None), &vendors())
}

fn leaves(leaves: &crate::exchange::Leaves) -> Vec<(&str, &str)> {
    leaves.iter().map(|(path, range)| (path, &leaves.text()[range])).collect()
}

fn created() -> Value {
    json!(["<", {"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime-2099-01-01"}}])
}

#[test]
fn a_turn_has_its_facts() {
    let found = session(
        "wss://my.openai.azure.com/openai/realtime?api-version=x&deployment=voice",
        &json!([
            created(),
            [">", {"type":"conversation.item.create","item":{"type":"function_call_output","call_id":"c0","output":"12 degrees"}}],
            [">", {"type":"input_audio_buffer.append","audio":"AAAA"}],
            ["<", {"type":"conversation.item.input_audio_transcription.delta","item_id":"i1","delta":"My name "}],
            ["<", {"type":"conversation.item.input_audio_transcription.completed","item_id":"i1","transcript":"My name is Jo"}],
            ["<", {"type":"response.created","response":{"id":"r1","conversation_id":"conv_1"}}],
            ["<", {"type":"response.output_item.added","response_id":"r1","output_index":1,
                   "item":{"id":"f1","type":"function_call","call_id":"c1","name":"look","arguments":""}}],
            ["<", {"type":"response.function_call_arguments.delta","item_id":"f1","delta":"{\"who\":"}],
            ["<", {"type":"response.function_call_arguments.delta","item_id":"f1","delta":"\"Jo\"}"}],
            ["<", {"type":"response.output_audio.delta","item_id":"a1","output_index":0,"content_index":0,"delta":"AAAA"}],
            ["<", {"type":"response.output_audio_transcript.delta","item_id":"a1","output_index":0,"content_index":0,"delta":"Hi "}],
            ["<", {"type":"response.output_audio_transcript.delta","item_id":"a1","output_index":0,"content_index":0,"delta":"Jo"}],
            ["<", {"type":"response.done","response":{"id":"r1","status":"incomplete","conversation_id":"conv_1",
                "output":[{"id":"f1","type":"function_call","call_id":"c1","name":"look","arguments":"{\"who\":\"Jo\"}"},
                          {"id":"m1","type":"mcp_call","name":"search"}],
                "usage":{"input_tokens":10,"output_tokens":5,"input_token_details":{"cached_tokens":4},
                         "output_token_details":{"reasoning_tokens":2}}}}],
            ["<", {"type":"error","error":{"type":"invalid_request_error","code":"bad_item","message":"m"}}],
        ]),
    );
    let [turn, rest] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((turn.vendor.as_deref(), turn.api, turn.status), (Some("azure"), Api::Realtime, Some(101)));
    assert_eq!(turn.request_model.as_deref(), Some("voice"));
    assert_eq!(turn.response_model.as_deref(), Some("gpt-realtime-2099-01-01"));
    assert_eq!((turn.response_id.as_deref(), turn.conversation.as_deref()), (Some("r1"), Some("conv_1")));
    assert_eq!(turn.finish_reasons, ["incomplete"]);
    assert_eq!(
        (&turn.tool_calls[..], &turn.server_tool_calls[..]),
        (&["look".to_owned()][..], &["mcp_call".to_owned()][..])
    );
    assert_eq!(turn.tool_results[0].call_id.as_deref(), Some("c0"));
    assert_eq!((turn.usage.input_tokens, turn.usage.output_tokens), (Some(10), Some(5)));
    assert_eq!((turn.usage.cache_read_tokens, turn.usage.reasoning_tokens), (Some(4), Some(2)));
    assert!(turn.view.complete && turn.streaming && turn.error.is_none());
    assert!(turn.view.request_unread_bytes > 0 && turn.view.response_unread_bytes > 0, "audio is counted");
    assert!(turn.started_at < turn.first_token_at.unwrap() && turn.first_token_at.unwrap() < turn.ended_at);
    let received = leaves(&turn.response_text);
    for expected in [
        ("$.input[0].transcript", "My name is Jo"),
        ("$.output[0].content[0].transcript", "Hi Jo"),
        ("$.output[1].arguments.$.who", "Jo"),
    ] {
        assert!(received.contains(&expected), "{received:?}");
    }
    assert!(leaves(&turn.request_text).contains(&("$.sent[0].item.output", "12 degrees")));
    assert_eq!(rest.error.as_deref(), Some("bad_item"));
    assert_eq!(
        rest.realtime.as_ref().unwrap(),
        &crate::exchange::RealtimeTurn {
            shape: Some(crate::exchange::RealtimeShape::Openai),
            frames: 1,
            errors: 1,
            ..Default::default()
        }
    );
}

#[test]
fn two_answers_at_once_keep_their_own_tools() {
    let item = |response: &str, id: &str| {
        json!(["<", {"type":"response.output_item.done","response_id":response,"output_index":0,
            "item":{"id":id,"type":"function_call","call_id":id,"name":id}}])
    };
    let done = |response: &str| json!(["<", {"type":"response.done","response":{"id":response,"status":"completed"}}]);
    let found = session(
        "wss://api.openai.com/v1/realtime?model=gpt-realtime",
        &json!([created(), item("r1", "one"), item("r2", "two"), done("r1"), done("r2")]),
    );
    let tools: Vec<_> = found.iter().map(|turn| turn.tool_calls.join(" ")).collect();
    assert_eq!(tools, ["one", "two"]);
}

#[test]
fn gemini_turns_end_with_usage_wherever_it_comes() {
    let ask = |text: &str| json!([">", {"clientContent":{"turns":[{"parts":[{"text":text}]}]}}]);
    let say = |text: &str| json!(["<", {"serverContent":{"modelTurn":{"parts":[{"text":text}]}}}]);
    let usage = |prompt: u64| json!({"promptTokenCount":prompt,"responseTokenCount":7,"thoughtsTokenCount":2,"totalTokenCount":prompt + 7});
    let over = || json!(["<", {"serverContent":{"turnComplete":true}}]);
    let audio = || json!([">", {"realtimeInput":{"audio":{"data":"AAAA","mimeType":"audio/pcm"}}}]);
    let found = session(
        "wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent?key=k",
        &json!([
            [">", {"setup":{"model":"models/gemini-live-x"}}],
            ["<", {"setupComplete":{}}],
            ask("one"), say("on"), say("e!"), ["<", {"usageMetadata":usage(3)}], audio(), over(),
            ask("two"), say("two!"), over(), audio(), ["<", {"usageMetadata":usage(20)}],
            ask("three"), say("three"), ["<", {"usageMetadata":usage(30)}], say("!"),
            ["<", {"serverContent":{"interrupted":true,"turnComplete":true},"usageMetadata":usage(31)}],
            ask("four"), say("four!"), over(),
            ask("five"), say("five!"),
        ]),
    );
    let turns: Vec<_> = found
        .iter()
        .map(|turn| {
            let said = leaves(&turn.response_text).iter().map(|(_, text)| *text).collect::<String>();
            (said, turn.usage.input_tokens, turn.usage.output_tokens)
        })
        .collect();
    let expected = [("one!", Some(3)), ("two!", Some(20)), ("three!", Some(31)), ("four!", None), ("five!", None)];
    assert_eq!(turns, expected.map(|(said, input)| (said.to_owned(), input, input.map(|_| 9))));
    assert!(
        found.iter().all(|turn| turn.request_model.as_deref() == Some("gemini-live-x") && turn.api == Api::Realtime)
    );
    assert_eq!(found[2].finish_reasons, ["interrupted"]);
    assert!(leaves(&found[1].request_text).iter().any(|(_, text)| *text == "two"));
    assert!(!found.iter().any(|turn| turn.request_text.text().contains("AAAA")));
}

#[test]
fn any_host_and_path_that_speaks_it_is_a_session() {
    let found = session(
        "ws://gateway.internal.example:4000/proxy/live?model=voice-1",
        &json!([created(), ["<", {"type":"response.done","response":{"id":"r","status":"failed",
            "status_details":{"error":{"type":"server_error","code":"overloaded"}}}}]]),
    );
    let [turn] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((turn.vendor.as_deref(), turn.api), (None, Api::Realtime));
    assert_eq!((turn.request_model.as_deref(), turn.error.as_deref()), (Some("voice-1"), Some("overloaded")));
}

#[test]
fn other_websockets_are_no_exchange() {
    let chat: Vec<_> = (0..40).map(|number| json!(["<", {"type":"price","value":number}])).collect();
    assert_eq!(session("wss://ticker.example/feed", &json!(chat)).len(), 0);
    assert_eq!(session("wss://ticker.example/feed", &json!(chat[..3])).len(), 0, "too short to say, and silent");
    // Of a host that is listed all text counts.
    let found = session("wss://api.openai.com/v1/other", &json!([[">", "plain text"], ["<", {"a":"answer"}]]));
    let [rest] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(
        (rest.api, rest.request_text.text(), rest.response_text.text()),
        (Api::Other, "plain text\n", "answer\n")
    );
    // Nothing but the upgrade.
    let found = session("wss://api.openai.com/v1/realtime?model=m", &json!([]));
    let [upgrade] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(
        (upgrade.api, upgrade.request_model.as_deref(), upgrade.realtime.as_ref()),
        (Api::Realtime, Some("m"), None)
    );
}

#[test]
fn an_upgrade_whose_request_was_lost_is_still_a_session() {
    let record = json!({"request": {"method": "GET", "url": "wss://api.openai.com/v1/realtime"}, "messages": [
        {"direction":"received","data":{"type":"session.created","session":{"model":"m"}}},
        {"direction":"received","data":{"type":"response.done","response":{"id":"r","status":"completed"}}}]});
    let record = Record::parse(record.to_string().as_bytes()).unwrap();
    let mut inputs = inputs(&record, Peers::default(), None, None);
    inputs.remove(1);
    let found = exchanges(&inputs, &vendors());
    assert!(found.iter().all(|turn| !turn.view.complete && turn.vendor.as_deref() == Some("openai")));
    assert_eq!(found[0].response_id.as_deref(), Some("r"));
}

#[test]
fn a_long_turn_is_given_out_in_parts_and_sessions_are_bounded() {
    let text = "word ".repeat(200_000);
    let messages: Vec<_> = (0..10)
        .map(|number| json!([">", {"type":"conversation.item.create","item":{"content":[{"text":format!("{number}{text}")}]}}]))
        .collect();
    let found = session("wss://api.openai.com/v1/realtime", &json!(messages));
    assert!(found.len() > 1, "{} parts", found.len());
    let said: usize = found.iter().map(|turn| turn.request_text.text().matches("word").count()).sum();
    assert_eq!(said, 2_000_000, "nothing is lost between the parts");

    let mut sessions = Sessions::default();
    let mut out = Vec::new();
    for number in 0..MAX_SESSIONS as u64 + 10 {
        let mut upgrade = crate::exchange::sample::exchange("openai", "m");
        upgrade.stream = StreamId(number);
        sessions.open(Some(0), Opened { upgrade, api: Some(Api::Realtime), target: "/v1/realtime".into() }, &mut out);
    }
    assert_eq!((out.len(), sessions.evicted(), sessions.open.len()), (10, 10, MAX_SESSIONS));
    sessions.finish(&mut out);
    assert_eq!((out.len(), sessions.by_turn.len(), sessions.bytes), (MAX_SESSIONS + 10, 0, 0));
}
