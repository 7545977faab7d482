//! A record that is given up, as a message for the topic of dead letters. Enters: the record, and why. Leaves: its first bytes, and headers that
//! say the rest; small enough for any broker.

use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{DeliveryFuture, FutureRecord},
};

use super::{
    link::Client,
    message::{Message, Outgoing, Writer},
};
use crate::sinks::Refused;

/// So much of the record is kept, bytes.
const PAYLOAD_BYTES_MAX: usize = 32 * 1024;

/// Longest reason, bytes: brokers choose these words.
const DETAIL_BYTES_MAX: usize = 1024;

/// A dead letter.
#[derive(Debug)]
pub(super) struct Letter {
    key: Option<String>,
    payload: String,
    headers: OwnedHeaders,
}

impl Letter {
    /// Of a record that can be a message or not.
    pub(super) fn new(record: Option<&impl Outgoing>, refused: &Refused, writer: &Writer) -> Self {
        let whole = record.and_then(|record| record.whole(writer).ok());
        let headers = whole.as_ref().map_or_else(OwnedHeaders::new, Message::headers);
        let (topic, key) = whole.as_ref().map_or((None, None), |message| (Some(message.topic), message.key));
        let text = whole.as_ref().map(|message| String::from_utf8_lossy(&message.payload)).unwrap_or_default();
        let payload = cut(&text, PAYLOAD_BYTES_MAX);
        let bytes = text.len().to_string();
        let is_cut = payload.len() < text.len();
        let headers = [
            ("outflow_dead_letter_reason", Some(refused.reason)),
            ("outflow_dead_letter_detail", Some(cut(&refused.detail, DETAIL_BYTES_MAX))),
            ("outflow_dead_letter_record", Some(refused.record_id.as_str())),
            ("outflow_dead_letter_topic", topic),
            ("outflow_dead_letter_bytes", Some(bytes.as_str())),
            ("outflow_dead_letter_cut", is_cut.then_some("true")),
        ]
        .into_iter()
        .filter_map(|(key, value)| value.map(|value| (key, value)))
        .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        Self { key: key.map(str::to_owned), payload: payload.to_owned(), headers }
    }

    pub(super) fn hand_over(self, topic: &str, client: &Client) -> Result<DeliveryFuture, KafkaError> {
        let record: FutureRecord<'_, str, str> = FutureRecord {
            topic,
            partition: None,
            payload: Some(&self.payload),
            key: self.key.as_deref(),
            timestamp: None,
            headers: Some(self.headers),
        };
        client.send_result(record).map_err(|(error, _)| error)
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}
