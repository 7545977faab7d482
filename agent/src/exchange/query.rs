//! Queries of URLs and form bodies (`application/x-www-form-urlencoded`, URL standard). Enters: `a=b&c=d`, percent-encoded.
//! Leaves: each value at `$query.a` or `$form.a`, decoded, and short ones as an outline for facts. Keys that the caller pays
//! with are left out: sent to whom they belong to, they are no leak.

use serde_json::{Map, Value};

use super::{body::FACT_BYTES, key::is_key_text, path::Path, text::Whole};

/// Pairs that are read of one query.
const MAX_PAIRS: usize = 4096;

/// What carries the caller's own key or signature: Google `key`, AWS signature V4, Azure's shared access signatures.
const OWN_KEYS: [&str; 7] = ["key", "api_key", "api-key", "apikey", "access_token", "subscription-key", "sig"];

fn is_own_key(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    OWN_KEYS.contains(&name.as_str()) || name.starts_with("x-amz-") || name.starts_with("x-goog-")
}

/// The query of a target, without `?` and fragment.
pub(super) fn of(target: &str) -> &str {
    target.split_once('?').map_or("", |(_, query)| query.split('#').next().unwrap_or(query))
}

/// Reads pairs; `root` is `$query` or `$form`.
pub(super) fn read(pairs: &[u8], root: &str, whole: &mut Whole) -> Value {
    let mut doc = Map::new();
    for (name, value) in form_urlencoded::parse(pairs).take(MAX_PAIRS) {
        if is_own_key(&name) {
            continue;
        }
        let mut path = Path::new(root);
        path.key(&name);
        whole.add(path.as_str(), &name, &value);
        if is_key_text(&name) {
            path.name();
            whole.add(path.as_str(), "", &name);
        }
        if value.len() <= FACT_BYTES {
            doc.insert(name.into_owned(), Value::String(value.into_owned()));
        }
    }
    if doc.is_empty() { Value::Null } else { Value::Object(doc) }
}
