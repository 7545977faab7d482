//! What the field in front of a value is called. Enters: the text before a match. Leaves: the words of its label. Some numbers
//! are told apart by nothing else: `order_id=4539…` and `card=4539…` both pass Luhn.

/// How far before a value its label may begin, bytes.
const REACH_BYTES: usize = 40;
/// Words of a label, counted from its end.
const MAX_WORDS: usize = 4;

/// Names of numbers that are nobody's: of things, moments and sizes.
pub(super) const OF_THINGS: &[&str] = &[
    "id",
    "order",
    "invoice",
    "tracking",
    "trace",
    "span",
    "request",
    "timestamp",
    "ts",
    "epoch",
    "created",
    "updated",
    "expires",
    "expiry",
    "port",
    "pid",
    "size",
    "bytes",
    "count",
    "total",
    "amount",
    "price",
    "version",
    "build",
    "offset",
    "isbn",
    "ean",
    "upc",
    "gtin",
    "sku",
    "serial",
    "ticket",
    "case",
    "otp",
    "pin",
    "latency",
    "duration",
    "ms",
    "ns",
    "hash",
    "session",
    "seq",
    "sequence",
    "commit",
    "revision",
    "row",
    "rows",
    "limit",
    "seed",
    "uptime",
    "took",
    "elapsed",
];

/// The name right before a value says one of these words, which are lower-case: `order_id=`, `"traceId": "`, `Invoice no. `.
pub(super) fn named(before: &[u8], words: &[&str]) -> bool {
    last_words(before).any(|word| words.iter().any(|one| word.eq_ignore_ascii_case(one.as_bytes())))
}

/// The word right before a value is one of these.
pub(super) fn follows(before: &[u8], words: &[&str]) -> bool {
    last_words(before).next().is_some_and(|word| words.iter().any(|one| word.eq_ignore_ascii_case(one.as_bytes())))
}

/// The words of the name that ends the text, last first; `orderId` and `order_id` are two words.
fn last_words(before: &[u8]) -> impl Iterator<Item = &[u8]> {
    let reach = before.get(before.len().saturating_sub(REACH_BYTES)..).unwrap_or_default();
    let end = reach.iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |at| at + 1);
    let name = reach.get(..end).unwrap_or_default();
    // A name ends where a sentence or another field does.
    let start = name.iter().rposition(|byte| matches!(byte, b',' | b';' | b'"' | b'{' | b'&' | b'|' | b'\n' | b'\t'));
    let mut rest = name.get(start.map_or(0, |at| at + 1)..).unwrap_or_default();
    std::iter::from_fn(move || {
        let end = rest.iter().rposition(u8::is_ascii_alphanumeric)? + 1;
        let mut start = end - 1;
        while let Some(previous) = start.checked_sub(1).and_then(|at| rest.get(at)) {
            let camel = rest.get(start).is_some_and(u8::is_ascii_uppercase) && previous.is_ascii_lowercase();
            if !previous.is_ascii_alphanumeric() || camel {
                break;
            }
            start -= 1;
        }
        let word = rest.get(start..end);
        rest = rest.get(..start).unwrap_or_default();
        word
    })
    .take(MAX_WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_counts() {
        for (before, expected) in [
            ("order_id=", true),
            ("\"orderId\": \"", true),
            ("Order number: ", true),
            ("order,", true),
            ("order\",\"card\":\"", false),
            ("order; card ", false),
            ("border=", false),
            ("", false),
            (" : ", false),
        ] {
            assert_eq!(named(before.as_bytes(), &["order"]), expected, "{before}");
        }
        assert!(follows(b"my order: ", &["order"]) && !follows(b"order of ", &["order"]) && !follows(b"", &["order"]));
        assert!(!named("order a b c d e ".as_bytes(), &["order"]));
    }
}
