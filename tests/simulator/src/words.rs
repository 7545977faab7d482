//! Text without meaning. Enters: how long. Leaves: sentences of everyday words: nothing that a scanner for secrets or personal
//! data should find.

use crate::random::Random;

/// Most words of one text: bodies stay small, the reported tokens say how large they are meant to be.
pub(crate) const WORDS_MAX: u64 = 120;

const WORDS: [&str; 64] = [
    "order", "parcel", "window", "garden", "station", "report", "bridge", "market", "winter", "letter", "number",
    "table", "river", "engine", "paper", "signal", "branch", "summer", "office", "ticket", "button", "corner",
    "village", "method", "is", "was", "has", "gives", "takes", "moves", "shows", "needs", "keeps", "opens", "and",
    "with", "from", "into", "over", "under", "near", "after", "before", "because", "large", "small", "early", "late",
    "open", "quiet", "bright", "plain", "second", "other", "same", "every", "some", "one", "the", "a", "this", "that",
    "its", "not",
];

/// So many words, in sentences.
pub(crate) fn text(random: &mut Random, words: u64) -> String {
    let mut text = String::with_capacity(words as usize * 7);
    for index in 0..words.clamp(1, WORDS_MAX) {
        if index > 0 {
            text.push_str(if index % 12 == 0 { ". " } else { " " });
        }
        text.push_str(random.pick(&WORDS));
    }
    text.push('.');
    text
}

/// Text of about so many tokens.
pub(crate) fn of_tokens(random: &mut Random, tokens: u64) -> String {
    text(random, tokens * 3 / 4)
}

/// What a service tells the model before anything else: the same for the same label, and another one for another. Its first
/// 256 bytes differ as well.
pub(crate) fn system_prompt(service: &str, label: &str) -> String {
    let mut random = Random::new(0, &format!("{service}/{label}"));
    let topic = text(&mut random, 40);
    format!("You are the assistant of {service} ({label}). Answer in short sentences. {topic}")
}
