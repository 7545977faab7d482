//! What calls to embedding models and vector stores say, one case a store and form, through assembly and correlation.

use serde_json::{Value, json};

use super::*;

fn read(method: &str, url: &str, body: &str, status: u16, answer: &str) -> Option<RetrievalFacts> {
    let headers = json!({"content-type": "application/json"});
    let record = json!({
        "request": {"method": method, "url": url, "headers": {}, "body": body},
        "response": {"status": status, "headers": headers, "body": answer},
    });
    let record = Record::parse(record.to_string().as_bytes()).unwrap();
    let inputs = record.inputs(StreamId(1), Timestamp(1), Options::default());
    let mut exchanges = crate::cli::replay::exchanges(&inputs, &vendors());
    assert_eq!(exchanges.len(), 1);
    exchanges.remove(0).retrieval.map(|facts| *facts)
}

fn seen(url: &str, body: &Value, answer: &Value) -> RetrievalFacts {
    read("POST", url, &body.to_string(), 200, &answer.to_string()).unwrap_or_else(|| panic!("{url}: no facts"))
}

/// Eight numbers as 64-bit floats print what 32-bit floats are, and as vendors write them.
const LONG: &str = "0.0023064255248755217,-0.009327292442321777,0.015797346830368042,0.5,0.25,0,1,-1";
const SHORT: &str = "0.0023064255,-0.009327292,0.015797347,0.5,0.25,0,1,-1";

fn numbers(text: &str) -> Value {
    serde_json::from_str(&format!("[{text}]")).unwrap()
}

#[test]
fn embeddings_of_every_form() {
    let openai = "https://api.openai.com/v1/embeddings";
    let floats: Vec<u8> = SHORT.split(',').flat_map(|number| number.parse::<f32>().unwrap().to_le_bytes()).collect();
    let cases = [
        (
            openai,
            json!({"model": "m", "input": "four words of text"}),
            json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": numbers(SHORT)}]}),
            (1, 18, None),
        ),
        (
            openai,
            json!({"model": "m", "input": ["ab", "cde"], "encoding_format": "base64"}),
            json!({"object": "list", "data": [{"object": "embedding", "embedding": STANDARD.encode(&floats)}]}),
            (2, 5, None),
        ),
        (
            openai,
            json!({"model": "m", "input": [[1, 2, 3], [4, 5]]}),
            json!({"object": "list", "data": [{"object": "embedding", "embedding": numbers(LONG)}]}),
            (2, 20, None),
        ),
        (
            "https://api.cohere.com/v2/embed",
            json!({"model": "m", "texts": ["ab", "c"], "input_type": "search_document", "embedding_types": ["float"]}),
            json!({"id": "1", "embeddings": {"float": [numbers(SHORT)]}}),
            (2, 3, Some(Purpose::Document)),
        ),
        (
            "https://api.voyageai.com/v1/embeddings",
            json!({"model": "m", "input": ["ab"], "input_type": "query"}),
            json!({"object": "list", "data": [{"object": "embedding", "embedding": numbers(SHORT)}]}),
            (1, 2, Some(Purpose::Query)),
        ),
        (
            "https://generativelanguage.googleapis.com/v1beta/models/m:batchEmbedContents",
            json!({"requests": [{"content": {"parts": [{"text": "abc"}]}, "taskType": "RETRIEVAL_DOCUMENT"}]}),
            json!({"embeddings": [{"values": numbers(SHORT)}]}),
            (1, 3, Some(Purpose::Document)),
        ),
        (
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.titan-embed-text-v2%3A0/invoke",
            json!({"inputText": "abcd"}),
            json!({"embedding": numbers(SHORT), "inputTextTokenCount": 1}),
            (1, 4, None),
        ),
        (
            "http://localhost:11434/api/embed",
            json!({"model": "m", "input": ["abcd", "e"]}),
            json!({"model": "m", "embeddings": [numbers(SHORT)]}),
            (2, 5, None),
        ),
    ];
    let first = seen(cases[0].0, &cases[0].1, &cases[0].2).vectors[0];
    assert_eq!(first.dimensions, 8);
    for (url, body, answer, (items, bytes, purpose)) in cases {
        let facts = seen(url, &body, &answer);
        assert_eq!((facts.items, facts.input_bytes, facts.purpose), (items, bytes, purpose), "{url} {body}");
        assert_eq!(facts.vectors, [first], "one vector is one, however it is written: {url} {body}");
    }
}

const PINECONE: &str = "https://notes-abc123.svc.aped-4627-b74a.pinecone.io";
const QDRANT: &str = "https://abc.eu-central-1-0.aws.cloud.qdrant.io/collections/notes/points";
const WEAVIATE: &str = "https://abc.weaviate.network/v1";
const CHROMA: &str = "https://api.trychroma.com/api/v2/tenants/t/databases/d/collections/c-1";
const ZILLIZ: &str = "https://in03-abc.serverless.gcp-us-west1.vectordb.zillizcloud.com/v2/vectordb/entities";
const SEARCH: &str = "https://search-abc.us-east-1.es.amazonaws.com";

