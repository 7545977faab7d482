//! Model ids in source code and configuration. Enters: a block of such a file. Leaves: [`Mention`]s of ids that can change under
//! whoever uses them: aliases, previews, what follows the newest. It knows no id: the rules do; it only knows how people write down which
//! model they want. Pinned ids and ids that no rule knows are no news, unless they end in `latest`. It holds no state.

use std::{ops::Range, sync::LazyLock};

use regex::bytes::{Captures, Regex};

use crate::{
    rules::{ModelRules, models::Pin},
    units::{Severity, Timestamp},
};

/// Endings of names of files that hold code or configuration.
const ENDINGS: [&str; 56] = [
    "bash",
    "c",
    "cc",
    "cfg",
    "cjs",
    "clj",
    "conf",
    "cpp",
    "cs",
    "dart",
    "env",
    "ex",
    "exs",
    "fs",
    "go",
    "gradle",
    "h",
    "hcl",
    "hpp",
    "ini",
    "ipynb",
    "java",
    "jl",
    "js",
    "json",
    "json5",
    "jsonc",
    "jsx",
    "kt",
    "kts",
    "lua",
    "mjs",
    "mts",
    "php",
    "pl",
    "properties",
    "ps1",
    "py",
    "pyi",
    "r",
    "rb",
    "rs",
    "scala",
    "sh",
    "svelte",
    "swift",
    "tf",
    "tfvars",
    "toml",
    "ts",
    "tsx",
    "vue",
    "xml",
    "yaml",
    "yml",
    "zsh",
];
/// Names, and beginnings of names, of such files without an ending.
const NAMES: [&str; 6] = [".env", "Containerfile", "Dockerfile", "Jenkinsfile", "Makefile", "Procfile"];

/// Ids that one list is read for.
const LIST_MAX: usize = 64;

/// A model id that can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention<'a> {
    /// The id as it is written, with a provider before it when there is one.
    pub id: &'a str,
    /// Where it stands, bytes.
    pub span: Range<usize>,
    /// How firmly it names a model.
    pub pin: Pin,
    /// How grave that is.
    pub severity: Severity,
    /// Why, one sentence.
    pub note: &'a str,
    /// Addresses of the documents that say so.
    pub references: &'a [String],
}

/// Is this a file of code or configuration, by its name?
pub fn is_code(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    NAMES.iter().any(|start| name.starts_with(start))
        || name.rsplit_once('.').is_some_and(|(_, ending)| {
            let ending = ending.to_ascii_lowercase();
            ENDINGS.binary_search(&ending.as_str()).is_ok()
        })
}

/// `model = "…"` in all the ways in which languages and formats write it: a key that holds the word `model`, or a function that makes
/// one, then punctuation, then the id. `OPENAI_MODEL", "gpt-4o"` is a default; `--model x` and `ENV X_MODEL x` need no punctuation.
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let punctuation = r#"[\s\\"'`\])}]{0,6}(?:::?\s{0,4}(?:str|string|String|&str|Optional\[str\])\s{0,4}=|=>|:=|:-|\|\||\?\?|[=:,(\[{])[\s\\"'`(\[{]{0,40}"#;
    let bare = r"(?:--model[_-]?(?:name|id)?|ENV\s{1,4}[A-Z0-9_]{0,40}MODEL(?:_NAME|_ID)?)\s{1,4}";
    let key = r"(?i:[a-z0-9_.-]{0,40}models?(?:[_-]?(?:name|id|list|default))?|\bengine|\b(?:chat)?(?:openai|anthropic)|\bagent|\bllm)";
    Regex::new(&format!(r#"(?:{key}{punctuation}|{bare}["'`]?)(?P<id>{ID})"#)).ok()
});

/// What an id is made of; the first character is none of those that stand between.
const ID: &str = r"[A-Za-z0-9][A-Za-z0-9._:/@-]{2,119}";

/// The next item of a list.
static NEXT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r#"^[\s\\"'`]{{0,6}},[\s\\"'`]{{0,40}}(?P<id>{ID})"#)).ok());

/// Emits the ids in `text` that can change, at the time `at`, by position.
pub fn look<'a>(rules: &'a ModelRules, text: &'a [u8], at: Timestamp, emit: &mut dyn FnMut(Mention<'a>)) {
    let (Some(named), Some(next)) = (NAMED.as_ref(), NEXT.as_ref()) else { return };
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| named.captures(rest)) {
        let Some(mut span) = id_of(&found, from) else { return };
        // What is no id may be the key of one: `ChatOpenAI(model="…")`. It begins behind a key, so this goes on.
        from = span.start;
        for _ in 0..LIST_MAX {
            if let Some(mention) = judge(rules, text, span.clone(), at) {
                from = mention.span.end;
                emit(mention);
            }
            let following = text.get(span.end..).and_then(|rest| next.captures(rest));
            match following.and_then(|found| id_of(&found, span.end)) {
                Some(item) => span = item,
                None => break,
            }
        }
    }
}

