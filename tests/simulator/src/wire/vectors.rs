//! Vector stores: Pinecone (docs.pinecone.io/reference/api) and Qdrant (api.qdrant.tech/api-reference).

use serde_json::{Value, json};

use super::{Wired, headers};
use crate::{call::Response, traffic::Store};

/// A document as it is stored or found.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) vector: Vec<f64>,
    pub(crate) text: String,
    /// RFC 3339.
    pub(crate) updated_at: String,
}

impl Document {
    fn metadata(&self) -> Value {
        json!({"text": self.text, "updated_at": self.updated_at, "source": format!("kb/{}.md", self.id)})
    }
}

pub(crate) fn upsert(store: Store, index: &str, documents: &[Document]) -> Wired {
    let (method, url, body, answer) = match store {
        Store::Pinecone => {
            let vectors: Vec<Value> = documents
                .iter()
                .map(|document| json!({"id": document.id, "values": document.vector, "metadata": document.metadata()}))
                .collect();
            let body = json!({"vectors": vectors, "namespace": "main"});
            ("POST", pinecone(index, "vectors/upsert"), body, json!({"upsertedCount": documents.len()}))
        }
        Store::Qdrant => {
            let points: Vec<Value> = documents
                .iter()
                .map(|document| json!({"id": document.id, "vector": document.vector, "payload": document.metadata()}))
                .collect();
            let answer = json!({"result": {"operation_id": 1, "status": "completed"}, "status": "ok", "time": 0.002});
            ("PUT", qdrant(index, "points?wait=true"), json!({"points": points}), answer)
        }
    };
    wired(store, method, url, &body, &answer)
}

pub(crate) fn query(store: Store, index: &str, vector: &[f64], found: &[Document]) -> Wired {
    let scored = |rank: usize| 0.83 - 0.04 * rank as f64;
    let (url, body, answer) = match store {
        Store::Pinecone => {
            let matches: Vec<Value> = found
                .iter()
                .enumerate()
                .map(|(rank, it)| json!({"id": it.id, "score": scored(rank), "metadata": it.metadata()}))
                .collect();
            let body = json!({"vector": vector, "topK": 3, "includeMetadata": true, "namespace": "main"});
            let answer = json!({"matches": matches, "namespace": "main", "usage": {"readUnits": 5}});
            (pinecone(index, "query"), body, answer)
        }
        Store::Qdrant => {
            let points: Vec<Value> = found
                .iter()
                .enumerate()
                .map(|(rank, it)| json!({"id": it.id, "version": 1, "score": scored(rank), "payload": it.metadata()}))
                .collect();
            let body = json!({"vector": vector, "limit": 3, "with_payload": true});
            (qdrant(index, "points/search"), body, json!({"result": points, "status": "ok", "time": 0.001}))
        }
    };
    wired(store, "POST", url, &body, &answer)
}

fn pinecone(index: &str, path: &str) -> String {
    format!("https://{index}-simulated.svc.aped-4627-b74a.pinecone.io/{path}")
}

fn qdrant(index: &str, path: &str) -> String {
    format!("https://simulated.eu-central-1-0.aws.cloud.qdrant.io/collections/{index}/{path}")
}

fn wired(store: Store, method: &'static str, url: String, body: &Value, answer: &Value) -> Wired {
    Wired {
        method,
        url,
        headers: headers(&[("content-type", "application/json"), ("api-key", "simulated")]),
        body: body.to_string(),
        response: Some(Response {
            status: 200,
            headers: headers(&[
                ("content-type", "application/json"),
                ("server", if store == Store::Pinecone { "envoy" } else { "qdrant" }),
            ]),
            body: answer.to_string(),
        }),
    }
}
