//! What a peer wrote and is shown as a name: models, tools, ids, hosts, JSON keys. Enters: text from the wire that should be an
//! identifier. Leaves: the same text when it is one, else a mask. Nothing tells a program what it may put into `model`: a key
//! that was pasted there must not reach an output by way of a title.

use std::{borrow::Cow, net::IpAddr};

use super::mask::{MASK, PUBLIC_PREFIXES};
use crate::rules::vendors::may_be_address;

/// Longest identifier; longer ones are masked.
const MAX_CHARS: usize = 128;

/// Longest JSON key that is shown.
const MAX_KEY_CHARS: usize = 32;

/// Digits in a row from which on a JSON key is not shown.
const KEY_DIGITS: usize = 4;

/// Digits, separators between them or not, from which on a text is a number of somebody: cards, phones, social security. Dates
/// do not count: dated model ids end in eight digits.
const NUMBER_DIGITS: usize = 9;

/// Random characters from which on a text is a secret.
const RANDOM_CHARS: usize = 20;

/// A piece of one case this long is no word.
const WORD_CHARS: usize = 40;

/// So many characters behind a public prefix make a key.
const KEY_CHARS: usize = 8;

/// Prefixes from this length on are no words of a tool's or model's name, as `key-` and `npm_` can be.
const TELLING_PREFIX_CHARS: usize = 7;

/// What vendors put before the ids that they make up; it stays when the id is masked.
const ID_LABELS: [&str; 8] = ["chatcmpl-", "cmpl-", "msg_", "resp_", "gen-", "batch_", "req_", "fp_"];

/// An identifier that a peer wrote: itself when it is short, made of letters, digits and `._:/@+-`, and looks like no secret;
/// else `•••`, behind the public prefix or label that it begins with.
pub fn identifier(text: &str) -> String {
    if is_identifier(text) { text.to_owned() } else { stand_in(text) }
}

/// The path of a URL: as [`identifier`], part by part.
pub(super) fn url_path(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        // Bedrock's clients write the colon of a model id so.
        let plain = part.replace("%3A", ":");
        if part.is_empty() || is_identifier(&plain) { Cow::Borrowed(part) } else { Cow::Owned(stand_in(&plain)) }
    });
    super::field(&parts.collect::<Vec<_>>().join("/"))
}

/// A host: as [`identifier`], label by label. Addresses are hosts.
pub fn host(host: &str) -> String {
    let address = host.rsplit_once(':').map_or(host, |(address, _)| address);
    let is_address = |text: &str| may_be_address(text) && text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if host.is_empty() || is_address(host) || is_address(address) || is_identifier(host) {
        return super::field(host);
    }
    if looks_like_email(host) || has_number(host) {
        return MASK.to_owned();
    }
    super::field(&host.split('.').map(identifier).collect::<Vec<_>>().join("."))
}

/// A JSON path: keys that are no plain names become `['…']`, for a key can be anything, an address or a number of somebody.
pub(super) fn json_path(path: &str) -> String {
    const HIDDEN: &str = "['…']";
    let root_bytes = path.find(['.', '[']).unwrap_or(path.len());
    let (root, mut rest) = path.split_at(root_bytes);
    let mut out = if root == "$" || is_plain_key(root) { root.to_owned() } else { HIDDEN.to_owned() };
    while !rest.is_empty() {
        if let Some(name) = rest.strip_prefix('.') {
            let (key, tail) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
            if is_plain_key(key) {
                out.extend([".", key]);
            } else {
                out.push_str(HIDDEN);
            }
            rest = tail;
        } else if let Some(quoted) = rest.strip_prefix("['") {
            let (key, tail) = until_quote(quoted);
            if is_plain_key(key) {
                out.extend(["['", key, "']"]);
            } else {
                out.push_str(HIDDEN);
            }
            rest = tail;
        } else {
            let end = rest.find(']').map_or(rest.len(), |end| end + 1);
            let (index, tail) = rest.split_at(end);
            let digits = index.trim_start_matches('[').trim_end_matches(']');
            let is_index = !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
            out.push_str(if is_index { index } else { HIDDEN });
            rest = tail;
        }
    }
    super::field(&out)
}

