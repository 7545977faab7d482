//! Counts what passes by in a body. Enters: containers and scalars of a JSON document, in order. Leaves: [`RetrievalFacts`]. It goes by the
//! path of a value, and the paths of all stores are known at once: none of them means two things.

use std::{borrow::Cow, ops::Range};

use serde_json::Number;
use smallvec::SmallVec;

use super::{
    super::{
        facts::MAX_NAME_BYTES,
        outline::{Build, Scalar},
        text::decode_base64,
        tool_results::{fold, hash},
    },
    MAX_VECTORS, Purpose, RetrievalFacts, Vector,
    dates::Gathered,
};

/// Fewest numbers of an array that is a vector: real ones have 64 and more, lists of pages or tags have few.
const MIN_DIMENSIONS: u32 = 8;
/// Numbers of a vector that go into its digest.
const DIGEST_NUMBERS: u32 = 4;
/// Base64 of so many 32-bit floats, and a little more: a whole number of groups of four characters.
const DIGEST_CHARS: usize = 24;
/// Bytes of text that a token stands for, about.
const TOKEN_BYTES: u64 = 4;
/// Matches whose ids are looked at.
const MAX_IDS: u32 = 3;

/// What is looked for in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Texts that are to be embedded.
    Texts,
    /// The vectors that they became.
    Embedded,
    /// Vectors that are for a store, and the name of the index.
    Stored,
    /// What a search found.
    Matches,
}

/// Goes through documents, one after the other.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    what: What,
    found: RetrievalFacts,
    /// Keys that lead to the present container; `$` first, empty for an element.
    path: SmallVec<[&'a str; 12]>,
    /// Numbers of the present array, and the hash of the first ones.
    numbers: u32,
    digest: u64,
    ids: u32,
    dates: Gathered,
}

impl<'a> Survey<'a> {
    pub(super) fn new(what: What) -> Self {
        Self {
            what,
            found: RetrievalFacts::default(),
            path: SmallVec::new(),
            numbers: 0,
            digest: 0,
            ids: 0,
            dates: Gathered::default(),
        }
    }

    /// Looks for something else from here on.
    pub(super) fn go_on(&mut self, what: What) {
        self.what = what;
    }

    /// Takes one document.
    pub(super) fn take(&mut self, read: impl FnOnce(&mut Self)) {
        self.path.clear();
        self.numbers = 0;
        read(self);
    }

    pub(super) fn finish(self) -> RetrievalFacts {
        RetrievalFacts { dates: self.dates.finish(), ..self.found }
    }

    fn vector(&mut self, digest: u64, dimensions: u32) {
        if self.found.vectors.len() < MAX_VECTORS {
            self.found.vectors.push(Vector { digest, dimensions });
        }
    }

    /// An array of numbers is whole.
    fn numbers_end(&mut self) {
        let count = std::mem::take(&mut self.numbers);
        let digest = std::mem::take(&mut self.digest);
        if self.what == What::Texts && is_text(&self.path) {
            self.found.items += 1;
            self.found.input_bytes += u64::from(count) * TOKEN_BYTES;
        } else if matches!(self.what, What::Embedded | What::Stored)
            && count >= MIN_DIMENSIONS
            && may_be_vector(&self.path)
        {
            // Cohere packs eight into a number.
            let packed = self.path.iter().any(|key| matches!(*key, "binary" | "ubinary"));
            self.vector(digest, if packed { count.saturating_mul(8) } else { count });
        }
    }

    fn string(&mut self, key: &'a str, text: &str) {
        self.path.push(key);
        match self.what {
            What::Texts => self.text(key, text),
            What::Embedded => self.packed(text),
            What::Stored => self.named(text),
            What::Matches => {
                self.identified(|| hash(text.as_bytes()));
                self.dates.text(key, text);
            }
        }
        self.path.pop();
    }

    fn text(&mut self, key: &str, text: &str) {
        if is_text(&self.path) {
            self.found.items += 1;
            self.found.input_bytes += text.len() as u64;
        } else if matches!(
            key,
            "input_type" | "taskType" | "task_type" | "task" | "embedding_purpose" | "embeddingPurpose"
        ) {
            self.found.purpose = self.found.purpose.or_else(|| purpose(text));
        }
    }

