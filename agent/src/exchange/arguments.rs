//! What a tool was called with. Enters: the arguments of a call, an object or a text that is one. Leaves: a digest of their
//! canonical form: members by name, spacing and escapes undone, and without what differs from try to try (when it was asked,
//! ids of the request, names of temporary files). It holds no text.
//!
//! What differs is told by its name *and* its look. By look alone, two orders with a UUID each would be one order, and an agent
//! that works through a list would be one that goes round in circles.

use std::hash::Hasher as _;

use twox_hash::XxHash64;

use super::{
    json::{self, Ended},
    quoted::Input,
    strings::Unwanted,
    tape::{Node, Tape},
    tool_results::{Mode, hash, tagged, walk},
};

/// Longest text of arguments that is read as JSON; longer ones are compared as they are.
pub(super) const ARGUMENTS_BYTES: usize = 4096;

/// Words in the name of an argument that differs from try to try.
const FLEETING_WORDS: [&str; 10] =
    ["nonce", "timestamp", "trace", "span", "correlation", "idempotency", "request_id", "requestid", "_at", "seed"];
/// Whole names of such.
const FLEETING_NAMES: [&str; 7] = ["ts", "now", "uuid", "run_id", "call_id", "current_time", "time_now"];
/// Folders for files that nobody keeps.
const TEMPORARY: [&str; 5] = ["/tmp/", "/var/tmp/", "/var/folders/", "/private/var/folders/", "/private/tmp/"];
/// Seconds since 1970 between 2001 and 2603, and the same in milliseconds, microseconds and nanoseconds.
const EPOCH_DIGITS: [usize; 4] = [10, 13, 16, 19];
/// So many hexadecimal digits are an id.
const ID_DIGITS: usize = 16;

/// The digest of a call's arguments; of none at all when there are none.
pub(super) fn digest(arguments: Option<Node<'_>>) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    if let Some(arguments) = arguments {
        canonical(arguments, &mut hasher);
    }
    hasher.finish()
}

/// The same of arguments that came as a text.
pub(super) fn digest_of_text(text: &str) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    if !is_none(text) && !canonical_text(text, &mut hasher) {
        tagged(&mut hasher, b's', hash(text.as_bytes()));
    }
    hasher.finish()
}

fn canonical(arguments: Node<'_>, hasher: &mut XxHash64) {
    let is_empty = arguments.is_null() || (arguments.is_object() && arguments.below().next().is_none());
    let text = arguments.beginning().filter(|(_, is_whole)| *is_whole).map(|(text, _)| text);
    if is_empty || text.is_some_and(is_none) {
        return;
    }
    if !text.is_some_and(|text| canonical_text(text, hasher)) {
        walk(arguments, 0, Mode::Arguments, hasher);
    }
}

/// False: it is no JSON, or too long to be read.
fn canonical_text(text: &str, hasher: &mut XxHash64) -> bool {
    if text.len() > ARGUMENTS_BYTES || !json::looks_like_json(text.as_bytes()) {
        return false;
    }
    let mut tape = Tape::of_all(ARGUMENTS_BYTES);
    let is_whole = json::tape(Input::Text(text), "", &mut tape, &mut Unwanted) == Some(Ended::Whole);
    let Some(root) = tape.root().filter(|_| is_whole) else { return false };
    walk(root, 0, Mode::Arguments, hasher);
    true
}

fn is_none(text: &str) -> bool {
    matches!(text.trim_ascii(), "" | "{}" | "null")
}

/// Whether an argument differs from try to try.
pub(super) fn is_fleeting(argument: Node<'_>) -> bool {
    let name = argument.key();
    if name.is_empty() || !is_fleeting_name(name) {
        return false;
    }
    if let Some(number) = argument.as_number() {
        return number.as_u64().is_some() || number.as_f64().is_some();
    }
    argument.as_str().is_some_and(is_fleeting_text)
}

fn is_fleeting_name(name: &str) -> bool {
    let has = |word: &&str| name.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    FLEETING_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)) || FLEETING_WORDS.iter().any(has)
}

/// A point in time, or an id that somebody drew.
fn is_fleeting_text(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let is_epoch = digits == text.len() && EPOCH_DIGITS.contains(&digits);
    let is_time = text.get(4..5) == Some("-") && text.get(7..8) == Some("-") && text.contains(':');
    is_epoch || is_time || is_drawn(text)
}

/// A UUID, or hexadecimal digits in other groups.
fn is_drawn(text: &str) -> bool {
    let hexadecimal = text.bytes().filter(u8::is_ascii_hexdigit).count();
    hexadecimal >= ID_DIGITS
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_'))
}

