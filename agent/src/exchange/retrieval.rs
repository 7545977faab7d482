//! What a call says about retrieval: embeddings that are made, vectors that are stored, matches that are found. Enters: both messages of a
//! call to an embedding model or a vector store. Leaves: [`RetrievalFacts`]. No text and no vector is kept: where two vectors must
//! be told apart there is a hash of their first numbers.
//!
//! Bodies are read once more for this, and only those of such calls: the readers of all bodies let vectors pass by.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{Api, facts::MAX_NAME_BYTES, json, quoted::Input};
use crate::assembly::{Content, Message};
use survey::{Survey, What};

mod dates;
mod survey;

pub use self::dates::Dates;

/// Vectors that are told apart of one call.
const MAX_VECTORS: usize = 8;
/// Lines of a body that is JSON lines.
const MAX_LINES: usize = 65_536;

/// What a call to an embedding model or a vector store says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetrievalFacts {
    /// Index, collection or class of the store, when path or body names it. A Pinecone index is its host.
    pub index: Option<String>,
    /// Part of the index (Pinecone).
    pub namespace: Option<String>,
    /// What the texts are embedded for, when the request says it (`input_type`, `taskType`, `task`).
    pub purpose: Option<Purpose>,
    /// Texts that are embedded, or records that are written.
    pub items: u64,
    /// Bytes of these texts. A text that is sent as tokens counts four bytes a token.
    pub input_bytes: u64,
    /// The first of the vectors: of an embedding call those of the answer, of a store those of the request.
    pub vectors: Vec<Vector>,
    /// Matches in the answer of a search; `None`: it holds no list of matches.
    pub matches: Option<u64>,
    /// Hash of the ids of the first three matches.
    pub matches_digest: Option<u64>,
    /// Dates in the metadata of the matches, the newest of each.
    pub dates: Option<Dates>,
}

/// What a text is embedded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be found.
    Document,
    /// To find others.
    Query,
}

/// A vector that passed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Hash of the first four numbers as 32-bit floats. The same for the same vector however it is written, in every run.
    pub digest: u64,
    /// How many numbers it has.
    pub dimensions: u32,
}

/// Reads both messages; `None` for a call that has nothing to do with retrieval.
pub(super) fn facts(
    api: Api,
    path: &str,
    model: Option<&str>,
    request: &Message,
    answer: Option<&Message>,
) -> Option<RetrievalFacts> {
    // Bedrock has embeddings behind the same path as all else.
    let embeds = api == Api::Embeddings || (api == Api::InvokeModel && model.is_some_and(|id| id.contains("embed")));
    let (asked, answered) = match api {
        _ if embeds => (What::Texts, What::Embedded),
        Api::VectorUpsert | Api::VectorQuery => (What::Stored, What::Matches),
        _ => return None,
    };
    let mut survey = Survey::new(asked);
    read(request, &mut survey, is_lines(path));
    survey.go_on(answered);
    if let Some(answer) = answer.filter(|_| api != Api::VectorUpsert) {
        read(answer, &mut survey, false);
    }
    let mut found = survey.finish();
    let (index, namespace) = named_by_path(path);
    found.index = index.or(found.index);
    found.namespace = namespace.or(found.namespace);
    if api == Api::VectorUpsert {
        // A single record without a list around it.
        found.items = found.items.max(1);
    }
    Some(found)
}

fn read<'a>(message: &'a Message, survey: &mut Survey<'a>, is_lines: bool) {
    let Content::Bytes(bytes) = &message.body.content else { return };
    if !is_lines {
        return survey.take(|build| json::build(Input::Bytes(bytes), build));
    }
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).take(MAX_LINES) {
        survey.take(|build| json::build(Input::Bytes(line), build));
    }
}

/// Bodies of one JSON document a line: OpenSearch's bulk and multi-search, Pinecone's records.
fn is_lines(path: &str) -> bool {
    path.ends_with("/_bulk")
        || path.ends_with("/_msearch")
        || (path.starts_with("/records/") && path.ends_with("/upsert"))
}

/// Index and namespace as the path names them.
fn named_by_path(path: &str) -> (Option<String>, Option<String>) {
    let after = |marker: &str| {
        let (_, rest) = path.split_once(marker)?;
        name(rest.split('/').next()?)
    };
    let searched = || {
        // OpenSearch: `/notes/_search`, `/notes/_doc/7`.
        let (index, operation) = path.strip_prefix('/')?.split_once('/')?;
        (operation.starts_with('_') && !index.starts_with('_')).then(|| name(index))?
    };
    (after("/collections/").or_else(searched), after("/namespaces/"))
}

fn name(encoded: &str) -> Option<String> {
    let name = percent_decode_str(encoded).decode_utf8().unwrap_or(Cow::Borrowed(""));
    (1..=MAX_NAME_BYTES).contains(&name.len()).then(|| name.into_owned())
}