    /// A string in a request to a store.
    fn named(&mut self, text: &str) {
        match self.path.as_slice() {
            ["$", "collectionName" | "collection_name" | "class" | "className"]
            | ["$", "objects", "", "class"]
            | ["$", "index" | "create" | "update", "_index"] => keep(&mut self.found.index, text),
            ["$", "namespace"] => keep(&mut self.found.namespace, text),
            ["$", "query"] => self.graphql(text),
            ["$", "embeddings" | "query_embeddings", ""] => self.packed(text),
            ["$", "ids", ""] | ["$", "batch", "ids", ""] => self.found.items += 1,
            _ => {}
        }
    }

    /// 32-bit floats in base64: OpenAI's `encoding_format`, Chroma.
    fn packed(&mut self, text: &str) {
        let is_vector = matches!(
            self.path.as_slice(),
            ["$", "data", "", "embedding"]
                | ["$", "embeddings" | "query_embeddings", ""]
                | ["$", "embeddings", "base64", ""]
        );
        if !is_vector {
            return;
        }
        let bytes = text.trim_end_matches('=').len() * 3 / 4;
        let first = text.get(..DIGEST_CHARS).and_then(decode_base64);
        let dimensions = u32::try_from(bytes / 4).unwrap_or(u32::MAX);
        if let Some(first) = first.filter(|_| dimensions >= MIN_DIMENSIONS) {
            let (floats, _) = first.as_chunks::<4>();
            let digest = floats
                .iter()
                .take(DIGEST_NUMBERS as usize)
                .fold(0, |digest, float| fold(digest, u64::from(f32::from_le_bytes(*float).to_bits())));
            self.vector(digest, dimensions);
        }
    }

    /// Weaviate: `{ Get { Article(nearVector: {vector: [0.1, …]}) { title } } }`.
    fn graphql(&mut self, query: &str) {
        let class = query.split_once("Get").and_then(|(_, rest)| {
            let rest = rest.trim_start().strip_prefix('{')?.trim_start();
            rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
        });
        if let Some(class) = class {
            keep(&mut self.found.index, class);
        }
        let vector = query.split_once("vector:").and_then(|(_, rest)| rest.trim_start().strip_prefix('['));
        let Some((numbers, _)) = vector.and_then(|rest| rest.split_once(']')) else { return };
        numbers.split(',').for_each(|number| self.number(number.trim()));
        let (count, digest) = (std::mem::take(&mut self.numbers), std::mem::take(&mut self.digest));
        if count >= MIN_DIMENSIONS {
            self.vector(digest, count);
        }
    }

    fn number(&mut self, number: &str) {
        if self.numbers < DIGEST_NUMBERS {
            let bits = number.parse::<f32>().unwrap_or_default().to_bits();
            self.digest = fold(self.digest, u64::from(bits));
        }
        self.numbers = self.numbers.saturating_add(1);
    }

    /// A container of an answer begins.
    fn match_begins(&mut self, is_object: bool) {
        let path = self.path.as_slice();
        if !is_object && is_match_list(path) {
            let matches = self.found.matches.get_or_insert(0);
            // An element that holds a list of matches is none itself.
            if matches!(path, ["$", "result", "", "points"]) {
                *matches = matches.saturating_sub(1);
            }
        } else if is_object && is_match(path) {
            *self.found.matches.get_or_insert(0) += 1;
        }
        if is_object && path.last() == Some(&"") {
            self.dates.next();
        }
    }

    /// A scalar that may be the id of a match.
    fn identified(&mut self, id: impl FnOnce() -> u64) {
        let Some((key, above)) = self.path.split_last() else { return };
        let is_chroma = matches!(self.path.as_slice(), ["$", "ids", ""] | ["$", "ids", "", ""]);
        if is_chroma {
            *self.found.matches.get_or_insert(0) += 1;
        }
        let is_id = match *key {
            "id" | "_id" | "pk" => is_match(above) || matches!(above, [above @ .., "_additional"] if is_match(above)),
            _ => is_chroma,
        };
        if is_id && self.ids < MAX_IDS {
            self.ids += 1;
            self.found.matches_digest = Some(fold(self.found.matches_digest.unwrap_or_default(), id()));
        }
    }

    fn scalar_number(&mut self, key: &'a str, number: &Number) {
        if self.what == What::Matches {
            self.path.push(key);
            self.identified(|| hash(number.to_string().as_bytes()));
            self.dates.number(key, number);
            self.path.pop();
        }
    }
}

