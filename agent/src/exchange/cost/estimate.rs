//! Tokens of a call that nobody counted. Enters: an exchange that reports no usage. Leaves: how many tokens its texts are, and how
//! far off that may be; or nothing, where there is more than text, or not all of it was seen. It never counts where the vendor did.
//!
//! The vocabularies (feature `estimate`: o200k and cl100k, 1.2 MB in the binary) are unpacked at the first count, which takes about
//! 150 ms and 25 MB, and stay. Of a longer text the first [`COUNTED_BYTES`] are counted and the rest is taken to be like them, so that
//! a count is bounded in time. Factors and their spread were measured on 680 replies (`notes/anchors-llm.md`, section 6).

use crate::exchange::{Api, Exchange, Leaves, Usage};

/// Text that is counted; 89 MB a second were measured.
const COUNTED_BYTES: usize = 1 << 20;
/// What a message costs beside its text: its role and its ends.
const TOKENS_PER_MESSAGE: u64 = 4;

/// Members of a request that hold what the model reads, by the beginning of their path.
const ASKED: [&str; 14] = [
    "$.messages",
    "$.input",
    "$.instructions",
    "$.system",
    "$.contents",
    "$.prompt",
    "$.tools",
    "$.functions",
    "$.message",
    "$.chat_history",
    "$.preamble",
    "$.toolConfig",
    "$.response_format",
    "$.documents",
];
/// Members of an answer that hold what the model wrote.
const SAID: [&str; 10] = [
    "$.choices",
    "$.output",
    "$.content",
    "$.candidates",
    "$.message",
    "$.text",
    "$.generation",
    "$.results",
    "$.completion",
    "$.tool_calls",
];
/// Last members of a path that are not what the model reads or writes.
const BESIDE: [&str; 8] =
    [".role", ".id", ".type", ".finish_reason", ".finishReason", ".call_id", ".status", ".tool_call_id"];

/// Tokens that were counted from the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenEstimate {
    /// Of the request.
    pub input_tokens: u64,
    /// Of the answer.
    pub output_tokens: u64,
    /// How far off nine of ten estimates are at most, in percent.
    pub error_percent: u8,
}

impl TokenEstimate {
    /// Counts a call; `None` when the vendor counted, or when there is nothing to count by.
    pub(super) fn of(exchange: &Exchange) -> Option<Self> {
        let is_text = matches!(
            exchange.api,
            Api::ChatCompletions
                | Api::Completions
                | Api::Responses
                | Api::Messages
                | Api::GenerateContent
                | Api::Converse
                | Api::InvokeModel
                | Api::CohereChat
                | Api::Embeddings
        );
        let media = exchange.request_text.left_out_bytes > 0 || exchange.response_text.left_out_bytes > 0;
        let is_counted = exchange.usage != Usage::default();
        if !is_text || media || is_counted || !exchange.succeeded() || !exchange.view.complete {
            return None;
        }
        let model = exchange.response_model.as_deref().or(exchange.request_model.as_deref())?;
        let family = Family::of(model);
        let asked = family.count(&exchange.request_text, &ASKED)?;
        let messages = exchange.asking.items.unwrap_or(1).saturating_mul(TOKENS_PER_MESSAGE);
        Some(Self {
            input_tokens: asked.saturating_add(messages),
            output_tokens: family.count(&exchange.response_text, &SAID).unwrap_or(0),
            error_percent: family.error_percent,
        })
    }

    /// As if the vendor had said so.
    pub(super) fn usage(&self) -> Usage {
        Usage { input_tokens: Some(self.input_tokens), output_tokens: Some(self.output_tokens), ..Usage::default() }
    }
}

/// How the models of a maker count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Family {
    /// The older vocabulary of OpenAI.
    cl100k: bool,
    /// Tokens of the maker for a hundred of the vocabulary.
    percent: u64,
    error_percent: u8,
}

impl Family {
    fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        let has = |word: &str| model.contains(word);
        let is_newer = has("gpt-4o") || has("gpt-4.1") || has("gpt-4.5");
        let cl100k = has("gpt-3.5") || has("gpt-35") || has("text-embedding") || (has("gpt-4") && !is_newer);
        let (percent, error_percent) = match () {
            () if has("claude") => (if is_claude_from_4_7(&model) { 144 } else { 115 }, 15),
            () if has("gemini") => (103, 10),
            () if has("mistral") || has("mixtral") || has("ministral") => (108, 10),
            () if has("llama") => (106, 10),
            () if has("deepseek") => (102, 10),
            () if has("command") => (110, 25),
            () => (100, 10),
        };
        // Without a vocabulary four bytes are a token, for whomever.
        if cfg!(feature = "estimate") {
            Self { cl100k, percent, error_percent }
        } else {
            Self { cl100k, percent: 100, error_percent: 25 }
        }
    }

    fn count(self, leaves: &Leaves, members: &[&str]) -> Option<u64> {
        let is_meant = |path: &str| {
            members.iter().any(|member| path.starts_with(member)) && !BESIDE.iter().any(|end| path.ends_with(end))
        };
        let texts =
            || leaves.iter().filter(|(path, _)| is_meant(path)).filter_map(|(_, range)| leaves.text().get(range));
        let bytes: usize = texts().map(str::len).sum();
        if bytes == 0 {
            return None;
        }
        let (mut tokens, mut counted) = (0_u64, 0_usize);
        for text in texts() {
            let room = COUNTED_BYTES.saturating_sub(counted);
            if room == 0 {
                break;
            }
            let text = beginning(text, room);
            tokens = tokens.saturating_add(self.tokens(text));
            counted = counted.saturating_add(text.len());
        }
        let all = u128::from(tokens) * bytes as u128 * u128::from(self.percent);
        u64::try_from(all.div_ceil(100 * counted.max(1) as u128)).ok()
    }

    #[cfg(feature = "estimate")]
    fn tokens(self, text: &str) -> u64 {
        let vocabulary = if self.cl100k { "cl100k_base" } else { "o200k_base" };
        tiktoken::get_encoding(vocabulary).map_or_else(|| quarter(text), |encoding| encoding.count(text) as u64)
    }

    #[cfg(not(feature = "estimate"))]
    fn tokens(self, text: &str) -> u64 {
        quarter(text)
    }
}

