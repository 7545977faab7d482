//! Our words for vendors and kinds of calls in those of OpenTelemetry's conventions for generative AI. Enters: ids of findings. Leaves:
//! values of `gen_ai.provider.name` and `gen_ai.operation.name`. Source: open-telemetry/semantic-conventions-genai, schema 1.42.0.

/// The well-known name of a vendor; for one without, its id is its name.
pub(super) fn provider_name(vendor: &str) -> &str {
    match vendor {
        "aws_bedrock_mantle" => "aws.bedrock",
        "azure" => "azure.ai.openai",
        "gemini" => "gcp.gemini",
        "github_models" => "azure.ai.inference",
        "mistral" => "mistral_ai",
        "moonshotai" => "moonshot_ai",
        "vertex_ai" => "gcp.vertex_ai",
        "xai" => "x_ai",
        other => other,
    }
}

/// The well-known name of a kind of call (`Destination::api`). The conventions have none for counting tokens, and allow one of our own.
pub(super) fn operation_name(api: &str) -> Option<&'static str> {
    match api {
        "chat_completions" | "responses" | "responses_compact" | "messages" | "converse" | "invoke_model"
        | "cohere_chat" | "ollama_chat" | "realtime" => Some("chat"),
        "generate_content" => Some("generate_content"),
        "completions" | "ollama_generate" => Some("text_completion"),
        "vector_query" => Some("retrieval"),
        "embeddings" => Some("embeddings"),
        "count_tokens" => Some("count_tokens"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rules::{RuleSource, VendorTable};

    #[test]
    fn vendors_have_the_names_of_the_conventions() {
        let vendors = VendorTable::load(&RuleSource::Embedded).unwrap();
        let renamed: BTreeSet<(&str, &str)> = vendors
            .vendors()
            .iter()
            .map(|vendor| (&*vendor.id, provider_name(&vendor.id)))
            .filter(|(id, name)| id != name)
            .collect();
        // Each arm above is here, so none is for a vendor that no file has.
        let expected = [
            ("aws_bedrock_mantle", "aws.bedrock"),
            ("azure", "azure.ai.openai"),
            ("gemini", "gcp.gemini"),
            ("github_models", "azure.ai.inference"),
            ("mistral", "mistral_ai"),
            ("moonshotai", "moonshot_ai"),
            ("vertex_ai", "gcp.vertex_ai"),
            ("xai", "x_ai"),
        ];
        assert_eq!(renamed.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(provider_name("openai"), "openai");
    }
}
