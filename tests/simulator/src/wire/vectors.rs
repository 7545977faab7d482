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

/// `held`: numbers of the vectors that the index was made for; `None`: any.
pub(crate) fn upsert(store: Store, index: &str, held: Option<u64>, documents: &[Document]) -> Wired {
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
    let sent = documents.first().map_or(0, |document| document.vector.len());
    wired(store, method, url, &body, refusal(store, held, sent).map_or((200, answer), |refusal| (400, refusal)))
}

/// What a store says to vectors of another length than the index was made for; both answer 400. Pinecone:
/// github.com/run-llama/llama_index/issues/12009, Qdrant: github.com/open-webui/open-webui/issues/9608
fn refusal(store: Store, held: Option<u64>, sent: usize) -> Option<Value> {
    let held = held.filter(|held| *held != sent as u64)?;
    Some(match store {
        Store::Pinecone => {
            let message = format!("Vector dimension {sent} does not match the dimension of the index {held}");
            json!({"code": 3, "message": message, "details": []})
        }
        Store::Qdrant => {
            let error = format!("Wrong input: Vector dimension error: expected dim: {held}, got {sent}");
            json!({"status": {"error": error}, "time": 0.0002})
        }
    })
}

/// `held` as for [`upsert`].
pub(crate) fn query(store: Store, index: &str, held: Option<u64>, vector: &[f64], found: &[Document]) -> Wired {
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
    let refused = refusal(store, held, vector.len());
    wired(store, "POST", url, &body, refused.map_or((200, answer), |refusal| (400, refusal)))
}

fn pinecone(index: &str, path: &str) -> String {
    format!("https://{index}-simulated.svc.aped-4627-b74a.pinecone.io/{path}")
}

fn qdrant(index: &str, path: &str) -> String {
    format!("https://simulated.eu-central-1-0.aws.cloud.qdrant.io/collections/{index}/{path}")
}

fn wired(store: Store, method: &'static str, url: String, body: &Value, (status, answer): (u16, Value)) -> Wired {
    Wired {
        method,
        url,
        headers: headers(&[("content-type", "application/json"), ("api-key", "simulated")]),
        body: body.to_string(),
        response: Some(Response {
            status,
            headers: headers(&[
                ("content-type", "application/json"),
                ("server", if store == Store::Pinecone { "envoy" } else { "qdrant" }),
            ]),
            body: answer.to_string(),
        }),
    }
}
