//! Settings of the client. Enters: what the config says. Leaves: a configuration of librdkafka that keeps the sink's promise, or a sentence. It
//! never puts the value of a setting into a message: it may be a secret.

use std::collections::BTreeMap;

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};

use crate::{
    config::{Broker, KafkaSink, Setting},
    sinks::ConnectError,
};

/// How long librdkafka itself tries; after that the records wait in the store. Milliseconds.
const MESSAGE_TIMEOUT_MS: &str = "60000";

/// How often librdkafka tells how it is, for the metrics. Milliseconds.
const STATISTICS_INTERVAL_MS: &str = "5000";

/// What a message may have besides its record, bytes: key, headers, and what librdkafka counts for itself.
const BESIDE_BYTES: u64 = 64 * 1024;

/// What counts unless the config says otherwise. Consumers in Java put a key on the same partition (`murmur2_random`); `linger.ms` is what a record may
/// wait for others to share its batch.
const DEFAULTS: [(&str, &str); 7] = [
    ("client.id", "outflow"),
    ("compression.type", "zstd"),
    ("linger.ms", "10"),
    ("message.timeout.ms", MESSAGE_TIMEOUT_MS),
    ("partitioner", "murmur2_random"),
    ("socket.keepalive.enable", "true"),
    ("statistics.interval.ms", STATISTICS_INTERVAL_MS),
];

/// librdkafka's own default for `message.max.bytes`, which is no less than what brokers take.
const LEAST_MESSAGE_BYTES: u64 = 1_000_000;

/// What puts one message into each request.
pub(super) const SOLO: [(&str, &str); 2] = [("batch.num.messages", "1"), ("linger.ms", "0")];

/// What is not the config's to say, and what to do instead.
const FIXED: [(&[&str], &str); 4] = [
    (&["bootstrap.servers", "metadata.broker.list"], "is what `brokers` is for"),
    (&["acks", "request.required.acks"], "is always `all`: a record counts as delivered when all replicas have it"),
    (&["enable.idempotence"], "is always on: without it a retry can write a record twice, or in another order"),
    (&["transactional.id"], "is what `exactly_once` is for: it is made of the ids of the store and the sink"),
];

/// Settings that limit how long a message may take, under both names.
const TIMEOUTS: [&str; 2] = ["message.timeout.ms", "delivery.timeout.ms"];

/// What is wrong with a setting; `value` is `None` when it is read from somewhere later.
pub fn refusal(name: &str, value: Option<&str>) -> Option<String> {
    if let Some((_, why)) = FIXED.iter().find(|(names, _)| names.contains(&name)) {
        return Some((*why).to_owned());
    }
    if TIMEOUTS.contains(&name) && value.is_some_and(|value| value.trim() == "0") {
        return Some("must have an end: what it takes longer is sent again from the store".to_owned());
    }
    // With nothing else set, whatever is wrong is wrong with this one. One that is read later is only known by its name.
    let mut config = ClientConfig::new();
    let refused = |config: &ClientConfig| match config.create_native_config() {
        Err(KafkaError::ClientConfig(_, why, _, _)) => Some(why),
        Err(error) => Some(error.to_string()),
        Ok(_) => None,
    };
    config.set(name, value.unwrap_or_default());
    let why = refused(&config)?;
    let is_unknown = why.contains("No such configuration property");
    match value {
        // librdkafka's words for a bad value repeat it.
        Some(_) | None if is_unknown => Some("is no setting of librdkafka".to_owned()),
        Some(_) => Some(format!("is not taken by librdkafka: {why}")),
        None => None,
    }
}

/// The configuration with which a sink's producer is made. Files and variables are read here.
pub(super) fn client(sink: &KafkaSink) -> Result<ClientConfig, ConnectError> {
    let largest = (sink.max_record_bytes.bytes() + BESIDE_BYTES).max(LEAST_MESSAGE_BYTES);
    producer(&sink.brokers, &sink.settings, &[("message.max.bytes", &largest.to_string())])
}

/// The configuration of a producer that waits for all replicas. Of `more` a setting of the config wins.
pub(crate) fn producer(
    brokers: &[Broker],
    settings: &BTreeMap<String, Setting>,
    more: &[(&str, &str)],
) -> Result<ClientConfig, ConnectError> {
    let mut config = ClientConfig::new();
    for (name, value) in DEFAULTS.iter().chain(more) {
        config.set(*name, *value);
    }
    configure(&mut config, brokers, settings)?;
    config.set("acks", "all").set("enable.idempotence", "true");
    Ok(config)
}

/// The configuration of a consumer that commits nothing by itself; what `more` says is not the config's to change.
pub(crate) fn consumer(
    brokers: &[Broker],
    settings: &BTreeMap<String, Setting>,
    more: &[(&str, &str)],
) -> Result<ClientConfig, ConnectError> {
    let mut config = ClientConfig::new();
    // A member of a group that is gone without a word is missed soon.
    config.set("client.id", "outflow").set("socket.keepalive.enable", "true").set("session.timeout.ms", "10000");
    configure(&mut config, brokers, settings)?;
    for (name, value) in more {
        config.set(*name, *value);
    }
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    Ok(config)
}

fn configure(
    config: &mut ClientConfig,
    brokers: &[Broker],
    settings: &BTreeMap<String, Setting>,
) -> Result<(), ConnectError> {
    for (name, setting) in settings {
        let value = setting.value().map_err(|error| ConnectError(format!("setting {name}: {error}")))?;
        // Two names of one thing: the later one would win in librdkafka, and ours must not.
        if TIMEOUTS.contains(&name.as_str()) {
            config.remove("message.timeout.ms");
        }
        config.set(name, value);
    }
    let brokers: Vec<&str> = brokers.iter().map(Broker::as_str).collect();
    config.set("bootstrap.servers", brokers.join(","));
    // Errors arrive as errors; the rest is for those who look for a fault in librdkafka.
    config.set_log_level(RDKafkaLogLevel::Emerg);
    Ok(())
}

/// What librdkafka says of a configuration, without the value that it may repeat.
pub(crate) fn refused(error: &KafkaError) -> ConnectError {
    match error {
        KafkaError::ClientConfig(_, why, name, value) if !value.is_empty() => {
            ConnectError(format!("setting {name}: {}", why.replace(value.as_str(), "…")))
        }
        KafkaError::ClientConfig(_, why, name, _) if !name.is_empty() => ConnectError(format!("setting {name}: {why}")),
        KafkaError::ClientCreation(why) => ConnectError(format!("librdkafka makes no client: {why}")),
        error => ConnectError(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_looked_at_before_a_client_is_made() {
        for (name, value, why) in [
            ("compression.type", Some("lz4"), None),
            ("security.protocol", Some("SASL_SSL"), None),
            ("sasl.password", None, None),
            ("ssl.ca.location", None, None),
            ("message.timeout.ms", Some("30000"), None),
            ("compression.typ", Some("lz4"), Some("is no setting")),
            ("compression.type", Some("zip"), Some("is not taken")),
            ("sasl.passwort", None, Some("is no setting")),
            ("acks", Some("1"), Some("always `all`")),
            ("enable.idempotence", Some("false"), Some("always on")),
            ("bootstrap.servers", Some("a:1"), Some("`brokers`")),
            ("message.timeout.ms", Some("0"), Some("must have an end")),
        ] {
            let said = refusal(name, value);
            match why {
                None => assert_eq!(said, None, "{name}"),
                Some(why) => assert!(said.as_ref().is_some_and(|said| said.contains(why)), "{name}: {said:?}"),
            }
        }
    }
}
