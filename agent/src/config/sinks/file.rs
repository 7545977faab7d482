//! `[[sinks.file]]`: findings as lines of a file. Enters: the section. Leaves: a path, and when the file is rotated. It opens nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FindingMatch, Flow, RecordFormat};
use crate::config::{
    amounts::{Count, DAY, KIB, MIB, MINUTE, Period, Size, TIB},
    names::AbsolutePath,
    places::SinkName,
};

/// A file of JSON lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSink {
    /// Name of the sink: its place in the store, in metrics and in messages. A new or changed name is a new sink: it begins with the first
    /// finding of the store.
    #[serde(default = "name")]
    pub name: SinkName,
    /// The file, in a folder that is there and that the agent's user may write to. It is made with mode 0600. It must not be among the
    /// files that `[[logs.files]]` follows, nor may its rotated names.
    pub path: AbsolutePath,
    /// How a record is written, one a line.
    #[serde(default = "native")]
    pub format: RecordFormat,
    /// The file is rotated before it grows larger than this; a single record that is larger has a file of its own.
    #[serde(default = "max_bytes")]
    pub max_bytes: Size<{ 64 * KIB }, TIB>,
    /// The file is rotated when a record comes and the file is this old. Without it, only its size counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Period<MINUTE, { 400 * DAY }>>,
    /// How many rotated files are kept: `findings.jsonl.1` is the newest of them. 0 deletes what is rotated.
    #[serde(default = "keep")]
    pub keep: Count<0, 1000>,
    /// How rotated files are compressed.
    #[serde(default)]
    pub compression: FileCompression,
    /// Which findings go here, as `[[sinks.kafka.only]]` says; without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<FindingMatch>,
    /// Which of them do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<FindingMatch>,
    /// Most records that go here a minute; the others are told by one digest, as `sinks.kafka.max_per_minute` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_per_minute: Option<Count<1, 1_000_000>>,
}

impl FileSink {
    /// Which findings go here, and how many.
    pub fn flow(&self) -> Flow {
        Flow::new(&self.only, &self.except, self.max_per_minute)
    }
}

fn name() -> SinkName {
    SinkName::fixed("file")
}

fn native() -> RecordFormat {
    RecordFormat::Native
}

fn max_bytes() -> Size<{ 64 * KIB }, TIB> {
    Size::from_bytes(100 * MIB)
}

fn keep() -> Count<0, 1000> {
    Count::from_number(5)
}

/// How rotated files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileCompression {
    /// Not at all.
    #[default]
    None,
    /// With gzip: `findings.jsonl.1.gz`.
    Gzip,
    /// With zstd: `findings.jsonl.1.zst`.
    Zstd,
}
