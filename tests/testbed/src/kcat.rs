//! Reads a topic with Debian's kcat: another client library than the one that wrote it, and another version. Enters: brokers and a topic.
//! Leaves: messages, byte for byte. It never joins a consumer group and never makes a topic.
//!
//! kcat reads settings of a cluster (TLS, SASL) from the file that KCAT_CONFIG names.

use std::{fmt, fs, process::Command};

use anyhow::{Context, Result, bail};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

use crate::Job;

/// How long one kcat may take, in seconds. It ends at the topic's end, or when the brokers do not answer.
const LIMIT_S: i64 = 60;

/// One message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which partition.
    pub partition: i32,
    /// Its number there.
    pub offset: i64,
    /// When, by the producer's clock, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Its key, when it has one.
    pub key: Option<Vec<u8>>,
    /// Its headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Its value; none for a tombstone.
    pub payload: Option<Vec<u8>>,
}

impl Message {
    /// The key as text; empty without one.
    pub fn key_text(&self) -> String {
        text(self.key.as_deref())
    }

    /// The value as text; empty without one.
    pub fn payload_text(&self) -> String {
        text(self.payload.as_deref())
    }

    /// The first header of this name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| text(value.as_deref()))
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// All of a topic, from its beginning to its present end, by partition and offset; nothing when there is no such topic.
pub(crate) fn consume(brokers: &str, topic: &str, isolation: &str) -> Result<Vec<Message>> {
    let isolation = format!("isolation.level={isolation}");
    let arguments = ["-C", "-b", brokers, "-t", topic, "-o", "beginning", "-e", "-q", "-J", "-X", &isolation];
    let output = match run(&arguments) {
        Ok(output) => output,
        Err(error) if format!("{error:#}").contains("Unknown topic or partition") => Vec::new(),
        Err(error) => return Err(error),
    };
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut messages = lines.map(parse).collect::<Result<Vec<_>>>()?;
    messages.sort_by_key(|message| (message.partition, message.offset));
    Ok(messages)
}

/// Do the brokers answer?
pub(crate) fn answers(brokers: &str) -> bool {
    run(&["-L", "-m", "5", "-b", brokers]).is_ok()
}

/// Runs kcat; gives what it printed.
pub(crate) fn run(arguments: &[&str]) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut command = Command::new("kcat");
    command.args(arguments);
    let ended = Job::start(command, dir.path(), "kcat")?.wait(LIMIT_S)?;
    if !ended.status.success() {
        bail!("kcat {} failed with {}: {}", arguments.join(" "), ended.status, ended.stderr.trim());
    }
    Ok(fs::read(dir.path().join("kcat.stdout"))?)
}

/// One line of `kcat -J`. What is no UTF-8 stands in its strings as it came, so they are read as bytes.
#[derive(Deserialize)]
struct Line {
    partition: i32,
    offset: i64,
    ts: i64,
    /// Names and values by turns.
    #[serde(default)]
    headers: Vec<Option<Bytes>>,
    key: Option<Bytes>,
    payload: Option<Bytes>,
}

fn parse(line: &[u8]) -> Result<Message> {
    let line: Line = serde_json::from_slice(line)
        .with_context(|| format!("kcat printed what is no message: {}", String::from_utf8_lossy(line)))?;
    let mut words = line.headers.into_iter().map(|word| word.map(|bytes| bytes.0));
    let mut headers = Vec::new();
    while let Some(name) = words.next() {
        headers.push((text(name.as_deref()), words.next().flatten()));
    }
    Ok(Message {
        partition: line.partition,
        offset: line.offset,
        timestamp_ms: line.ts,
        key: line.key.map(|bytes| bytes.0),
        headers,
        payload: line.payload.map(|bytes| bytes.0),
    })
}

/// A JSON string whose content need not be UTF-8.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Taken;
        impl Visitor<'_> for Taken {
            type Value = Bytes;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a string")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_owned()))
            }
        }
        // serde_json checks no UTF-8 for those who ask for bytes.
        from.deserialize_bytes(Taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_message_is_read_back() {
        let line =
            b"{\"topic\":\"t\",\"partition\":2,\"offset\":7,\"tstype\":\"create\",\"ts\":1795630010325,\"broker\":1,\
            \"headers\":[\"a\",\"b\\\"\",\"none\",null],\"key\":\"k\",\"payload\":\"one\\ntwo\\u0000\xff\xc3\xa9\"}";
        let message = parse(line).unwrap();
        assert_eq!((message.partition, message.offset, message.timestamp_ms), (2, 7, 1_795_630_010_325));
        assert_eq!(message.key_text(), "k");
        assert_eq!(message.headers, [("a".to_owned(), Some(b"b\"".to_vec())), ("none".to_owned(), None)]);
        assert_eq!(message.header("a").as_deref(), Some("b\""));
        assert_eq!(message.payload.unwrap(), b"one\ntwo\0\xff\xc3\xa9");

        let bare = parse(br#"{"partition":0,"offset":0,"ts":0,"key":null,"payload":null}"#).unwrap();
        assert_eq!((&bare.key, &bare.payload, bare.headers.len()), (&None, &None, 0));
        assert_eq!(bare.key_text(), "");
        parse(b"% ERROR: no").unwrap_err();
    }
}