impl<'a> Build<'a> for &mut Survey<'a> {
    fn enter(&mut self, key: &Cow<'a, str>, is_object: bool, _: usize) {
        let key = if self.path.is_empty() { "$" } else { plain(key) };
        self.path.push(key);
        (self.numbers, self.digest) = (0, 0);
        match self.what {
            What::Stored if is_object && is_record(&self.path) => self.found.items += 1,
            What::Matches => self.match_begins(is_object),
            What::Texts | What::Embedded | What::Stored => {}
        }
    }

    fn leave(&mut self, _: usize) {
        if self.numbers > 0 {
            self.numbers_end();
        }
        self.path.pop();
    }

    fn scalar(&mut self, key: &Cow<'a, str>, value: Scalar<'a, '_>, _: Range<usize>) {
        let key = plain(key);
        match value {
            Scalar::Plain(text) | Scalar::Decoded(text) => self.string(key, text),
            Scalar::Number(number) => self.scalar_number(key, &number),
            Scalar::Null | Scalar::Bool(_) => {}
        }
    }

    fn element(&mut self, number: &str) {
        self.number(number);
        if self.what == What::Stored && matches!(self.path.as_slice(), ["$", "batch", "ids"] | ["$", "ids"]) {
            self.found.items += 1;
        }
    }
}

/// A key with an escape in it is none that is looked for.
fn plain<'a>(key: &Cow<'a, str>) -> &'a str {
    match key {
        Cow::Borrowed(key) => key,
        Cow::Owned(_) => "\\",
    }
}

fn keep(slot: &mut Option<String>, name: &str) {
    if slot.is_none() && (1..=MAX_NAME_BYTES).contains(&name.len()) {
        *slot = Some(name.to_owned());
    }
}

/// Where a text to be embedded stands: OpenAI and all alike; Cohere; Google; Titan; Ollama; Jina; Vertex.
fn is_text(path: &[&str]) -> bool {
    matches!(
        path,
        ["$", "input" | "inputs" | "texts" | "prompt" | "inputText" | "text"]
            | ["$", "input" | "inputs" | "texts" | "input_texts", ""]
            | ["$", "input" | "inputs", "", "text"]
            | ["$", "inputs", "", "content", "", "text"]
            | ["$", "content", "parts", "", "text"]
            | ["$", "requests", "", "content", "parts", "", "text"]
            | ["$", "instances", "", "content"]
    )
}

/// Cohere, Voyage, Google, Pinecone and NVIDIA, Jina, Nova.
fn purpose(text: &str) -> Option<Purpose> {
    match text.to_ascii_lowercase().as_str() {
        "search_document" | "document" | "retrieval_document" | "passage" | "retrieval.passage" | "generic_index" => {
            Some(Purpose::Document)
        }
        "search_query" | "query" | "retrieval_query" | "retrieval.query" | "generic_retrieval"
        | "question_answering" => Some(Purpose::Query),
        _ => None,
    }
}

/// Whether numbers there can be a dense vector: sparse ones, metadata and filters are none.
fn may_be_vector(path: &[&str]) -> bool {
    let other = |key: &&str| {
        matches!(
            *key,
            "indices"
                | "sparse_values"
                | "sparseValues"
                | "sparse_vector"
                | "metadata"
                | "metadatas"
                | "payload"
                | "payloads"
                | "properties"
                | "filter"
                | "where"
                | "ids"
        )
    };
    let is_sparse = path.last() == Some(&"values") && path.contains(&"vector");
    !is_sparse && !path.iter().any(other)
}

/// A record that is written: Pinecone; Qdrant; Weaviate; Milvus; OpenSearch's actions; Pinecone's records have a document each.
fn is_record(path: &[&str]) -> bool {
    matches!(path, ["$", "vectors" | "points" | "objects" | "data", ""] | ["$", "index" | "create" | "update"])
}

/// A list of matches: Pinecone, its records; Qdrant; Milvus; Weaviate; Chroma; OpenSearch.
fn is_match_list(path: &[&str]) -> bool {
    matches!(
        path,
        ["$", "matches" | "result" | "data" | "ids"]
            | ["$", "result", "hits" | "points" | "groups"]
            | ["$", "result", "", "points"]
            | ["$", "data", "Get", _]
            | ["$", "hits", "hits"]
            | ["$", "responses", "", "hits", "hits"]
    )
}

fn is_match(path: &[&str]) -> bool {
    match path {
        // Qdrant's batches of searches have a list for each.
        ["$", "result", "", ""] => true,
        // That of Chroma's ids holds no objects.
        [above @ .., ""] => is_match_list(above),
        _ => false,
    }
}
