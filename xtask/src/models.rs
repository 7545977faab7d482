//! `cargo xtask models`: keeps `rules/models/shutdowns.toml` what LiteLLM's catalogue says about the ends of models. Enters: one file of one
//! release of that project, held to its hash. Leaves: a verdict, or the list anew. Nothing of the release is run or installed: its
//! wheel is fetched as a file and one JSON document is taken out.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::sh;

/// The release. Never 1.82.7, 1.82.8 (OSV MAL-2026-2144) or 1.107.x.
const VERSION: &str = "1.110.2";
/// In its wheel.
const JSON: &str = "litellm/model_prices_and_context_window_backup.json";
/// Of that file.
const JSON_SHA256: &str = "8943af58bf9f979c6a4bef815687117ffa341e462a41faed9be17b5c33d3dcc2";
const LIST: &str = "rules/models/shutdowns.toml";

/// LiteLLM's providers, the words that it puts before their ids, and whose ids these are in `rules/vendors`. Providers that no file there
/// knows are left out.
const PROVIDERS: [(&str, &str); 24] = [
    ("anthropic", "anthropic"),
    ("azure", "azure"),
    ("azure_ai", "azure"),
    ("baseten", "baseten"),
    ("bedrock", "aws_bedrock"),
    ("bedrock_converse", "aws_bedrock"),
    ("bedrock_mantle", "aws_bedrock_mantle"),
    ("cerebras", "cerebras"),
    ("codestral", "mistral"),
    ("databricks", "databricks"),
    ("deepseek", "deepseek"),
    ("fireworks_ai", "fireworks"),
    ("gemini", "gemini"),
    ("github_copilot", "github_copilot"),
    ("groq", "groq"),
    ("mistral", "mistral"),
    ("moonshot", "moonshotai"),
    ("openai", "openai"),
    ("scaleway", "scaleway"),
    ("text-completion-codestral", "mistral"),
    ("text-completion-openai", "openai"),
    ("together_ai", "together"),
    ("vertex_ai", "vertex_ai"),
    ("xai", "xai"),
];

/// By vendor, then by id: the day.
type Dates = BTreeMap<&'static str, BTreeMap<String, String>>;

/// Makes the list and compares; `write`: writes it anew.
pub(crate) fn run(write: bool) -> Result<()> {
    let wanted = list(&dates(&serde_json::from_str(&fetched()?)?));
    let file = sh::workspace().join(LIST);
    if write {
        return fs::write(&file, wanted).with_context(|| format!("cannot write {LIST}"));
    }
    if fs::read_to_string(&file).with_context(|| format!("cannot read {LIST}"))? != wanted {
        bail!("{LIST} is not what LiteLLM {VERSION} says: cargo xtask models --write");
    }
    println!("{LIST} is what LiteLLM {VERSION} says");
    Ok(())
}

fn fetched() -> Result<String> {
    let folder = sh::target_dir().join("xtask-models");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let json = folder.join(Path::new(JSON).file_name().unwrap_or_default());
    if digest(&json).is_none_or(|digest| digest != JSON_SHA256) {
        // `--only-binary`: a source archive would run its own set-up.
        sh::run(
            sh::command("pip")
                .args(["download", "--no-deps", "--only-binary=:all:", "--dest"])
                .arg(&folder)
                .arg(format!("litellm=={VERSION}")),
        )?;
        let start = format!("litellm-{VERSION}-");
        let wheel = fs::read_dir(&folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)))
            .context("pip left no wheel")?;
        sh::run(sh::command("unzip").args(["-o", "-q", "-j"]).arg(wheel).arg(JSON).arg("-d").arg(&folder))?;
    }
    ensure!(
        digest(&json).as_deref() == Some(JSON_SHA256),
        "{} is not the file that this list is made from",
        json.display()
    );
    fs::read_to_string(&json).with_context(|| json.display().to_string())
}

fn digest(file: &Path) -> Option<String> {
    let said = sh::ask(sh::command("sha256sum").arg(file))?;
    said.split_whitespace().next().map(str::to_owned)
}

fn dates(catalogue: &Value) -> Dates {
    let mut dates = Dates::new();
    for (key, entry) in catalogue.as_object().into_iter().flatten() {
        let text = |field: &str| entry.get(field).and_then(Value::as_str);
        let (Some(provider), Some(date)) = (text("litellm_provider"), text("deprecation_date")) else { continue };
        let Some((vendor, id)) = id(provider, key) else { continue };
        // The list is for calls of models; `azure/eu/x` and `azure/x` may differ, then the later day is the safer claim.
        let kept = dates.entry(vendor).or_default().entry(id).or_insert_with(|| date.to_owned());
        if date > kept.as_str() {
            date.clone_into(kept);
        }
    }
    dates
}