#[test]
fn what_is_stored_where() {
    let vector = numbers(LONG);
    let two = format!("[{LONG}]");
    let lines = format!(
        "{{\"index\":{{\"_index\":\"docs\",\"_id\":\"1\"}}}}\n{{\"title\":\"a\",\"v\":{two}}}\n{{\"index\":{{\"_index\":\"docs\"}}}}\n{{\"v\":{two}}}\n"
    );
    let cases = [
        (
            "POST",
            format!("{PINECONE}/vectors/upsert"),
            json!({"namespace": "n", "vectors": [
                {"id": "a", "values": vector, "metadata": {"pages": [1, 2, 3, 4, 5, 6, 7, 8, 9]}},
                {"id": "b", "values": vector, "sparseValues": {"indices": [1, 2, 3, 4, 5, 6, 7, 8], "values": vector}},
            ]})
            .to_string(),
            (None, Some("n"), 2),
        ),
        (
            "POST",
            format!("{PINECONE}/records/namespaces/n%201/upsert"),
            "{\"_id\":\"a\",\"text\":\"x\"}\n".to_owned(),
            (None, Some("n 1"), 1),
        ),
        (
            "PUT",
            QDRANT.to_owned(),
            json!({"points": [{"id": 1, "vector": vector}, {"id": 2, "vector": {"text": vector}}]}).to_string(),
            (Some("notes"), None, 2),
        ),
        (
            "PUT",
            "http://qdrant.corp.internal:6333/collections/notes/points".to_owned(),
            json!({"points": [{"id": "a", "vector": vector}, {"id": "b", "vector": vector}]}).to_string(),
            (Some("notes"), None, 2),
        ),
        (
            "PUT",
            QDRANT.to_owned(),
            json!({"batch": {"ids": [1, 2], "vectors": [vector, vector]}}).to_string(),
            (Some("notes"), None, 2),
        ),
        (
            "POST",
            format!("{WEAVIATE}/batch/objects"),
            json!({"objects": [{"class": "Note", "vector": vector, "properties": {}}, {"class": "Note", "vector": vector}]})
                .to_string(),
            (Some("Note"), None, 2),
        ),
        (
            "POST",
            format!("{CHROMA}/upsert"),
            json!({"ids": ["a", "b"], "embeddings": [vector, vector], "metadatas": [{"n": 1}, null]}).to_string(),
            (Some("c-1"), None, 2),
        ),
        (
            "POST",
            format!("{ZILLIZ}/insert"),
            json!({"collectionName": "notes", "data": [{"id": 1, "vector": vector}, {"id": 2, "v2": vector}]}).to_string(),
            (Some("notes"), None, 2),
        ),
        ("POST", format!("{SEARCH}/_bulk"), lines, (Some("docs"), None, 2)),
    ];
    for (method, url, body, (index, namespace, items)) in cases {
        let facts = read(method, &url, &body, 200, "{}").unwrap_or_else(|| panic!("{url}"));
        assert_eq!(
            (facts.index.as_deref(), facts.namespace.as_deref(), facts.items),
            (index, namespace, items),
            "{url} {body}"
        );
        let dimensions: Vec<u32> = facts.vectors.iter().map(|vector| vector.dimensions).collect();
        let expected = if body.contains("text\":\"x") { vec![] } else { vec![8, 8] };
        assert_eq!(dimensions, expected, "{url} {body}");
    }
}

