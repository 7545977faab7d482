//! Protocols other than HTTP/1.1, through the whole agent: `outflow tap` around a client that speaks HTTP/2, and around one that holds a
//! realtime session over a WebSocket. What it says of the calls is what the client knows of them.

use std::{ffi::OsString, fs, path::Path};

use serde_json::{Value, json};
use testbed::{Bench, Deadline, Rendezvous, private_libraries};

use crate::{
    leaks::of_kind,
    support::{CLIENT_TIMEOUT_S, allowed, bench, bpf_or_skip, outflow},
};

/// Invented, and planted in what is sent.
const MAIL: &str = "lena.vogt@outflow-demo-shop.com";

/// Runs `outflow tap` around `command` in a sandbox with `options`; gives its records, what the command printed, and what was said on standard error.
/// With a `meeting`, the command waits there until its library is tapped: a library that a program loads while it runs is tapped soon
/// after, and a session that has begun by then is known in part only.
fn tap(
    bench: &Bench,
    options: &[OsString],
    command: Vec<OsString>,
    mut meeting: Option<Rendezvous>,
) -> (Vec<Value>, String, String) {
    let data = bench.dir().join("data.jsonl");
    let mut tap = vec![outflow().as_os_str().to_owned(), "tap".into(), "--output".into(), data.clone().into()];
    tap.push("--".into());
    tap.extend(command);
    let mut sandbox = bench.sandboxed_with(options, &tap);
    sandbox.env("STATE_DIRECTORY", bench.dir().join("state"));
    let job = testbed::Job::start(sandbox, bench.dir(), "tap").unwrap();
    if let Some(meeting) = &mut meeting {
        meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
        let tapping = || Ok(job.output()?.1.contains("outflow: tapping ").then_some(()));
        Deadline::after(CLIENT_TIMEOUT_S as u64).until("the library is tapped", tapping).unwrap();
        meeting.go().unwrap();
    }
    let ended = job.wait(CLIENT_TIMEOUT_S).unwrap();
    assert!(ended.status.success(), "{}", ended.stderr);
    let text = fs::read_to_string(&data).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    assert!(!text.contains(MAIL) && !ended.stderr.contains(MAIL), "what was planted left the host");
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), ended.stdout, ended.stderr)
}

/// Where the planted address was found, sorted, each place once.
fn places(records: &[Value]) -> Vec<String> {
    let mails = of_kind(records, "outflow.finding").into_iter().filter(|finding| finding["rule"]["id"] == "pii.email");
    let mut places: Vec<String> =
        mails.filter_map(|finding| finding["location"]["path"].as_str().map(str::to_owned)).collect();
    places.sort();
    places.dedup();
    places
}

#[test]
fn calls_side_by_side_on_one_http2_connection_are_understood() {
    if !bpf_or_skip() {
        return;
    }
    let curl = Path::new("/usr/bin/curl");
    if !allowed((!curl.is_file()).then(|| "there is no curl".to_owned())) {
        return;
    }
    let bench = bench("http2");
    private_libraries(curl, &bench.tls.dir).unwrap();
    let mut command: Vec<OsString> = vec![curl.into(), "--parallel".into()];
    for (number, model) in ["gpt-4o", "gpt-4o-mini", "gpt-4o"].iter().enumerate() {
        let content = format!("Write to {MAIL}. {}", "All is well. ".repeat(number * 4000));
        let options = json!({"include_usage": true});
        let body = json!({"model": model, "messages": [{"role": "user", "content": content}],
            "stream": number == 2, "stream_options": options});
        let file = bench.dir().join(format!("body-{number}.json"));
        fs::write(&file, body.to_string()).unwrap();
        if number > 0 {
            command.push("--next".into());
        }
        let fixed = ["--silent", "--show-error", "--fail", "--http2", "--output", "/dev/null", "--cacert"];
        command.extend(fixed.map(Into::into));
        command.push(bench.ca().into());
        let fixed = ["--write-out", "%{http_version}\n", "--header", "content-type: application/json", "--data-binary"];
        command.extend(fixed.map(Into::into));
        let mut at = OsString::from("@");
        at.push(file);
        command.push(at);
        command.push("https://api.openai.com/v1/chat/completions".into());
    }
    let (records, printed, _) = tap(&bench, &["--http2".into()], command, None);
    assert_eq!(printed, "2\n2\n2\n");

    let calls = of_kind(&records, "outflow.exchange");
    assert_eq!(calls.len(), 3, "{records:#?}");
    let mut asked = Vec::new();
    for call in calls {
        assert_eq!(call["destination"]["api"], "chat_completions", "{call:#}");
        assert_eq!(call["complete"], true, "{call:#}");
        assert!(call["usage"]["output_tokens"].as_u64() > Some(0), "{call:#}");
        asked.push((call["model"]["requested"].as_str().unwrap_or_default(), call["streaming"] == true));
    }
    asked.sort_unstable();
    assert_eq!(asked, [("gpt-4o", false), ("gpt-4o", true), ("gpt-4o-mini", false)]);
    assert_eq!(places(&records), ["$.messages[0].content"]);
}

#[test]
fn the_turns_of_a_realtime_session_are_understood() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("realtime");
    let meeting = bench.rendezvous().unwrap();
    let (ready, go) = (meeting.ready_path.to_str().unwrap(), meeting.go_path.to_str().unwrap());
    let text = format!("Write to {MAIL}.");
    let arguments = ["--turns", "3", "--text", &text, "--ready", ready, "--go", go];
    let command = bench.client("realtime_client", &arguments);
    let (records, printed, talk) = tap(&bench, &[], command, Some(meeting));
    let facts: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();

    let calls = of_kind(&records, "outflow.exchange");
    let realtime = |call: &&&Value| call["destination"]["api"] == "realtime";
    let tokens: Vec<Value> = calls
        .iter()
        .filter(realtime)
        .map(|call| json!([call["usage"]["input_tokens"], call["usage"]["output_tokens"]]))
        .filter(|tokens| !tokens[0].is_null())
        .collect();
    assert_eq!(Value::from(tokens), facts["tokens"], "{calls:#?}");
    for call in calls.iter().filter(realtime) {
        assert_eq!(call["model"]["requested"], "gpt-realtime", "{call:#}\n{talk}");
    }
    let places = places(&records);
    assert!(!places.is_empty() && places.iter().all(|place| place.contains("text")), "{places:?}");
}