/// The vendor and its own id of an entry; `None` for what is no id: a size or a quality of an image, a region's price, a base for
/// fine-tuning, which the base itself stands for.
fn id(provider: &str, key: &str) -> Option<(&'static str, String)> {
    // `vertex_ai-anthropic_models`
    let family =
        provider.split_once('-').map_or(provider, |(family, _)| if family == "vertex_ai" { family } else { provider });
    let (_, vendor) = PROVIDERS.iter().find(|(name, _)| *name == family)?;
    let mut id = key.strip_prefix(family).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key);
    match *vendor {
        "azure" => {
            for area in ["eu/", "us/", "apac/", "global/", "global-standard/"] {
                id = id.strip_prefix(area).unwrap_or(id);
            }
        }
        "aws_bedrock" => id = id.strip_prefix("bedrock/").unwrap_or(id),
        // `publishers/openai/models/x`: the id is what stands last.
        "vertex_ai" => id = id.rsplit('/').next().unwrap_or(id),
        _ => {}
    }
    let is_whole = match *vendor {
        "azure" | "aws_bedrock" | "openai" => !id.contains('/') && !id.starts_with("ft:"),
        _ => true,
    };
    is_whole.then(|| (*vendor, id.to_lowercase()))
}

fn list(dates: &Dates) -> String {
    let mut text = format!(
        "# When models stop working, for ids that no file beside this one dates. A day may be the first on which it can happen.\n\
         # Made by `cargo xtask models --write`; do not edit. From LiteLLM {VERSION}, {JSON}\n\
         # (sha256 {JSON_SHA256}),\n\
         # Copyright (c) 2023 Berri AI, MIT licence: https://github.com/BerriAI/litellm/blob/main/LICENSE\n\
         source = \"LiteLLM {VERSION} (MIT)\"\n\
         references = [\"https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json\"]\n"
    );
    for (vendor, ids) in dates {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n[dates.{vendor}]\n");
        for (id, date) in ids {
            let _ = writeln!(text, "{id:?} = {date}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_ids_of_our_vendors() {
        for (provider, key, expected) in [
            ("openai", "gpt-4o", Some(("openai", "gpt-4o"))),
            ("openai", "ft:gpt-4o-2024-08-06", None),
            ("openai", "low/1024-x-1024/gpt-image-1", None),
            ("openai", "openai/sora-2", Some(("openai", "sora-2"))),
            ("azure", "azure/eu/gpt-4o-2024-08-06", Some(("azure", "gpt-4o-2024-08-06"))),
            ("azure", "azure/high/1024-x-1024/gpt-image-1", None),
            ("azure_ai", "azure_ai/Llama-3.3-70B-Instruct", Some(("azure", "llama-3.3-70b-instruct"))),
            ("bedrock", "bedrock/moonshotai.kimi-k2-thinking", Some(("aws_bedrock", "moonshotai.kimi-k2-thinking"))),
            ("bedrock", "bedrock/us-gov-east-1/claude-sonnet-4-5-20250929-v1:0", None),
            ("bedrock_converse", "eu.amazon.nova-lite-v1:0", Some(("aws_bedrock", "eu.amazon.nova-lite-v1:0"))),
            (
                "vertex_ai-anthropic_models",
                "vertex_ai/claude-3-haiku@20240307",
                Some(("vertex_ai", "claude-3-haiku@20240307")),
            ),
            ("vertex_ai-language-models", "gemini-2.5-pro", Some(("vertex_ai", "gemini-2.5-pro"))),
            ("vertex_ai-qwen_models", "vertex_ai/qwen/qwen3-maas", Some(("vertex_ai", "qwen3-maas"))),
            ("together_ai", "together_ai/zai-org/GLM-5", Some(("together", "zai-org/glm-5"))),
            ("one of https://docs.litellm.ai/docs/providers", "sample_spec", None),
        ] {
            let found = id(provider, key);
            assert_eq!(found.as_ref().map(|(vendor, id)| (*vendor, id.as_str())), expected, "{provider} {key}");
        }
    }

    /// Whoever edits the list by hand, or changes the version without making it anew, is told here, without a network.
    #[test]
    fn the_list_is_of_this_release_and_in_order() {
        let text = fs::read_to_string(sh::workspace().join(LIST)).unwrap();
        assert!(text.contains(JSON_SHA256) && text.contains(&format!("source = \"LiteLLM {VERSION} (MIT)\"")));
        let tables: Vec<&str> = text.lines().filter(|line| line.starts_with("[dates.")).collect();
        assert!(tables.len() > 10 && tables.is_sorted(), "{tables:?}");
    }

    #[test]
    fn the_later_of_two_days_counts() {
        let catalogue = serde_json::json!({
            "azure/eu/x": {"litellm_provider": "azure", "deprecation_date": "2027-01-01"},
            "azure/x": {"litellm_provider": "azure", "deprecation_date": "2026-12-01"},
            "azure/y": {"litellm_provider": "azure"},
        });
        assert_eq!(
            list(&dates(&catalogue)).lines().skip(6).collect::<Vec<_>>(),
            ["", "[dates.azure]", "\"x\" = 2027-01-01"]
        );
    }
}
