//! Writes records of state. Enters: records. Leaves: messages that all replicas have, or an error after which it is not known which of them are. A
//! producer that librdkafka gave up is replaced.

use futures_util::future::join_all;
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{
    FleetError,
    client::{Listener, failed, producer_config},
    record::StateRecord,
};
use crate::{config::Fleet, sinks::kafka::settings};

/// Records under way at once; librdkafka's queue takes a hundred thousand.
const CHUNK: usize = 10_000;

pub(super) struct Writer {
    fleet: Fleet,
    producer: Option<FutureProducer<Listener>>,
    listener: Listener,
    runtime: tokio::runtime::Runtime,
}

impl Writer {
    /// Reaches for nobody yet.
    pub(super) fn new(fleet: Fleet) -> Result<Self, FleetError> {
        // Only to wait with: librdkafka has threads of its own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(FleetError::Thread)?;
        Ok(Self { fleet, producer: None, listener: Listener::default(), runtime })
    }

    /// Comes back when all of them are in the topic.
    pub(super) fn write(&mut self, records: &[StateRecord]) -> Result<(), FleetError> {
        for chunk in records.chunks(CHUNK) {
            let written = self.write_chunk(chunk);
            if written.is_err() {
                // Whatever is wrong with it: the next one reads secrets anew, and is not fatal.
                self.producer = None;
            }
            written?;
        }
        Ok(())
    }

    fn write_chunk(&mut self, records: &[StateRecord]) -> Result<(), FleetError> {
        let topic = self.fleet.state_topic.as_str();
        let what = || format!("cannot write to topic {topic}");
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => producer_config(&self.fleet)?
                .create_with_context(self.listener.clone())
                .map_err(|error| FleetError::Settings(settings::refused(&error).0))?,
        };
        let text = |error: serde_json::Error| FleetError::Kafka { what: what(), why: error.to_string() };
        let mut deliveries = Vec::with_capacity(records.len());
        for record in records {
            let key = serde_json::to_vec(&record.key()).map_err(text)?;
            let value = record.value().map_err(text)?;
            let mut message: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).key(&key);
            message.payload = value.as_deref();
            deliveries.push(producer.send_result(message).map_err(|(error, _)| failed(what())(error))?);
        }
        let all = self.runtime.block_on(join_all(deliveries));
        for delivered in all {
            let why = match delivered {
                Ok(Ok(_)) => continue,
                Ok(Err((error, _))) => {
                    self.listener.complaint().map_or_else(|| error.to_string(), |why| format!("{error}: {why}"))
                }
                Err(_) => "the producer was taken down".to_owned(),
            };
            return Err(FleetError::Kafka { what: what(), why });
        }
        self.producer = Some(producer);
        Ok(())
    }
}