/// The path of a file below a folder that a program made for itself, with a name that nobody chose: what is before that name and
/// behind it.
pub(super) fn around_temporary(text: &str) -> Option<(&str, &str)> {
    let folder = TEMPORARY.iter().find(|folder| text.starts_with(**folder))?;
    let rest = text.get(folder.len()..)?;
    let mut start = folder.len();
    for name in rest.split('/') {
        let end = start + name.len();
        if is_drawn_name(name) {
            return text.get(..start).zip(text.get(end..));
        }
        start = end + 1;
    }
    None
}

/// `tmpab12cd34` (Python), `build.Xk29fQ` (mktemp), `run-1f2e…`, a UUID.
fn is_drawn_name(name: &str) -> bool {
    let python = name.strip_prefix("tmp").is_some_and(|drawn| drawn.len() >= 6 && !drawn.starts_with(['-', '_', '.']));
    let is_mixed = |drawn: &str| {
        drawn.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && drawn.bytes().any(|byte| byte.is_ascii_uppercase())
            && drawn.bytes().any(|byte| byte.is_ascii_lowercase())
    };
    let mktemp = name.rsplit_once('.').is_some_and(|(_, drawn)| drawn.len() >= 6 && is_mixed(drawn));
    let behind = name.rsplit_once(['-', '_']).is_some_and(|(_, drawn)| is_drawn(drawn));
    python || mktemp || behind || is_drawn(name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(arguments: &Value) -> u64 {
        let text = json!({"list": [{"call": {"arguments": arguments}}]}).to_string();
        let mut tape = Tape::of_all(256);
        json::tape(Input::Text(&text), "", &mut tape, &mut Unwanted);
        digest(tape.root().and_then(|root| root.get("list")?.below().next()?.get("call")?.get("arguments")))
    }

    #[test]
    fn what_means_the_same_has_one_digest() {
        let long = "x".repeat(600);
        for (one, other) in [
            (json!({"a":1,"b":["x","y"]}), json!({"b":["x","y"],"a":1})),
            (json!({"a":1,"b":["x","y"]}), json!("{ \"b\" : [\"x\", \"y\"], \"a\":1 }")),
            (json!({"q": long}), json!(format!("{{\"q\":\"{long}\"}}"))),
            (json!({}), json!("")),
            (json!({}), json!("{}")),
            (json!({}), Value::Null),
            (json!({"q":"x","timestamp":"2026-11-23T00:00:00Z"}), json!({"q":"x","timestamp":"2026-11-23T00:00:07Z"})),
            (json!({"q":"x","ts":1_795_392_000}), json!({"q":"x","ts":1_795_392_007})),
            (
                json!({"q":"x","request_id":"0f8fad5b-d9cb-469f-a165-70867728950e"}),
                json!({"q":"x","request_id":"7c9e6679-7425-40de-944b-e07fc1f90ae7"}),
            ),
            (json!({"path":"/tmp/tmpab12cd34/out.txt"}), json!({"path":"/tmp/tmpzz98yy76/out.txt"})),
            (json!({"path":"/tmp/build.Xk29fQ/a"}), json!({"path":"/tmp/build.9fQQk2/a"})),
        ] {
            assert_eq!(of(&one), of(&other), "{one} {other}");
        }
    }

    #[test]
    fn what_does_not_has_two() {
        for (one, other) in [
            (json!({"a":1}), json!({"a":2})),
            (json!({"a":["x","y"]}), json!({"a":["x","z"]})),
            (json!({"a":["x","y"]}), json!({"a":["y","x"]})),
            (json!({"a":[1,2]}), json!({"a":[1,3]})),
            (json!("{\"a\":[1,2]}"), json!("{\"a\":[1,3]}")),
            // Two things, each with an id or a day of its own.
            (
                json!({"order":"0f8fad5b-d9cb-469f-a165-70867728950e"}),
                json!({"order":"7c9e6679-7425-40de-944b-e07fc1f90ae7"}),
            ),
            (json!({"slot":"2026-11-23T10:00:00Z"}), json!({"slot":"2026-11-23T11:00:00Z"})),
            (json!({"timestamp":"first"}), json!({"timestamp":"second"})),
            (json!({"path":"/tmp/a.txt"}), json!({"path":"/tmp/b.txt"})),
            (json!({"path":"/tmp/report_2025.pdf"}), json!({"path":"/tmp/report_2026.pdf"})),
            (json!({"path":"/tmp/tmpab12cd34/out.txt"}), json!({"path":"/tmp/tmpab12cd34/in.txt"})),
            (json!({"path":"/home/build.Xk29fQ/a"}), json!({"path":"/home/build.9fQQk2/a"})),
            (json!("not JSON"), json!("not JSON either")),
            (json!("{\"a\":"), json!("{\"b\":")),
        ] {
            assert_ne!(of(&one), of(&other), "{one} {other}");
        }
    }
}