/// Splits behind the `']` that ends a quoted key; in it a backslash takes the next character with it (RFC 9535).
fn until_quote(text: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => {
                let (key, tail) = text.split_at(at);
                let tail = tail.strip_prefix('\'').unwrap_or_default();
                return (key, tail.strip_prefix(']').unwrap_or(tail));
            }
            _ => {}
        }
    }
    (text, "")
}

fn is_plain_key(key: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    key.len() <= MAX_KEY_CHARS
        && key.bytes().all(is_plain)
        && !key.as_bytes().windows(KEY_DIGITS).any(|run| run.iter().all(u8::is_ascii_digit))
        && is_identifier(key)
}

fn is_identifier(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || is_separator(byte) || matches!(byte, b'@' | b'+');
    (1..=MAX_CHARS).contains(&text.len())
        && text.bytes().all(is_part)
        && !has_issuers_prefix(text)
        && !looks_like_email(text)
        && !has_number(text)
        && !is_random(text)
}

fn stand_in(text: &str) -> String {
    let known = PUBLIC_PREFIXES
        .iter()
        .chain(&ID_LABELS)
        .filter(|prefix| text.strip_prefix(**prefix).is_some_and(|rest| rest.len() >= KEY_CHARS));
    format!("{}{MASK}", known.max_by_key(|prefix| prefix.len()).unwrap_or(&""))
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'_' | b'/' | b':')
}

/// An issuer's prefix where a word can begin, and behind it what can be a key.
fn has_issuers_prefix(text: &str) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_key = |piece: &[u8]| {
        piece.len() >= KEY_CHARS && piece.iter().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
    };
    let holds_key = |prefix: &str, key: &str| {
        let telling = prefix.len() >= TELLING_PREFIX_CHARS && key.len() >= KEY_CHARS;
        telling || key.as_bytes().split(|byte| is_separator(*byte)).any(is_key)
    };
    // Words are few and prefixes are many, so they are looked for where a word begins.
    let begins = |at: &usize| !is_word(at.checked_sub(1).and_then(|before| text.as_bytes().get(before)));
    let mut rests =
        (0..text.len()).filter(begins).filter_map(|at| text.get(at..)).filter(|rest| rest.len() > KEY_CHARS);
    rests.any(|rest| {
        let begins = rest.as_bytes().first_chunk();
        let mut fit = BEGINNINGS.iter().zip(PUBLIC_PREFIXES).filter(|(two, _)| begins == Some(two));
        fit.any(|(_, prefix)| rest.strip_prefix(prefix).is_some_and(|key| holds_key(prefix, key)))
    })
}

/// The first two bytes of each prefix: comparing these rules nearly all of them out.
const BEGINNINGS: [[u8; 2]; PUBLIC_PREFIXES.len()] = {
    let mut all = [[0; 2]; PUBLIC_PREFIXES.len()];
    let mut at = 0;
    while at < all.len() {
        let prefix = PUBLIC_PREFIXES[at].as_bytes();
        all[at] = [prefix[0], prefix[1]];
        at += 1;
    }
    all
};

/// `@` before a domain with a top-level domain of letters; `claude-3-5-sonnet@20240620` has none.
fn looks_like_email(text: &str) -> bool {
    text.rsplit_once('@')
        .and_then(|(_, domain)| domain.rsplit_once('.'))
        .is_some_and(|(_, tld)| tld.bytes().take_while(u8::is_ascii_alphabetic).count() >= 2)
}

/// Digits, with nothing but separators between them, that are too many for versions and dates.
fn has_number(text: &str) -> bool {
    if text.bytes().filter(u8::is_ascii_digit).count() < NUMBER_DIGITS {
        return false;
    }
    let in_number = |byte: &u8| byte.is_ascii_digit() || is_separator(*byte) || matches!(byte, b'+' | b' ');
    text.as_bytes().split(|byte| !in_number(byte)).any(|run| {
        let digits = run.iter().filter(|byte| byte.is_ascii_digit()).count();
        digits >= NUMBER_DIGITS && digits - date_digits(run) >= NUMBER_DIGITS
            || run.split(|byte| !byte.is_ascii_digit()).any(|row| row.len() >= NUMBER_DIGITS)
    })
}