fn id_of(found: &Captures<'_>, from: usize) -> Option<Range<usize>> {
    found.name("id").map(|id| id.start() + from..id.end() + from)
}

fn judge<'a>(rules: &'a ModelRules, text: &'a [u8], mut span: Range<usize>, at: Timestamp) -> Option<Mention<'a>> {
    let id = std::str::from_utf8(text.get(span.clone())?).ok()?;
    // The end of a sentence or of a pair is no part of a name.
    let id = id.trim_end_matches(['.', ':', '/', '-', '@', '_']);
    span.end = span.start + id.len();
    // What goes on is another name: a path, a call, a word with a space behind it.
    if matches!(text.get(span.end), Some(b'(' | b'$' | b'{' | b'<' | b'*' | b'+')) {
        return None;
    }
    let mut changes = None;
    for (part, vendor) in readings(rules, id) {
        let class = rules.classify(vendor, part, at);
        match class.pin {
            Pin::Pinned | Pin::Opaque | Pin::Unpinnable => return None,
            Pin::Alias | Pin::Latest | Pin::Preview if changes.is_none() => changes = Some(class),
            _ => {}
        }
    }
    if let Some(class) = changes {
        let (pin, severity) = (class.pin, class.severity);
        return Some(Mention { id, span, pin, severity, note: class.note, references: class.references });
    }
    let lower = id.to_ascii_lowercase();
    let is_latest = lower.ends_with("-latest") || lower.ends_with(":latest");
    is_latest.then_some(Mention {
        id,
        span,
        pin: Pin::Latest,
        severity: Severity::High,
        note: "The id says that it follows the newest model.",
        references: &[],
    })
}

