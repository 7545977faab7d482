//! Which embeddings can be compared. Enters: the id of an embedding model, as vendors and programs write it. Leaves: the name of its
//! space: two models with the same one make vectors that may be compared. It knows how ids are built, not which models exist.

/// Words that only say for which side of a search a model of a pair is (`solar-embedding-1-large-query`, `text-search-ada-doc-001`).
const SIDES: [&str; 8] = ["query", "queries", "passage", "passages", "doc", "document", "documents", "latest"];

/// Families of several sizes with one space: Voyage 4 (docs.voyageai.com/docs/embeddings: all models of the series are compatible).
const FAMILIES: [&str; 1] = ["voyage-4"];

/// The name of the space.
pub(super) fn space(model: &str) -> String {
    let lower = model.trim().to_lowercase();
    // `models/x`, `org/x`, `amazon.x-v2:0`, `x:latest`
    let id = lower.rsplit('/').next().unwrap_or_default();
    let id = id.split_once(':').map_or(id, |(name, _)| name);
    let words: Vec<&str> = id.split(['-', '_', '.']).filter(|word| !word.is_empty() && !SIDES.contains(word)).collect();
    let name = words.join("-");
    let is_of =
        |family: &&&str| name.strip_prefix(**family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    match FAMILIES.iter().find(is_of) {
        Some(family) => (*family).to_owned(),
        // What OpenAI calls it in its answers.
        None if name == "text-embedding-ada-002-v2" => "text-embedding-ada-002".to_owned(),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_with_one_space() {
        for (one, other, same) in [
            ("text-embedding-3-small", "openai/text-embedding-3-small", true),
            ("text-embedding-ada-002", "text-embedding-ada-002-v2", true),
            ("models/gemini-embedding-001", "gemini-embedding-001", true),
            ("nomic-embed-text", "nomic-embed-text:latest", true),
            ("solar-embedding-1-large-query", "solar-embedding-1-large-passage", true),
            ("text-search-ada-doc-001", "text-search-ada-query-001", true),
            ("voyage-4-large", "voyage-4-lite", true),
            ("BAAI/bge-m3", "bge-m3", true),
            ("text-embedding-3-small", "text-embedding-3-large", false),
            ("text-embedding-ada-002", "text-embedding-3-small", false),
            ("voyage-3-large", "voyage-4-large", false),
            ("voyage-4", "voyage-40", false),
            ("embed-english-v3.0", "embed-multilingual-v3.0", false),
            ("text-embedding-004", "gemini-embedding-001", false),
        ] {
            assert_eq!(space(one) == space(other), same, "{one} {other}");
        }
    }
}
