//! Deterministic synthetic logs: JSON application logs, access logs, lines of Kubernetes, chat bodies, streamed events, stack
//! traces. Enters: a size, and values to plant. Leaves: text. None of it is kept in the repository.

use std::fmt::Write as _;

/// A kind of line.
pub(crate) type Line = fn(&mut Random, &mut String);
/// What a host's logs hold.
pub(crate) const MIXED: &[Line] = &[json_log, access_log, kubernetes, chat, event, trace, json_log, access_log];
/// Requests alone.
pub(crate) const CHAT: &[Line] = &[chat];

/// Bytes from one planted value to the next.
const PLANT_EVERY_BYTES: usize = 16 * 1024;

/// Lines of these kinds, with one of the values every 16 KB.
pub(crate) fn corpus(bytes: usize, values: &[String], lines: &[Line]) -> Vec<u8> {
    let mut random = Random(20_261_123);
    let mut text = String::with_capacity(bytes + PLANT_EVERY_BYTES);
    let (mut next_plant, mut planted) = (PLANT_EVERY_BYTES / 2, 0);
    while text.len() < bytes {
        if text.len() >= next_plant {
            text.push_str(values.get(planted % values.len()).map_or("", String::as_str));
            text.push('\n');
            planted += 1;
            next_plant += PLANT_EVERY_BYTES;
        }
        if let Some(line) = lines.get(random.below(lines.len())) {
            line(&mut random, &mut text);
        }
    }
    text.into_bytes()
}

/// A small generator with a fixed start (SplitMix64), so that a run can be repeated.
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }
}

/// Ordinary vocabulary, each word as often as any other: `token` and `password` are two of some two hundred.
const WORDS: [&str; 206] = [
    "the", "of", "and", "to", "in", "is", "for", "that", "it", "on", "with", "as", "was", "by", "at", "be", "this",
    "are", "from", "or", "have", "an", "not", "but", "which", "you", "they", "we", "can", "has", "their", "were",
    "one", "all", "been", "if", "will", "more", "when", "who", "would", "some", "so", "no", "out", "up", "into",
    "them", "than", "its", "time", "only", "about", "other", "two", "may", "then", "do", "any", "my", "now", "such",
    "like", "our", "over", "even", "most", "me", "state", "after", "also", "made", "many", "did", "must", "before",
    "back", "through", "where", "much", "your", "way", "down", "should", "because", "long", "each", "just", "people",
    "system", "part", "small", "number", "public", "work", "place", "end", "again", "off", "every", "right", "still",
    "own", "under", "last", "never", "first", "great", "same", "another", "order", "well", "set", "both", "general",
    "within", "high", "since", "against", "next", "need", "use", "used", "page", "line", "case", "plan", "point",
    "value", "group", "program", "question", "problem", "answer", "request", "service", "message", "customer",
    "account", "report", "result", "change", "data", "file", "list", "table", "test", "user", "model", "level",
    "process", "market", "price", "water", "house", "school", "family", "company", "country", "money", "office",
    "street", "morning", "summer", "winter", "garden", "letter", "music", "paper", "story", "history", "nature",
    "language", "science", "machine", "network", "server", "update", "error", "failed", "retry", "timeout", "closed",
    "started", "finished", "pending", "shipped", "invoice", "payment", "address", "product", "review", "summary",
    "explain", "please", "thanks", "could", "cannot", "missing", "found", "token", "password", "reset", "cache",
    "stream", "function",
];

fn prose(random: &mut Random, words: usize, out: &mut String) {
    for index in 0..words {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(WORDS.get(random.below(WORDS.len())).copied().unwrap_or(""));
    }
}

// Writing to a string cannot fail, so the results below are dropped.

fn json_log(random: &mut Random, out: &mut String) {
    let (second, millis, status) = (random.below(60), random.below(1000), 200 + random.below(5));
    let _ = write!(
        out,
        "{{\"timestamp\":\"2026-11-23T10:{:02}:{second:02}.{millis:03}Z\",\"level\":\"info\",\"service\":\"checkout\",\"trace_id\":\
         \"{:016x}{:016x}\",\"duration_ms\":{},\"status\":{status},\"msg\":\"",
        random.below(60),
        random.next(),
        random.next(),
        random.below(5000)
    );
    prose(random, 12, out);
    out.push_str("\"}\n");
}

fn kubernetes(random: &mut Random, out: &mut String) {
    let _ = write!(
        out,
        "2026-11-23T10:{:02}:{:02}.{:09}Z stderr F I1123 10:20:{:02}.{:06} {:7} reconciler.go:{}] pod=\"prod/checkout-{:08x}-{:05x}\" \
         uid={:08x}-{:04x}-4{:03x}-9{:03x}-{:012x} image=\"registry.fake.invalid/shop/checkout@sha256:{:016x}{:016x}\" msg=\"",
        random.below(60),
        random.below(60),
        random.below(1_000_000_000),
        random.below(60),
        random.below(1_000_000),
        random.below(10_000_000),
        random.below(900),
        random.below(1 << 32),
        random.below(1 << 20),
        random.below(1 << 32),
        random.below(1 << 16),
        random.below(1 << 12),
        random.below(1 << 12),
        random.below(1 << 48),
        random.next(),
        random.next(),
    );
    prose(random, 6, out);
    out.push_str("\"\n");
}

fn access_log(random: &mut Random, out: &mut String) {
    let _ = writeln!(
        out,
        "10.{}.{}.{} - - [23/Nov/2026:10:{:02}:{:02} +0000] \"GET /api/v2/items/{} HTTP/1.1\" 200 {} \"https://shop.fake.invalid/cart\" \
         \"Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0.0.0 Safari/537.36\"",
        random.below(256),
        random.below(256),
        random.below(256),
        random.below(60),
        random.below(60),
        random.below(100_000),
        random.below(50_000)
    );
}

fn chat(random: &mut Random, out: &mut String) {
    out.push_str("{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"system\",\"content\":\"");
    prose(random, 40, out);
    out.push_str("\"},{\"role\":\"user\",\"content\":\"");
    prose(random, 120, out);
    let _ = writeln!(out, "\"}}],\"temperature\":0.{},\"max_tokens\":{}}}", random.below(10), 100 + random.below(4000));
}

fn event(random: &mut Random, out: &mut String) {
    let _ = write!(
        out,
        "data: {{\"id\":\"chatcmpl-{:016x}\",\"object\":\"chat.completion.chunk\",\"created\":17953{:05},\"choices\":[{{\"index\":0,\
         \"delta\":{{\"content\":\" ",
        random.next(),
        random.below(100_000)
    );
    prose(random, 1, out);
    out.push_str("\"},\"finish_reason\":null}]}\n\n");
}

fn trace(random: &mut Random, out: &mut String) {
    for depth in 0..8 {
        let _ = writeln!(
            out,
            "    at com.acme.orders.{}Service.handle{}({}Service.java:{}) ~[orders-2.{depth}.{}.jar:?]",
            ["Cart", "Billing", "Mail"].get(random.below(3)).copied().unwrap_or(""),
            random.below(100),
            ["Cart", "Billing", "Mail"].get(random.below(3)).copied().unwrap_or(""),
            random.below(900),
            random.below(40)
        );
    }
}