/// Four characters are a token, more or less.
fn quarter(text: &str) -> u64 {
    text.chars().count().div_ceil(4) as u64
}

/// So many bytes of it at most, and whole characters.
fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// `claude-opus-4-7`, `claude-sonnet-5`: from these on a text has more tokens. Older names have the version in front.
fn is_claude_from_4_7(model: &str) -> bool {
    let name = model.split_once("claude-").map_or(model, |(_, name)| name);
    // Not numbers: names, and dates.
    let versions: Vec<u32> =
        name.split(['-', '.', '@', ':']).filter_map(|part| part.parse().ok()).filter(|n| *n < 100).collect();
    match versions.as_slice() {
        [major, minor, ..] => (*major, *minor) >= (4, 7),
        [major] => *major >= 5,
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::sample;

    const TEXT: &str = "The quick brown fox jumps over the lazy dog.";

    fn uncounted(model: &str) -> Exchange {
        let mut call = sample::exchange("openai", model);
        call.usage = Usage::default();
        call.asking.items = Some(2);
        call.request_text.push("$.model", model);
        call.request_text.push("$.messages[0].role", "user");
        call.request_text.push("$.messages[0].content", TEXT);
        call.request_text.push("$header.x-feature", &"search ".repeat(100));
        call.response_text.push("$.id", "chatcmpl-123");
        call.response_text.push("$.choices[0].message.content", TEXT);
        call
    }

    /// The sentence has ten tokens in both vocabularies (platform.openai.com/tokenizer), and 44 characters.
    #[test]
    fn text_is_counted_as_the_maker_would() {
        let cases = [
            ("gpt-4o-2024-08-06", 10 + 8, 10, 10),
            ("gpt-4-0613", 10 + 8, 10, 10),
            // 14.4 and 11.5, rounded up.
            ("claude-opus-4-7", 15 + 8, 15, 15),
            ("claude-sonnet-4-5-20250929", 12 + 8, 12, 15),
        ];
        for (model, input, output, percent) in cases {
            let (input, output, percent) =
                if cfg!(feature = "estimate") { (input, output, percent) } else { (11 + 8, 11, 25) };
            let expected = TokenEstimate { input_tokens: input, output_tokens: output, error_percent: percent };
            assert_eq!(TokenEstimate::of(&uncounted(model)), Some(expected), "{model}");
        }
    }

    #[test]
    fn what_was_counted_is_not_counted_again_and_what_is_no_text_not_at_all() {
        let mut counted = uncounted("gpt-4o");
        counted.usage.output_tokens = Some(1);
        let mut picture = uncounted("gpt-4o");
        picture.request_text.left_out_bytes = 10_000;
        let mut hole = uncounted("gpt-4o");
        hole.view.complete = false;
        let spoken = Exchange { api: Api::Speech, ..uncounted("tts-1") };
        let refused = Exchange { status: Some(429), ..uncounted("gpt-4o") };
        let silent = Exchange { request_text: Leaves::default(), ..uncounted("gpt-4o") };
        for exchange in [counted, picture, hole, spoken, refused, silent] {
            assert_eq!(TokenEstimate::of(&exchange), None);
        }
    }

    #[test]
    fn a_long_text_is_taken_to_be_like_its_beginning() {
        let mut long = uncounted("gpt-4o");
        long.request_text.push("$.messages[1].content", &format!("{TEXT} ").repeat(100_000));
        let estimate = TokenEstimate::of(&long).unwrap().input_tokens;
        assert!((950_000..1_200_000).contains(&estimate), "{estimate}");
    }

    #[test]
    fn claude_from_4_7_on_is_known_by_name() {
        for (model, expected) in [
            ("claude-opus-4-7", true),
            ("claude-sonnet-5", true),
            ("anthropic.claude-opus-4-8-v1:0", true),
            ("claude-opus-4.7", true),
            ("claude-sonnet-4-5-20250929", false),
            ("claude-3-5-haiku-20241022", false),
            ("claude-sonnet-4-20250514", false),
            ("claude-instant-v1", false),
        ] {
            assert_eq!(is_claude_from_4_7(model), expected, "{model}");
        }
    }
}
