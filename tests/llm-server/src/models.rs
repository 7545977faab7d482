//! Enters: the model that was asked for, and text. Leaves: the model that answers, and token counts.
//!
//! Resolved ids are the dated snapshots behind each moving name as the vendors documented them (OpenAI "Models" page,
//! Anthropic "Model ids and versions" page). The token rule is ours and simple: it only has to grow with the text.

/// Moving names and the snapshot that answers for them here.
const SNAPSHOTS: [(&str, &str); 18] = [
    ("gpt-3.5-turbo", "gpt-3.5-turbo-0125"),
    ("gpt-4", "gpt-4-0613"),
    ("gpt-4-turbo", "gpt-4-turbo-2024-04-09"),
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("gpt-4.1", "gpt-4.1-2025-04-14"),
    ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"),
    ("gpt-4.1-nano", "gpt-4.1-nano-2025-04-14"),
    ("gpt-5", "gpt-5-2025-08-07"),
    ("gpt-5-mini", "gpt-5-mini-2025-08-07"),
    ("o3", "o3-2025-04-16"),
    ("o4-mini", "o4-mini-2025-04-16"),
    ("claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219"),
    ("claude-sonnet-4-0", "claude-sonnet-4-20250514"),
    ("claude-opus-4-1", "claude-opus-4-1-20250805"),
    ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
    ("claude-haiku-4-5", "claude-haiku-4-5-20251001"),
    ("claude-opus-4-5", "claude-opus-4-5-20251101"),
];

/// The ids that answer for `model`: its snapshot when the name moves, else the name itself.
pub(crate) fn resolve(model: &str) -> &str {
    SNAPSHOTS.iter().find(|(moving, _)| *moving == model).map_or(model, |(_, snapshot)| snapshot)
}

/// The snapshots whose id starts with `prefix`, for the list of models.
pub(crate) fn snapshots(prefixes: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    let wanted = move |id: &&str| prefixes.iter().any(|prefix| id.starts_with(prefix));
    SNAPSHOTS.iter().map(|(_, snapshot)| *snapshot).filter(wanted)
}

/// Tokens of a text: one for each begun four characters.
pub(crate) fn tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(4) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_names_resolve_and_dated_ones_stay() {
        assert_eq!(resolve("gpt-4o"), "gpt-4o-2024-08-06");
        assert_eq!(resolve("gpt-4o-2024-05-13"), "gpt-4o-2024-05-13");
        assert_eq!(resolve("claude-sonnet-4-5"), "claude-sonnet-4-5-20250929");
        assert_eq!(resolve("nobody-knows-me"), "nobody-knows-me");
    }

    #[test]
    fn tokens_grow_with_the_text() {
        assert_eq!([tokens(""), tokens("a"), tokens("four"), tokens("fives"), tokens("äöüß")], [0, 1, 1, 2, 1]);
    }
}
