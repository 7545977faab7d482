//! What librdkafka says while it works by itself. Enters: its errors, from its own threads. Leaves: a reason for people, and one for records that
//! do not arrive. Its log lines go nowhere: its errors are enough.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::{
    ClientContext, Statistics,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};

use super::statistics::Counted;
use crate::sinks::voice::Voice;

/// Complaints since the last record arrived. Each is made once, perhaps when nobody had anything to send.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Complaints>>);

#[derive(Debug, Default)]
struct Complaints {
    /// Why nothing can arrive.
    down: Option<String>,
    /// What happened to one connection; there may be others.
    connection: Option<String>,
}

impl Trouble {
    fn note(&self, error: &KafkaError, reason: &str) {
        let mut complaints = self.lock();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                let why = complaints.connection.as_deref().unwrap_or(reason);
                complaints.down = Some(format!("no broker can be reached: {why}"));
            }
            Some(RDKafkaErrorCode::Authentication) => {
                complaints.down = Some(format!("the broker does not let us in: {reason}"));
            }
            _ => complaints.connection = Some(reason.to_owned()),
        }
    }

    /// Why nothing can arrive, when it is known.
    pub(super) fn down(&self) -> Option<String> {
        self.lock().down.clone()
    }

    /// The best that is known of why a record did not arrive in time.
    pub(super) fn reason(&self) -> String {
        let connection = self.lock().connection.clone();
        connection.unwrap_or_else(|| "no broker confirmed a record in time".to_owned())
    }

    /// A record arrived, or there is another client.
    pub(super) fn clear(&self) {
        *self.lock() = Complaints::default();
    }

    fn lock(&self) -> MutexGuard<'_, Complaints> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears what librdkafka says.
pub(super) struct Context {
    pub(super) voice: Voice,
    pub(super) trouble: Trouble,
    pub(super) counted: Counted,
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        self.counted.take(&statistics, &self.voice.stats);
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _line: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.note(&error, reason);
        // It tries on by itself. People hear of it at once, and not a minute later when the first record is given back.
        if let Some(reason) = self.trouble.down().filter(|_| self.voice.stats.pending_records() > 0) {
            self.voice.waits(&reason);
        }
    }
}