#[test]
fn what_is_found_where() {
    let vector = numbers(LONG);
    let query = json!({"vector": vector});
    let cases = [
        (
            format!("{PINECONE}/query"),
            json!({"vector": vector, "topK": 3, "namespace": "n"}),
            json!({"matches": [{"id": "a", "score": 0.9, "metadata": {"updated_at": "2026-11-23"}}, {"id": "b"}], "namespace": "n"}),
            (None, Some(2), Some(20_780)),
        ),
        (format!("{PINECONE}/query"), query.clone(), json!({"matches": []}), (None, Some(0), None)),
        (
            format!("{PINECONE}/records/namespaces/n/search"),
            json!({"query": {"inputs": {"text": "x"}, "top_k": 2}}),
            json!({"result": {"hits": [{"_id": "a", "fields": {"date": "2026-11-23"}}]}, "usage": {}}),
            (None, Some(1), Some(20_780)),
        ),
        (
            format!("{QDRANT}/search"),
            query.clone(),
            json!({"result": [{"id": 7, "payload": {"last_modified": 1_795_392_000}}], "status": "ok"}),
            (Some("notes"), Some(1), Some(20_780)),
        ),
        (
            format!("{QDRANT}/query"),
            json!({"query": vector}),
            json!({"result": {"points": [{"id": 7}, {"id": 8}]}, "status": "ok"}),
            (Some("notes"), Some(2), None),
        ),
        (
            format!("{QDRANT}/query/batch"),
            json!({"searches": [{"query": vector}]}),
            json!({"result": [{"points": [{"id": 7}, {"id": 8}]}, {"points": []}]}),
            (Some("notes"), Some(2), None),
        ),
        (
            format!("{QDRANT}/search/batch"),
            json!({"searches": [{"vector": vector}]}),
            json!({"result": [[{"id": 7}], [{"id": 8}]]}),
            (Some("notes"), Some(2), None),
        ),
        (
            format!("{WEAVIATE}/graphql"),
            json!({"query": format!("{{ Get {{ Note(limit: 2, nearVector: {{vector: [{LONG}]}}) {{ title }} }} }}")}),
            json!({"data": {"Get": {"Note": [{"title": "x", "updated": "2026-11-23", "_additional": {"id": "a"}}]}}}),
            (Some("Note"), Some(1), Some(20_780)),
        ),
        (
            format!("{WEAVIATE}/graphql"),
            json!({"query": format!("{{Get{{Note(nearVector:{{vector:[{LONG}]}}){{title}}}}}}")}),
            json!({"data": {"Get": {"Note": null}}, "errors": [{"message": "vector lengths don't match"}]}),
            (Some("Note"), None, None),
        ),
        (
            format!("{CHROMA}/query"),
            json!({"query_embeddings": [vector], "n_results": 2}),
            json!({"ids": [["a", "b"]], "distances": [[0.1, 0.2]], "metadatas": [[{"date": "2026-11-22"}, {"date": "2026-11-23"}]]}),
            (Some("c-1"), Some(2), Some(20_780)),
        ),
        (
            format!("{CHROMA}/query"),
            json!({"query_embeddings": [vector]}),
            json!({"ids": [[]], "distances": [[]], "metadatas": [[]]}),
            (Some("c-1"), Some(0), None),
        ),
        (
            format!("{ZILLIZ}/search"),
            json!({"collectionName": "notes", "data": [vector], "annsField": "v"}),
            json!({"code": 0, "data": [{"id": 1, "distance": 0.2, "mtime": 1_795_392_000_123_u64}, {"id": 2}]}),
            (Some("notes"), Some(2), Some(20_780)),
        ),
        (
            format!("{ZILLIZ}/search"),
            json!({"collectionName": "notes", "data": [vector]}),
            json!({"code": 1100, "message": "dimension mismatch"}),
            (Some("notes"), None, None),
        ),
        (
            format!("{SEARCH}/docs/_search"),
            json!({"size": 2, "query": {"knn": {"v": {"vector": vector, "k": 2}}}}),
            json!({"hits": {"total": {"value": 1}, "hits": [{"_id": "a", "_source": {"updatedAt": "2026-11-23T01:00:00Z"}}]}}),
            (Some("docs"), Some(1), Some(20_780)),
        ),
    ];
    for (url, body, answer, (index, matches, newest)) in cases {
        let facts = seen(&url, &body, &answer);
        let found = (facts.index.as_deref(), facts.matches, facts.dates.map(|dates| dates.newest));
        assert_eq!(found, (index, matches, newest), "{url} {answer}");
        let dimensions: Vec<u32> = facts.vectors.iter().map(|vector| vector.dimensions).collect();
        let expected = if url.contains("/records/") { vec![] } else { vec![8] };
        assert_eq!(dimensions, expected, "{url} {body}");
        let has_ids = matches.is_some_and(|matches| matches > 0);
        assert_eq!(facts.matches_digest.is_some(), has_ids, "{url} {answer}");
    }
}

#[test]
fn vectors_and_ids_are_told_apart() {
    let url = format!("{PINECONE}/query");
    let of = |vector: &str, ids: &[&str]| {
        let matches: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
        let facts = seen(&url, &json!({"vector": numbers(vector)}), &json!({"matches": matches}));
        (facts.vectors[0].digest, facts.matches_digest)
    };
    let (vector, ids) = of(LONG, &["a", "b", "c", "d"]);
    assert_eq!(of(SHORT, &["a", "b", "c", "e"]), (vector, ids), "the fourth match is not looked at");
    let (other, swapped) = of("0.0023064256,-0.00932,0.0157,0.5,0.25,0,1,-1", &["b", "a", "c"]);
    assert!(other != vector && swapped != ids);
    let chat = read("POST", "https://api.openai.com/v1/chat/completions", "{\"model\":\"m\"}", 200, "{}");
    assert_eq!(chat, None);
}
