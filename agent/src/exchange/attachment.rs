//! Text files that travel as base64 inside JSON: Anthropic's document source (`data`), Gemini's `inlineData` (`data`), Bedrock's
//! document (`bytes`), OpenAI's `file_data`. Enters: a string and the key it stands under. Leaves: the text in it, if it is
//! one. What decodes to anything else is media and is not looked at here.
//!
//! The media type stands beside the string, before or after it, under a name that each vendor chose: so the bytes themselves
//! decide. No image, sound or ciphertext is UTF-8 without control characters past a few bytes.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Keys that hold files.
const KEYS: [&str; 3] = ["data", "bytes", "file_data"];
/// Shortest base64 that is tried: a shorter one may be a word.
const MIN_BYTES: usize = 24;
/// Longest base64 that is decoded.
const MAX_BYTES: usize = 8 << 20;
/// Base64 that is decoded to tell text from media; a multiple of 4.
const LOOK_BYTES: usize = 1024;

/// Some encoders leave the padding out.
const PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDING);
/// Google's libraries write the URL-safe alphabet.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDING);

/// Whether files stand under a key.
pub(super) fn is_key(key: &str) -> bool {
    KEYS.contains(&key)
}

/// The text of a file.
pub(super) fn text(key: &str, base64: &str) -> Option<String> {
    if !is_key(key) || !(MIN_BYTES..=MAX_BYTES).contains(&base64.len()) {
        return None;
    }
    let engine = if base64.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let start = base64.as_bytes().get(..base64.len().min(LOOK_BYTES))?;
    let look = engine.decode(start).ok()?;
    // A character may be cut at the end of the look, but nowhere else.
    let is_cut = start.len() < base64.len();
    let is_text = match std::str::from_utf8(&look) {
        Ok(text) => is_printable(text),
        Err(error) if is_cut && error.error_len().is_none() => {
            look.get(..error.valid_up_to()).and_then(|valid| str::from_utf8(valid).ok()).is_some_and(is_printable)
        }
        Err(_) => false,
    };
    if !is_text {
        return None;
    }
    String::from_utf8(engine.decode(base64).ok()?).ok()
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| !letter.is_control() || matches!(letter, '\t' | '\r' | '\n'))
}
