//! The privacy promise, looked for where it would be broken: of a connection to a host that is no vendor's, not a byte is in the ring, in
//! the agent's memory, in its store or in its output. What went to a vendor is found there, so the search does find.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{CLIENT_TIMEOUT_S, bench, bpf_or_skip, outflow};

/// As `word` of `canary_client.py` has it.
fn word(kind: &str, pid: u32) -> String {
    format!("{kind}-{:016x}", u64::from(pid).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// A part of a process's memory in which a text was found.
#[derive(Debug)]
struct Place {
    mapping: String,
}

/// Everywhere in the memory of a process, the kernel's ring that it maps included.
fn in_memory(pid: u32, text: &str) -> Vec<Place> {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let finder = memchr::memmem::Finder::new(text);
    let mut found = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        if !rest.starts_with('r') {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let (mut at, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        // Blocks overlap, so that a text across two of them is found.
        let mut block = vec![0; 1 << 20];
        while at < end {
            let size = block.len().min((end - at) as usize);
            // The kernel's own pages at the end of the address space cannot be read this way.
            let Ok(read) = memory.read_at(&mut block[..size], at) else { break };
            if finder.find(&block[..read]).is_some() {
                found.push(Place { mapping: rest.to_owned() });
                break;
            }
            if read <= text.len() || at + read as u64 >= end {
                break;
            }
            at += (read - text.len()) as u64;
        }
    }
    found
}

fn in_folder(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            in_folder(&path, text)
        } else {
            memchr::memmem::find(&fs::read(&path).unwrap_or_default(), text.as_bytes()).is_some()
        }
    })
}

#[test]
fn a_canary_sent_to_another_host_is_nowhere() {
    if !bpf_or_skip() {
        return;
    }
    let bench = bench("canary");
    let mut meeting = bench.rendezvous().unwrap();
    let (ready, go) = (meeting.ready_path.to_str().unwrap().to_owned(), meeting.go_path.to_str().unwrap().to_owned());
    let client = bench.client("canary_client.py", &["--ready", &ready, "--go", &go]);
    let client = bench.start(&client, "client").unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    let [pid] = bench.tls.mapped_by().unwrap()[..] else { panic!("one process maps the private library") };

    let state = bench.dir().join("state");
    fs::create_dir(&state).unwrap();
    let mut tap = Command::new(outflow());
    tap.args(["tap", "--pid", &pid.to_string(), "--store"]).arg(state.join("findings.db"));
    tap.env("STATE_DIRECTORY", &state).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tap = tap.spawn().unwrap();
    let mut talk = BufReader::new(tap.stderr.take().unwrap());
    let mut line = String::new();
    talk.read_line(&mut line).unwrap();
    assert!(line.starts_with("outflow: tapping OpenSSL "), "{line}");

    meeting.go().unwrap();
    meeting.wait_ready(CLIENT_TIMEOUT_S).unwrap();
    // The call to the vendor was the last, and it has come out: everything before it has passed.
    let mut lines = BufReader::new(tap.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut records: Vec<String> = Vec::new();
    for line in lines.by_ref() {
        records.push(line);
        let record: Value = serde_json::from_str(records.last().unwrap()).unwrap();
        if record["event_name"] == "outflow.exchange" {
            assert_eq!(record["destination"]["host"], "api.openai.com", "{record}");
            break;
        }
    }

    let (canary, control) = (word("canary", pid), word("control", pid));
    let controls = in_memory(tap.id(), &control);
    assert!(controls.iter().any(|place| place.mapping.contains("bpf-map")), "the search sees the ring: {controls:?}");
    let canaries = in_memory(tap.id(), &canary);
    assert!(canaries.is_empty(), "{canaries:?}");
    assert!(!in_folder(&state, &canary), "the store has it");

    meeting.go().unwrap();
    client.wait(CLIENT_TIMEOUT_S).unwrap().success().unwrap();
    records.extend(lines);
    assert_eq!(tap.wait().unwrap().code(), Some(0));
    assert!(!in_folder(&state, &canary), "the store has it after the end");
    assert!(!records.iter().any(|record| record.contains(&canary)), "the output has it");
    let summary: Value = serde_json::from_str(records.last().unwrap()).unwrap();
    println!("{summary}");
    let not_copied = summary["not_copied"].as_array().unwrap();
    let calls = |verdict: &str| {
        let found = not_copied.iter().find(|part| part["verdict"] == verdict);
        found.and_then(|part| part["calls"].as_u64()).unwrap_or_default()
    };
    assert!(calls("host not listed") >= 2, "{summary}");
}