/// In which ways an id can be read: as its vendor's, when a client library's word for the vendor stands before it (`azure/x`,
/// `openai:x`), else as that of each vendor whose ids one knows by sight.
fn readings<'a>(rules: &'a ModelRules, id: &'a str) -> Vec<(&'a str, &'a str)> {
    let behind = |separator| id.split_once(separator);
    let named = [behind('/'), behind(':')]
        .into_iter()
        .flatten()
        .find_map(|(prefix, rest)| Some((rest, rules.vendor_of_prefix(prefix)?)));
    if let Some(named) = named {
        return vec![named];
    }
    let parts = [Some(id), behind('/').map(|(_, rest)| rest), behind(':').map(|(_, rest)| rest)];
    let last = id.rsplit_once('/').map(|(_, rest)| rest);
    let parts = parts.into_iter().chain([last]).flatten();
    parts.flat_map(|part| rules.bare_vendors().iter().map(move |vendor| (part, &**vendor))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleSource;

    static RULES: LazyLock<ModelRules> = LazyLock::new(|| ModelRules::load(&RuleSource::Embedded).unwrap());

    fn ids(text: &str) -> Vec<(String, Pin)> {
        let mut ids = Vec::new();
        look(&RULES, text.as_bytes(), Timestamp(1_795_600_000_000_000_000), &mut |mention| {
            assert_eq!(&text[mention.span.clone()], mention.id);
            ids.push((mention.id.to_owned(), mention.pin));
        });
        ids
    }

    #[test]
    fn ids_are_found_however_they_are_written() {
        for (text, expected) in [
            (r#"client.create(model="gpt-4o", n=1)"#, &["gpt-4o"][..]),
            (r#"{"model": "gpt-4o", "n": 1}"#, &["gpt-4o"]),
            (r#"{\"model\": \"gpt-4o\"}"#, &["gpt-4o"]),
            ("model: gpt-4o\n", &["gpt-4o"]),
            ("  model: openai/gpt-4o # LiteLLM", &["openai/gpt-4o"]),
            ("model_name: 'gpt-4o'", &["gpt-4o"]),
            ("OPENAI_MODEL=gpt-4o", &["gpt-4o"]),
            ("export LLM_MODEL_NAME=\"gpt-4o\"", &["gpt-4o"]),
            (r#"ChatOpenAI(model_name="gpt-4o", temperature=0)"#, &["gpt-4o"]),
            (r#"ChatOpenAI("gpt-4o")"#, &["gpt-4o"]),
            (r#"init_chat_model("gpt-4o", model_provider="openai")"#, &["gpt-4o"]),
            ("Agent('openai:gpt-4o', tools=[])", &["openai:gpt-4o"]),
            (r#"os.getenv("OPENAI_MODEL", "gpt-4o")"#, &["gpt-4o"]),
            (r#"process.env.OPENAI_MODEL || "gpt-4o""#, &["gpt-4o"]),
            ("process.env.MODEL ?? 'gpt-4o'", &["gpt-4o"]),
            ("${OPENAI_MODEL:-gpt-4o}", &["gpt-4o"]),
            ("DEFAULT_MODEL: str = 'gpt-4o'", &["gpt-4o"]),
            ("const MODEL: &str = \"gpt-4o\";", &["gpt-4o"]),
            ("llm --model gpt-4o 'hello'", &["gpt-4o"]),
            ("ENV OPENAI_MODEL gpt-4o", &["gpt-4o"]),
            (r#"model => "gpt-4o""#, &["gpt-4o"]),
            (r#"model := "gpt-4o""#, &["gpt-4o"]),
            (r#"generateText({ model: openai("gpt-4o") })"#, &["gpt-4o"]),
            (r#"models = ["gpt-4o", "gpt-4o-2024-08-06", "gpt-4.1"]"#, &["gpt-4o", "gpt-4.1"]),
            ("model: claude-sonnet-4-latest", &["claude-sonnet-4-latest"]),
            ("model: mistral-large-latest", &["mistral-large-latest"]),
            ("model: \"ollama/llama3:latest\"", &["ollama/llama3:latest"]),
            ("model: vertex_ai/gemini-2.0-flash", &["vertex_ai/gemini-2.0-flash"]),
            ("model: openrouter/openai/gpt-5-mini", &["openrouter/openai/gpt-5-mini"]),
            ("model: mistral/mistral-small", &["mistral/mistral-small"]),
            ("model: google/gemini-2.5-pro-preview-03-25", &["google/gemini-2.5-pro-preview-03-25"]),
            ("model: xai/grok-4", &["xai/grok-4"]),
            ("model: grok-latest", &["grok-latest"]),
            ("model: claude-sonnet-latest", &["claude-sonnet-latest"]),
        ] {
            let found: Vec<String> = ids(text).into_iter().map(|(id, _)| id).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_change_or_is_no_model_is_no_news() {
        for text in [
            r#"model="gpt-4o-2024-08-06""#,
            r#"model: "claude-opus-5-5""#,
            "model: azure/gpt-4o",
            "model: azure_ai/deepseek-chat",
            "model: bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "model: gemini/gemini-2.5-flash",
            "model: gemini-2.5-flash",
            "model: groq/llama-3.3-70b-versatile",
            "model: openrouter/meta-llama/llama-3.1-70b-instruct",
            // Names of weights that somebody runs at home.
            "model: mistral-small",
            "model: meta-llama/Llama-3.1-8B-Instruct",
            "model: mistralai/Mistral-7B-Instruct-v0.3",
            "model: openai/gpt-oss-20b",
            "model: google/gemma-3-27b-it",
            "model: acme-forecast-beta",
            "model: acme-forecast-preview",
            "model: acme-exp-7",
            "model: sentence-transformers/all-MiniLM-L6-v2",
            "model: qwen3-max",
            "model: command-r",
            "model: llama3",
            "model: ollama/llama3.1",
            "model: deepseek-r1:8b",
            "model: my-own-model",
            "image: postgres:latest",
            "# the model gpt-4o answers",
            "the gpt-4o model",
            "model = make_model(x)",
            "car_model: corolla-latest-edition",
            "",
        ] {
            assert_eq!(ids(text), [], "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(
            parts in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::prelude::Just(b"model=".to_vec()),
                    proptest::prelude::Just(b"\"gpt-4o\", ".to_vec()),
                    proptest::prelude::Just("x-latest\u{e9}".into()),
                    proptest::collection::vec(proptest::prelude::any::<u8>(), 0..20),
                ],
                0..30,
            ),
        ) {
            let text = parts.concat();
            let mut at = 0;
            look(&RULES, &text, Timestamp(0), &mut |mention| {
                assert!(mention.span.start >= at && mention.span.end <= text.len());
                assert_eq!(&text[mention.span.clone()], mention.id.as_bytes());
                at = mention.span.end;
            });
        }
    }

    #[test]
    fn classes_come_from_the_rules() {
        assert_eq!(ids("model=chatgpt-4o-latest"), [("chatgpt-4o-latest".to_owned(), Pin::Latest)]);
        assert_eq!(ids("model=gpt-4o"), [("gpt-4o".to_owned(), Pin::Alias)]);
    }

    #[test]
    fn code_is_told_by_its_name() {
        assert!(ENDINGS.is_sorted());
        for (path, expected) in [
            ("src/app.py", true),
            ("a/b/.env", true),
            (".env.production", true),
            ("Dockerfile.dev", true),
            ("config/litellm.YAML", true),
            ("app.log", false),
            ("calls.jsonl", false),
            ("<stdin>", false),
            ("README.md", false),
            ("env", false),
        ] {
            assert_eq!(is_code(path), expected, "{path}");
        }
    }
}
