//! A finding of a model id in a file. Enters: a [`Mention`] and its block. Leaves: one occurrence; or why the user does not want to hear
//! of it. The id is shown only when it looks like one.

use std::ops::Range;

use serde_json::json;

use super::{
    Category, Finding, Location, Maker, Model, Policy, Silence,
    absorb::record_id,
    field,
    maker::blank,
    mask::bounded,
    policy::{About, is_marked},
    shown::identifier,
};
use crate::{detectors::model_ids::Mention, exchange::Subject, rules::models::Pin, sources::log::LogBlock};

/// The same rule as for calls.
pub const UNPINNED: &str = "model.unpinned";

/// Longest path and longest name of a file in a finding, characters.
const MAX_PATH_CHARS: usize = 4096;
const MAX_NAME_CHARS: usize = 64;

impl Maker {
    /// One occurrence of an id that can change, in the line of this number; `line` is its extent in the block.
    pub fn mentioned(
        &self,
        mention: &Mention<'_>,
        block: &LogBlock,
        (number, line): (u64, Range<usize>),
        policy: &Policy,
    ) -> Result<Finding, Silence> {
        let fingerprint = self.fingerprint("MODEL_ID", mention.id.to_lowercase().as_bytes());
        let path = &block.file.path;
        let about = About {
            rule: UNPINNED,
            print: Some(&fingerprint.value),
            path: Some(path),
            service: &block.file.origin.service,
            secret: Some(mention.id.as_bytes()),
        };
        let text = block.bytes.get(line.clone()).unwrap_or_default();
        let start = mention.span.start.saturating_sub(line.start);
        let marked = || is_marked(text, &(start..start + mention.span.len()), UNPINNED);
        if let Some(silence) = policy.judge(&about, marked) {
            return Err(silence);
        }
        let mut finding = blank(Subject::Log { block, origin: &block.file.origin }, UNPINNED, path, Some(&fingerprint));
        let shown = identifier(mention.id);
        let what = match mention.pin {
            Pin::Latest => "follows the newest model",
            Pin::Preview => "is a preview",
            _ => "is an alias that can move",
        };
        let name = bounded(path.rsplit('/').next().unwrap_or_default(), MAX_NAME_CHARS);
        finding.record_id = record_id(&finding.finding_id, finding.revision);
        finding.category = Category::Model;
        finding.severity = mention.severity;
        finding.confidence = 90;
        finding.title = field(&format!("`{shown}` {what}, in {name}"));
        let column = if line.start == 0 { block.first_column + start as u64 } else { start as u64 };
        finding.location = Some(Location {
            side: None,
            path: None,
            file: Some(bounded(path, MAX_PATH_CHARS)),
            line: Some(number),
            byte_offset: Some(block.offset + mention.span.start as u64),
            start: column,
            end: column + mention.span.len() as u64,
        });
        finding.model = Some(Model { requested: Some(shown.clone()), resolved: None });
        finding.fingerprint = Some(fingerprint);
        finding.first_seen = block.at.rfc3339();
        finding.last_seen.clone_from(&finding.first_seen);
        finding.attributes = [
            ("model.requested", json!(shown)),
            ("model.pin_class", json!(mention.pin.as_str())),
            ("model.note", json!(field(mention.note))),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        policy.describe(&mut finding, UNPINNED, Some("file"), mention.references);
        Ok(finding)
    }
}
