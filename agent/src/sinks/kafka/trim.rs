//! What a finding can do without when it is too large for a topic. Enters: a finding. Leaves: the same with a shorter text, which says in
//! `record.trimmed` what it lacks. Ids, counts, places and the masked excerpt are never trimmed: they are short, and what it is about.

use serde_json::Value;

use crate::findings::Finding;

/// The attribute that says what is missing.
pub(super) const TRIMMED: &str = "record.trimmed";

/// A fact that is longer as JSON is one that a finding can do without, bytes.
const FACT_BYTES_MAX: usize = 1024;

/// Longest remedy, bytes.
const REMEDY_BYTES_MAX: usize = 1024;

/// What a topic's bound leaves of a finding: without addresses of documents, long facts and the end of a long remedy.
pub fn trimmed(finding: &Finding) -> Finding {
    let mut short = finding.clone();
    let mut lacks: Vec<Value> = Vec::new();
    if !short.rule.references.is_empty() {
        short.rule.references.clear();
        lacks.push("rule.references".into());
    }
    if short.remedy.len() > REMEDY_BYTES_MAX {
        short.remedy.truncate(short.remedy.floor_char_boundary(REMEDY_BYTES_MAX));
        lacks.push("remedy".into());
    }
    short.attributes.retain(|name, value| {
        let is_short = value.to_string().len() <= FACT_BYTES_MAX;
        if !is_short {
            lacks.push(format!("attributes.{name}").into());
        }
        is_short
    });
    short.attributes.insert(TRIMMED.to_owned(), Value::Array(lacks));
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::tests::occurrence;

    #[test]
    fn what_is_long_goes_and_is_named() {
        let mut finding = occurrence("large");
        finding.rule.references = vec!["https://example.com/".into()];
        finding.remedy = "ä".repeat(2000);
        finding.attributes.insert("tool.names".into(), vec!["x".repeat(100); 50].into());
        finding.attributes.insert("tool.calls".into(), 7.into());
        let short = trimmed(&finding);
        let lacks = serde_json::json!(["rule.references", "remedy", "attributes.tool.names"]);
        assert_eq!(short.attributes[TRIMMED], lacks);
        assert_eq!((short.attributes["tool.calls"].as_u64(), short.remedy.len()), (Some(7), 1024));
        assert_eq!((&short.finding_id, &short.record_id, short.count), (&finding.finding_id, &finding.record_id, 1));
        assert_eq!(trimmed(&finding), short, "the same each time");
    }
}