/// Digits of the first `20261123` or `2026-11-23` that stands alone in a run of digits and separators.
fn date_digits(run: &[u8]) -> usize {
    let mut parts = run.split(|byte| !byte.is_ascii_digit()).peekable();
    while let Some(part) = parts.next() {
        let is_year = part.starts_with(b"20");
        if is_year && part.len() == 8 {
            return 8;
        }
        if is_year && part.len() == 4 && parts.peek().is_some_and(|month| month.len() == 2) {
            return 8;
        }
    }
    0
}

/// Enough characters in pieces that no one would write: letters and digits in one long piece, or all three kinds mixed.
fn is_random(text: &str) -> bool {
    if text.len() < RANDOM_CHARS {
        return false;
    }
    let pieces = text.as_bytes().split(|byte| is_separator(*byte));
    pieces.map(random_chars).sum::<usize>() >= RANDOM_CHARS
}

fn random_chars(piece: &[u8]) -> usize {
    if piece.len() < KEY_CHARS {
        return 0;
    }
    let has = |kind: fn(&u8) -> bool| piece.iter().any(kind);
    let (lower, upper, digit) = (has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase), has(u8::is_ascii_digit));
    let kind = |byte: u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
    let changes = piece.windows(2).filter(|two| matches!(two, [a, b] if kind(*a) != kind(*b))).count();
    let long = piece.len() >= RANDOM_CHARS && (digit || 5 * changes >= 2 * piece.len());
    let mixed = piece.len() >= KEY_CHARS && lower && upper && digit;
    if long || mixed || piece.len() >= WORD_CHARS { piece.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_and_secrets_do_not() {
        let names = [
            "gpt-4o-2024-08-06",
            "ft:gpt-4o-mini-2024-07-18:acme-org:support-bot:9abcDEF1",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "claude-3-5-sonnet@20240620",
            "meta-llama/Llama-4-Scout-17B-16E-Instruct",
            "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M",
            "accounts/fireworks/models/llama-v3p1-405b-instruct",
            "6b3446f6-7bd6-491f-a44c-0993ad3d67cf",
            "get_customer_by_id",
            "getCustomerInformationByEmailAddress",
            "mcp__github__search_repositories",
            "npm_install_package",
            "key-value-store_lookup",
            "task-router-v2",
            "fp_8b330d02d0_prod0820_fp8_kvcache_20260402",
            "end_turn",
            "STOP_SEQUENCE",
        ];
        for name in names {
            assert_eq!(identifier(name), name);
        }
        let key = "T3BlbkFJfakeFAKEfake1234fakeFAKE";
        let secrets = [
            (format!("sk-proj-{key}"), "sk-proj-•••"),
            (format!("openai/sk-proj-{key}"), "•••"),
            ("sk-proj-fake-fake-fake".to_owned(), "sk-proj-•••"),
            (format!("ghp_{key}"), "ghp_•••"),
            ("AKIAFAKEFAKEFAKE7777".to_owned(), "AKIA•••"),
            (key.to_owned(), "•••"),
            ("Fak3fAk3fAk3f-q8Zt4Lm2Xv9Kd1".to_owned(), "•••"),
            ("9f86d081884c7d659a2feaa0c55ad015".to_owned(), "•••"),
            ("jane.doe@example.com".to_owned(), "•••"),
            ("agent/jane.doe@example.com".to_owned(), "•••"),
            ("078-05-1120".to_owned(), "•••"),
            ("4111-1111-1111-1111".to_owned(), "•••"),
            ("+1-202-555-0143".to_owned(), "•••"),
            ("call_4111111111111111".to_owned(), "•••"),
            ("2026-11-23-078-05-1120".to_owned(), "•••"),
            ("my password is hunter2".to_owned(), "•••"),
            ("gpt-4o\u{1b}[2J".to_owned(), "•••"),
            ("a-".repeat(100), "•••"),
            (String::new(), "•••"),
            ("chatcmpl-C2P2HtMJhPkWjQ2adKerkdVilXmRL".to_owned(), "chatcmpl-•••"),
            ("msg_01M1FyhwiuF17tS3UFD15cM4".to_owned(), "msg_•••"),
            ("resp_0365d26c32c64c650068cabb02fea4819495862c2bc58440ad".to_owned(), "resp_•••"),
        ];
        for (secret, shown) in secrets {
            assert_eq!(identifier(&secret), shown, "{secret}");
        }
    }

    #[test]
    fn paths_and_hosts_are_judged_part_by_part() {
        for (path, shown) in [
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/v1beta/models/gemini-2.5-pro:generateContent", "/v1beta/models/gemini-2.5-pro:generateContent"),
            ("/model/us.amazon.nova-lite-v1%3A0/converse", "/model/us.amazon.nova-lite-v1%3A0/converse"),
            ("/v1/responses/resp_0365d26c32c64c650068cabb02fea4819/cancel", "/v1/responses/resp_•••/cancel"),
            ("/u/jane%40example.com/chat", "/u/•••/chat"),
            ("/sk-proj-FAKEfakeFAKEfake/v1", "/sk-proj-•••/v1"),
        ] {
            assert_eq!(url_path(path), shown);
        }
        for (name, shown) in [
            ("api.openai.com", "api.openai.com"),
            ("api.openai.com:443", "api.openai.com:443"),
            ("192.168.100.200:11434", "192.168.100.200:11434"),
            ("[::1]:8080", "[::1]:8080"),
            ("a1b2c3d4e5f6a7b8c9d0e1f2.eu.endpoints.fake.cloud", "•••.eu.endpoints.fake.cloud"),
            ("jane@mail.example.com", "•••"),
            ("4111-1111-1111-1111.example.com", "•••"),
        ] {
            assert_eq!(host(name), shown);
        }
    }

    #[test]
    fn json_keys_that_are_no_plain_names_are_hidden() {
        for (path, shown) in [
            ("$.messages[12].content", "$.messages[12].content"),
            ("$.x-y_2['2x'][0]", "$.x-y_2['2x'][0]"),
            ("$.metadata['jane.doe@example.com'][3].a", "$.metadata['…'][3].a"),
            ("$.by_ssn['078-05-1120'].n", "$.by_ssn['…'].n"),
            ("$.u1234.n", "$['…'].n"),
            ("$['it\\'s ].x'].n", "$['…'].n"),
            ("$['cut", "$['cut']"),
            ("$.sk-proj-FAKEfakeFAKE.n", "$['…'].n"),
            ("$.aaaaaaaabbbbbbbbccccccccddddddddd", "$['…']"),
            ("$.a[b][12]", "$.a['…'][12]"),
        ] {
            assert_eq!(json_path(path), shown);
        }
    }

    #[test]
    fn models_of_the_rules_are_shown() {
        let mut count = 0;
        for vendor in ["anthropic", "openai"] {
            let path = format!("{}/../rules/models/{vendor}.toml", env!("CARGO_MANIFEST_DIR"));
            let rules: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
            let tables = ["pattern", "shutdown"].iter().filter_map(|key| rules[*key].as_array()).flatten();
            let lists = tables.flat_map(|table| ["examples", "models"].map(|key| table.get(key)));
            for id in lists.flatten().filter_map(toml::Value::as_array).flatten().filter_map(toml::Value::as_str) {
                assert_eq!(identifier(id), id);
                count += 1;
            }
        }
        assert!(count > 50, "{count}");
    }

    /// Against every id in the recorded exchanges' index.
    #[test]
    fn recorded_models_are_shown() {
        let folder = std::env::var("OUTFLOW_EXCHANGES").unwrap_or_else(|_| "../../shared/exchanges".to_owned());
        let Ok(index) = std::fs::read_to_string(std::path::Path::new(&folder).join("index.jsonl")) else {
            assert!(std::env::var_os("OUTFLOW_REQUIRE_EXCHANGES").is_none(), "no index.jsonl in {folder}");
            println!("skipped: no recorded exchanges in {folder}");
            return;
        };
        let mut count = 0;
        for line in index.lines() {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            for model in ["request_model", "response_model"].iter().filter_map(|key| entry[key].as_str()) {
                assert_eq!(identifier(model), model);
                count += 1;
            }
        }
        assert!(count > 100, "{count}");
    }
}
