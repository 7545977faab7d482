//! Compares model ids of different spelling. Enters: an id as a vendor or client writes it. Leaves: whether two name the same
//! model. Pure; it knows how ids are built (anchors-llm §2.3), not which models exist.

/// Words that make another, smaller or larger model of the one before them.
const SIZES: [&str; 8] = ["mini", "nano", "micro", "lite", "small", "medium", "large", "tiny"];

/// Words that promise no model in particular.
const POINTERS: [&str; 4] = ["latest", "auto", "default", "router"];

/// Words that may come and go without the model being another.
const STAGES: [&str; 4] = ["preview", "exp", "experimental", "beta"];

/// Regions that Bedrock puts before an id (cross-region inference profiles).
const REGIONS: [&str; 8] = ["us.", "us-gov.", "eu.", "apac.", "au.", "jp.", "ca.", "global."];

/// What an id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The id without case, path, region, routing suffix.
    pub(super) id: String,
    /// Words of the name, without date and stage.
    words: Vec<String>,
    /// Digits of the date or snapshot number, empty when there is none.
    snapshot: String,
    /// It only points somewhere.
    pointer: bool,
}

impl Identity {
    pub(super) fn of(raw: &str) -> Self {
        let id = plain_id(raw);
        // A fine-tuned model is its own: `ft:base:org::id` is compared as one word.
        if id.starts_with("ft:") {
            return Self { words: vec![id.clone()], snapshot: id.clone(), pointer: false, id };
        }
        let spelled = id.replace("gpt-35", "gpt-3.5").replace("chatgpt", "gpt");
        let mut words: Vec<String> = Vec::new();
        let mut snapshot = String::new();
        let tokens: Vec<&str> = spelled.split(['-', '.', '_', ':']).filter(|token| !token.is_empty()).collect();
        let mut rest = tokens.as_slice();
        while let [token, after @ ..] = rest {
            let (date, used) = date_at(token, after);
            if used > 0 {
                snapshot = date;
                rest = rest.get(used..).unwrap_or_default();
                continue;
            }
            let revision = after.is_empty() && token.strip_prefix('v').is_some_and(is_number);
            if !revision && !STAGES.contains(token) && !POINTERS.contains(token) {
                words.extend(family_and_version(token));
            }
            rest = after;
        }
        // `claude-sonnet-4-0` is `claude-sonnet-4`.
        if words.last().is_some_and(|word| word == "0") {
            words.pop();
        }
        words.sort_unstable();
        let pointer = is_opaque_arn(raw) || tokens.iter().any(|token| POINTERS.contains(token));
        Self { id, words, snapshot, pointer }
    }

    /// It carries a date or a snapshot number.
    pub(super) fn is_snapshot(&self) -> bool {
        !self.snapshot.is_empty()
    }

    /// It says which model it wants: a version, and not just the newest.
    pub(super) fn names_a_model(&self) -> bool {
        !self.pointer
            && (self.is_snapshot() || self.words.iter().any(|word| word.bytes().any(|byte| byte.is_ascii_digit())))
    }
}

/// Whether `more` is `less` with its date or snapshot number: `gpt-5-mini-2025-08-07` and `gpt-5-mini`, both plain ids. A vendor that
/// answers now with the one, now with the other changed nothing.
pub(super) fn names_the_snapshot_of(more: &str, less: &str) -> bool {
    let rest = more.strip_prefix(less).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    digits >= 3 && rest.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

/// Whether `answered` can be what `asked` names: the words of one are among the words of the other, no size among the rest,
/// and snapshots written alike are equal.
pub(super) fn is_same_model(asked: &Identity, answered: &Identity) -> bool {
    let alike = asked.is_snapshot() && asked.snapshot.len() == answered.snapshot.len();
    if alike && asked.snapshot != answered.snapshot {
        return false;
    }
    let (missing, added) = (difference(&asked.words, &answered.words), difference(&answered.words, &asked.words));
    (missing.is_empty() || added.is_empty()) && !missing.iter().chain(&added).any(|word| SIZES.contains(&word.as_str()))
}

/// Amazon's name of something that its owner can point at any model: an application's profile, provisioned or imported weights.
fn is_opaque_arn(raw: &str) -> bool {
    raw.starts_with("arn:") && ![":foundation-model/", ":inference-profile/"].iter().any(|kind| raw.contains(kind))
}

/// `llama3` is `llama-3`; `o3`, `v4` and `4o` are words of their own.
fn family_and_version(token: &str) -> impl Iterator<Item = String> {
    let family = token.trim_end_matches(|c: char| c.is_ascii_digit());
    let splits = family.len() >= 3 && family.bytes().all(|byte| byte.is_ascii_alphabetic());
    let (family, version) = if splits { token.split_at(family.len()) } else { (token, "") };
    [family, version].into_iter().filter(|part| !part.is_empty()).map(str::to_owned)
}

/// Words of `a` that are not in `b`, each as often as it is there too many.
fn difference(a: &[String], b: &[String]) -> Vec<String> {
    let mut others = b.to_vec();
    a.iter()
        .filter(|word| match others.iter().position(|other| other == *word) {
            Some(index) => {
                others.swap_remove(index);
                false
            }
            None => true,
        })
        .cloned()
        .collect()
}

/// The id without case, path, region and routing suffix: what two spellings of one id have in common.
pub(in crate::detectors) fn plain_id(raw: &str) -> String {
    let lower = raw.trim().to_lowercase().replace('@', "-");
    if lower.starts_with("ft:") {
        return lower;
    }
    // `models/x`, `publishers/google/models/x`, `org/x`
    let mut id = lower.rsplit('/').next().unwrap_or_default();
    for region in REGIONS {
        if let Some(rest) = id.strip_prefix(region).filter(|rest| rest.contains('.')) {
            // Behind a region stands the maker: `eu.anthropic.claude-…`.
            id = rest.split_once('.').map_or(rest, |(_, model)| model);
        }
    }
    // `-v1:0` of Bedrock; `:free`, `:nitro` of routers; but `davinci:2023-07-21-v2` is part of the name.
    if let Some((name, suffix)) = id.rsplit_once(':') {
        if is_number(suffix) {
            id = name.rsplit_once("-v").filter(|(_, number)| is_number(number)).map_or(name, |(name, _)| name);
        } else if !suffix.starts_with(|first: char| first.is_ascii_digit()) {
            id = name;
        }
    }
    id.to_owned()
}

/// The date or snapshot number that starts with `token`, as digits, and how many tokens it takes: `2024 08 06`, `20250929`,
/// `0613`, `2512`, `03 25`, `002`.
fn date_at(token: &str, after: &[&str]) -> (String, usize) {
    let two = |token: Option<&&str>| token.is_some_and(|token| token.len() == 2 && is_number(token));
    match token.len() {
        _ if !is_number(token) => (String::new(), 0),
        4 if token.starts_with("20") && two(after.first()) && two(after.get(1)) => {
            let rest: String = after.iter().take(2).copied().collect();
            (format!("{token}{rest}"), 3)
        }
        3 | 4 | 8 => (token.to_owned(), 1),
        2 if two(after.first()) => (format!("{token}{}", after.first().unwrap_or(&"")), 2),
        _ => (String::new(), 0),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_model_are_one_model() {
        let cases = [
            (["llama3.3-70b", "llama-3.3-70b"], true),
            (["publishers/google/models/gemini-2.5-pro", "models/gemini-2.5-pro"], true),
            (["claude-sonnet-4@20250514", "claude-sonnet-4-20250514"], true),
            (["gpt-4o", "gpt-4o:extended"], true),
            (["gpt-4o-2024-08-06", "gpt-4o-2024-05-13"], false),
            (["llama-3.1-8b", "llama-3.3-70b"], false),
            (["o3", "o3-mini"], false),
            (["ft:gpt-4o:a::1", "ft:gpt-4o:a::2"], false),
        ];
        for ([one, other], same) in cases {
            assert_eq!(is_same_model(&Identity::of(one), &Identity::of(other)), same, "{one} {other}");
        }
    }

    #[test]
    fn an_id_with_its_snapshot_is_that_id() {
        for (more, less, expected) in [
            ("gpt-5-mini-2025-08-07", "gpt-5-mini", true),
            ("gpt-4-0613", "gpt-4", true),
            ("claude-sonnet-4-20250514", "claude-sonnet-4", true),
            ("claude-sonnet-4-5", "claude-sonnet-4", false),
            ("gpt-5-mini", "gpt-5-mini", false),
            ("gpt-5-mini", "gpt-5-mini-2025-08-07", false),
            ("gemini-2.5-pro-preview-03-25", "gemini-2.5-pro", false),
            ("gpt-4o-mini-2024-07-18", "gpt-4o", false),
        ] {
            assert_eq!(names_the_snapshot_of(more, less), expected, "{more} {less}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_the_same_model_as_itself(id in "\\PC{0,40}|[a-z0-9:./@_-]{0,40}", case in any::<bool>()) {
            let again = if case { id.to_ascii_uppercase() } else { format!(" {id} ") };
            prop_assert!(is_same_model(&Identity::of(&id), &Identity::of(&again)));
        }
    }
}
