//! The vendor table: which hosts are LLM vendors and how their paths are read. Enters: `rules/vendors/*.toml`. Leaves:
//! [`VendorTable`]. Holds no vendor of its own; what a host serves at a path is data too.

use std::{collections::HashMap, ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};
use toml::Spanned;

pub(crate) use super::hosts::may_be_address;
pub use super::hosts::{HostPattern, is_local};
use super::{RuleError, RuleFile, RuleSource, hosts::split_port, line_of};

/// Id of the vendor that stands for hosts that the user added.
pub const CUSTOM: &str = "custom";

/// Kind of call. It stands here because the table says which path is which; room 3 shows it as `exchange::Api`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// OpenAI chat completions and everything compatible with it.
    ChatCompletions,
    /// The older completions: OpenAI's, and Cohere's `generate`.
    Completions,
    /// OpenAI responses.
    Responses,
    /// OpenAI responses, compaction of a conversation.
    ResponsesCompact,
    /// Anthropic messages.
    Messages,
    /// Counting tokens, at any vendor: free.
    CountTokens,
    /// Google's `generateContent` and `streamGenerateContent`.
    GenerateContent,
    /// Amazon Bedrock's Converse and ConverseStream.
    Converse,
    /// Amazon Bedrock's InvokeModel: the body is the model maker's own.
    InvokeModel,
    /// Cohere chat, v1 and v2.
    CohereChat,
    /// Ollama's own chat.
    OllamaChat,
    /// Ollama's own completion.
    OllamaGenerate,
    /// Embeddings.
    Embeddings,
    /// Ranking documents against a query.
    Rerank,
    /// Making and changing images.
    Images,
    /// Text to speech.
    Speech,
    /// Speech to text.
    Transcription,
    /// Moderation.
    Moderations,
    /// Batch jobs: created now, billed later.
    Batches,
    /// A realtime session over a WebSocket.
    Realtime,
    /// Model Context Protocol over streamable HTTP.
    McpStreamableHttp,
    /// Vectors written to a vector store.
    VectorUpsert,
    /// Vectors looked up in a vector store.
    VectorQuery,
    /// Any other call to a listed vendor: scanned, not understood.
    Other,
}

impl Api {
    /// Whether a call is billed by the tokens that its answer counts. Counting tokens is free; batches are billed when they are
    /// done; tools and vector stores have prices of their own.
    pub fn is_billed(self) -> bool {
        !matches!(
            self,
            Self::CountTokens
                | Self::Moderations
                | Self::Batches
                | Self::McpStreamableHttp
                | Self::VectorUpsert
                | Self::VectorQuery
                | Self::Other
        )
    }

    /// The word that every output uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::ResponsesCompact => "responses_compact",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::GenerateContent => "generate_content",
            Self::Converse => "converse",
            Self::InvokeModel => "invoke_model",
            Self::CohereChat => "cohere_chat",
            Self::OllamaChat => "ollama_chat",
            Self::OllamaGenerate => "ollama_generate",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Images => "images",
            Self::Speech => "speech",
            Self::Transcription => "transcription",
            Self::Moderations => "moderations",
            Self::Batches => "batches",
            Self::Realtime => "realtime",
            Self::McpStreamableHttp => "mcp_streamable_http",
            Self::VectorUpsert => "vector_upsert",
            Self::VectorQuery => "vector_query",
            Self::Other => "other",
        }
    }
}

/// What a vendor's hosts serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Models.
    Llm,
    /// Tools, over the Model Context Protocol.
    Mcp,
    /// Vectors.
    VectorStore,
}

/// One vendor.
#[derive(Clone, Debug)]
pub struct Vendor {
    /// Stable id, `openai`.
    pub id: Arc<str>,
    /// For people, `OpenAI`.
    pub name: String,
    /// What its hosts serve.
    pub kind: Kind,
    /// Provider id of the price catalogue (`genai-prices`), when it has the vendor.
    pub prices: Option<String>,
    /// Where the facts come from.
    pub references: Vec<String>,
    hosts: Vec<HostPattern>,
    paths: Vec<(PathPattern, Api)>,
    /// Whether its hosts are copied by their name alone.
    tap: bool,
}

impl Vendor {
    /// Its hosts.
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// One of its paths is this kind of call.
    pub fn serves(&self, api: Api) -> bool {
        self.paths.iter().any(|(_, served)| *served == api)
    }

    /// A host that the user added: nothing is known of its paths but what is common.
    pub fn is_custom(&self) -> bool {
        &*self.id == CUSTOM
    }
}

/// `/v1/messages`, or `PUT /collections/*/points`; one `*` in a segment stands for one character or more, and a leading `**`
/// for any number of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PathPattern {
    method: &'static str,
    anywhere: bool,
    segments: Vec<String>,
}

impl PathPattern {
    fn parse(text: &str) -> Option<Self> {
        let (method, text) = text.strip_prefix("PUT ").map_or(("POST", text), |rest| ("PUT", rest));
        let (anywhere, rest) = text.strip_prefix("**").map_or((false, text), |rest| (true, rest));
        let segments: Vec<_> = rest.strip_prefix('/')?.split('/').map(str::to_owned).collect();
        let is_segment = |segment: &String| !segment.is_empty() && segment.matches('*').count() <= 1;
        segments.iter().all(is_segment).then_some(Self { method, anywhere, segments })
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        if method != self.method {
            return false;
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let count = path.split('/').count().saturating_sub(1);
        let Some(skip) = count.checked_sub(self.segments.len()).filter(|skip| self.anywhere || *skip == 0) else {
            return false;
        };
        path.split('/').skip(1 + skip).zip(&self.segments).all(|(have, want)| match want.split_once('*') {
            Some((start, end)) => {
                have.len() > start.len() + end.len() && have.starts_with(start) && have.ends_with(end)
            }
            None => have == want,
        })
    }

    /// Those that say more come first: from the root, then the longer ones, then those with more letters.
    fn rank(&self) -> impl Ord + use<> {
        let letters: usize = self.segments.iter().map(|segment| segment.replace('*', "").len()).sum();
        let count = self.segments.len();
        (self.anywhere, std::cmp::Reverse((count, letters)), self.segments.clone())
    }
}

/// All vendors.
#[derive(Clone, Debug, Default)]
pub struct VendorTable {
    vendors: Vec<Vendor>,
    exact: HashMap<String, usize>,
    suffix: HashMap<String, usize>,
    /// What paths mean on hosts that no file lists, and on listed ones at paths that their vendor does not.
    unlisted: Vec<(PathPattern, Api)>,
    /// Names for what answers on hosts that no file lists.
    unnamed: Vec<Unnamed>,
    /// Hosts of vendors without `tap` that the user listed.
    wanted: Vec<HostPattern>,
}

/// What a server on a host that no file lists is called: the first whose conditions hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unnamed {
    #[serde(deserialize_with = "shared")]
    id: Arc<str>,
    /// Only hosts of this machine and of private networks.
    #[serde(default)]
    local: bool,
    /// Only these ports; empty: any.
    #[serde(default)]
    ports: Vec<u16>,
    /// Only these kinds of call.
    apis: Vec<Api>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    vendor: Vec<Entry>,
    unlisted: Option<Unlisted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    name: String,
    kind: Kind,
    #[serde(default = "yes")]
    tap: bool,
    hosts: Vec<Spanned<String>>,
    prices: Option<String>,
    paths: HashMap<String, Spanned<Api>>,
    references: Vec<String>,
}

fn shared<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Into::into)
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unlisted {
    paths: HashMap<String, Spanned<Api>>,
    #[serde(default)]
    vendor: Vec<Unnamed>,
}

impl VendorTable {
    /// Reads `vendors/*.toml`.
    pub fn load(source: &RuleSource) -> Result<Self, RuleError> {
        Self::read(&source.files("vendors")?)
    }

    /// Reads files that were read.
    pub(crate) fn read(files: &[RuleFile]) -> Result<Self, RuleError> {
        let mut table = Self::default();
        for file in files {
            let parsed: File = toml::from_str(&file.text).map_err(|error| {
                let what = error.message().to_owned();
                invalid(file, error.span().unwrap_or_default(), what)
            })?;
            for entry in parsed.vendor {
                table.add(file, entry)?;
            }
            if let Some(unlisted) = parsed.unlisted {
                table.unlisted.extend(paths(file, unlisted.paths)?);
                table.unnamed.extend(unlisted.vendor);
            }
        }
        Ok(table)
    }

    fn add(&mut self, file: &RuleFile, entry: Entry) -> Result<(), RuleError> {
        let id = entry.id.get_ref().as_str();
        let is_id =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_id(id) || id == CUSTOM {
            return Err(invalid(
                file,
                entry.id.span(),
                format!("id: `{id}` must be letters, digits and `_`, not `{CUSTOM}`"),
            ));
        }
        if self.vendors.iter().any(|vendor| &*vendor.id == id) {
            return Err(invalid(file, entry.id.span(), format!("id: `{id}` stands in the table already")));
        }
        let mut hosts = Vec::new();
        for host in &entry.hosts {
            let text = host.get_ref();
            let pattern = HostPattern::parse(text).ok_or_else(|| {
                invalid(
                    file,
                    host.span(),
                    format!("hosts: `{text}` must be a host name or `*.` and at least two labels"),
                )
            })?;
            if let Some(other) = self.index(&pattern).and_then(|index| self.vendors.get(index)) {
                return Err(invalid(file, host.span(), format!("hosts: `{text}` belongs to `{}` already", other.id)));
            }
            hosts.push(pattern);
        }
        let vendor = Vendor {
            id: id.into(),
            paths: paths(file, entry.paths)?,
            name: entry.name,
            kind: entry.kind,
            prices: entry.prices,
            references: entry.references,
            hosts,
            tap: entry.tap,
        };
        self.insert(vendor);
        Ok(())
    }

    fn index(&self, pattern: &HostPattern) -> Option<usize> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Suffix(name) => self.suffix.get(name),
        }
        .copied()
    }

    fn insert(&mut self, vendor: Vendor) {
        let index = self.vendors.len();
        for pattern in &vendor.hosts {
            match pattern {
                HostPattern::Exact(name) => self.exact.insert(name.clone(), index),
                HostPattern::Suffix(name) => self.suffix.insert(name.clone(), index),
            };
        }
        self.vendors.push(vendor);
    }

    /// Adds hosts of the user's own (gateways, private endpoints) under the vendor id [`CUSTOM`]. Hosts that a file lists
    /// keep their vendor; where that has no `tap`, this lists them to be copied. `Err`: the first one that is no host pattern.
    pub fn with_hosts<'a>(mut self, hosts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut added = Vec::new();
        for host in hosts {
            let pattern = HostPattern::parse(host).ok_or_else(|| host.to_owned())?;
            let (HostPattern::Exact(name) | HostPattern::Suffix(name)) = &pattern;
            let below = if matches!(pattern, HostPattern::Suffix(_)) { format!("*.{name}") } else { name.clone() };
            if self.vendor_of(&below).is_some_and(|vendor| !vendor.tap) {
                self.wanted.push(pattern);
            } else if self.index(&pattern).is_none() && !added.contains(&pattern) {
                added.push(pattern);
            }
        }
        if !added.is_empty() {
            let paths = self.unlisted.clone();
            self.insert(Vendor {
                id: CUSTOM.into(),
                name: "Added host".to_owned(),
                kind: Kind::Llm,
                prices: None,
                references: Vec::new(),
                hosts: added,
                paths,
                tap: true,
            });
        }
        Ok(self)
    }

    /// The vendor of a host. Port, case and a trailing dot do not matter; the longest pattern wins.
    pub fn vendor_of(&self, host: &str) -> Option<&Vendor> {
        let (host, _) = split_port(host);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let mut suffixes = host.match_indices('.').filter_map(|(dot, _)| host.get(dot + 1..));
        let index = self.exact.get(&host).or_else(|| suffixes.find_map(|suffix| self.suffix.get(suffix)))?;
        self.vendors.get(*index)
    }

    /// What a call is, by its method and path (without query). Only POST is a call, and PUT where a file says so: the rest
    /// lists, fetches and deletes. A path that the vendor's file does not have means what it means anywhere.
    pub fn api_of(&self, vendor: Option<&Vendor>, method: &str, path: &str) -> Option<Api> {
        let own = vendor.map_or(&[][..], |vendor| &vendor.paths);
        let common = if vendor.is_none_or(|vendor| vendor.kind == Kind::Llm) { &self.unlisted[..] } else { &[] };
        own.iter().chain(common).find(|(pattern, _)| pattern.matches(method, path)).map(|(_, api)| *api)
    }

    /// What a WebSocket is, by the path of its upgrade, which is always a GET.
    pub fn api_of_upgrade(&self, vendor: &Vendor, path: &str) -> Option<Api> {
        self.api_of(Some(vendor), "POST", path)
    }

    /// What to call the server on a host that no file lists: a name for its kind, never for who runs it.
    pub fn unlisted_name(&self, host: &str, api: Api) -> Option<&Arc<str>> {
        let (_, port) = split_port(host);
        let is = |unnamed: &&Unnamed| {
            (!unnamed.local || is_local(host))
                && (unnamed.ports.is_empty() || port.is_some_and(|port| unnamed.ports.contains(&port)))
                && unnamed.apis.contains(&api)
        };
        self.unnamed.iter().find(is).map(|unnamed| &unnamed.id)
    }

    /// Every host pattern whose traffic is to be copied: all of the table but those of vendors without `tap`, and of these
    /// the ones that the user listed.
    pub fn hosts(&self) -> impl Iterator<Item = &HostPattern> {
        let vendors = self.vendors.iter().filter(|vendor| vendor.tap);
        vendors.flat_map(|vendor| &vendor.hosts).chain(&self.wanted)
    }

    /// Those of [`hosts`](Self::hosts) that serve models: what a budget pays for.
    pub fn llm_hosts(&self) -> impl Iterator<Item = &HostPattern> + Clone {
        let vendors = self.vendors.iter().filter(|vendor| vendor.tap && vendor.kind == Kind::Llm);
        vendors.flat_map(|vendor| &vendor.hosts).chain(&self.wanted)
    }

    /// Every vendor.
    pub fn vendors(&self) -> &[Vendor] {
        &self.vendors
    }
}

/// Path patterns, those that say most first, so that the order in the file does not matter.
fn paths(file: &RuleFile, entries: HashMap<String, Spanned<Api>>) -> Result<Vec<(PathPattern, Api)>, RuleError> {
    let mut paths = Vec::new();
    for (text, api) in entries {
        let pattern = PathPattern::parse(&text).ok_or_else(|| {
            let message =
                format!("paths: `{text}` must be `/segments` with at most one `*` in each, or `**/segments`, and may begin with `PUT `");
            invalid(file, api.span(), message)
        })?;
        paths.push((pattern, api.into_inner()));
    }
    paths.sort_by_key(|(pattern, _)| pattern.rank());
    Ok(paths)
}

fn invalid(file: &RuleFile, span: Range<usize>, message: String) -> RuleError {
    RuleError::Invalid { file: file.path.clone(), line: line_of(&file.text, span.start), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> VendorTable {
        VendorTable::load(&RuleSource::Embedded).unwrap()
    }

    #[test]
    fn hosts_find_their_vendor() {
        let table = table().with_hosts(["llm.corp.example", "*.gateway.example", "api.openai.com"]).unwrap();
        for (host, vendor) in [
            ("api.openai.com", Some("openai")),
            ("API.OpenAI.com:443", Some("openai")),
            ("api.openai.com.", Some("openai")),
            ("eu.api.openai.com", Some("openai")),
            ("openai.com", None),
            ("api.openai.com.evil.example", None),
            ("evil-api.openai.com", None),
            ("my-resource.openai.azure.com", Some("azure")),
            ("openai.azure.com", None),
            ("api.anthropic.com", Some("anthropic")),
            ("llm.corp.example", Some(CUSTOM)),
            ("a.gateway.example", Some(CUSTOM)),
            ("localhost:11434", None),
            ("", None),
        ] {
            assert_eq!(table.vendor_of(host).map(|vendor| &*vendor.id), vendor, "{host}");
        }
        assert!(table.clone().with_hosts(["not a host"]).is_err());
        assert!(table.with_hosts(["*.com"]).is_err());
    }

    #[test]
    fn paths_say_what_a_call_is() {
        let table = table();
        for (host, method, path, api) in [
            ("api.openai.com", "POST", "/v1/chat/completions", Some(Api::ChatCompletions)),
            ("api.openai.com", "POST", "/v1/chat/completions/", Some(Api::ChatCompletions)),
            ("api.openai.com", "GET", "/v1/chat/completions", None),
            ("api.openai.com", "GET", "/v1/responses/resp_1", None),
            ("api.openai.com", "POST", "/v1/files", None),
            ("api.anthropic.com", "POST", "/v1/messages", Some(Api::Messages)),
            ("api.anthropic.com", "POST", "/v1/messages/count_tokens", Some(Api::CountTokens)),
            ("api.anthropic.com", "POST", "/v1/messages/batches", Some(Api::Batches)),
            ("api.anthropic.com", "POST", "/v1/files", None),
            ("api.openai.com", "POST", "/v1/responses/compact", Some(Api::ResponsesCompact)),
            ("x.openai.azure.com", "POST", "/openai/deployments/mine/completions", Some(Api::Completions)),
            (
                "bedrock-runtime.us-east-1.amazonaws.com",
                "POST",
                "/model/a.b-v1%3A0/converse-stream",
                Some(Api::Converse),
            ),
            ("x.openai.azure.com", "POST", "/openai/deployments/mine/chat/completions", Some(Api::ChatCompletions)),
            ("x.openai.azure.com", "POST", "/openai/v1/responses", Some(Api::Responses)),
            ("api.groq.com", "POST", "/openai/v1/chat/completions", Some(Api::ChatCompletions)),
            ("api.deepseek.com", "POST", "/anthropic/v1/messages", Some(Api::Messages)),
            ("generativelanguage.googleapis.com", "POST", "/v1beta/models/m:embedContent", Some(Api::Embeddings)),
            (
                "generativelanguage.googleapis.com",
                "POST",
                "/v1beta/models/m:generateContent",
                Some(Api::GenerateContent),
            ),
            (
                "aiplatform.googleapis.com",
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/imagen-4:predict",
                Some(Api::Images),
            ),
            (
                "aiplatform.googleapis.com",
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/text-embedding-5:predict",
                Some(Api::Embeddings),
            ),
            (
                "aiplatform.googleapis.com",
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/veo-3:predict",
                None,
            ),
            (
                "aiplatform.googleapis.com",
                "POST",
                "/v1/projects/p/locations/l/publishers/anthropic/models/c@1:streamRawPredict",
                Some(Api::Messages),
            ),
            ("a.cloud.qdrant.io", "PUT", "/collections/c/points", Some(Api::VectorUpsert)),
            ("a.cloud.qdrant.io", "POST", "/collections/c/points", None),
            ("a.cloud.qdrant.io", "POST", "/v1/embeddings", None),
            ("mcp.deepwiki.com", "POST", "/mcp", Some(Api::McpStreamableHttp)),
            ("api.some.example", "POST", "/v1beta/models/m:streamGenerateContent", Some(Api::GenerateContent)),
            ("localhost:8000", "POST", "/v1/embeddings", Some(Api::Embeddings)),
            ("localhost:8000", "POST", "/proxy/v1/messages", Some(Api::Messages)),
        ] {
            let found = table.api_of(table.vendor_of(host), method, path);
            assert_eq!(found, api, "{method} {host}{path}");
        }
    }

    #[test]
    fn every_vendor_has_a_name_hosts_and_sources() {
        let table = table();
        assert!(table.vendors().len() > 20, "{} vendors", table.vendors().len());
        for vendor in table.vendors() {
            assert!(
                !vendor.hosts.is_empty() && !vendor.references.is_empty() && !vendor.name.is_empty(),
                "{}",
                vendor.id
            );
        }
        let copied = table.vendors().iter().filter(|vendor| vendor.tap).map(|vendor| vendor.hosts.len());
        assert_eq!(table.hosts().count(), copied.sum::<usize>());
    }

    #[test]
    fn a_vendor_without_tap_is_copied_only_where_the_user_lists_it() {
        let mine = HostPattern::Exact("acme.snowflakecomputing.com".to_owned());
        assert!(!table().hosts().any(|host| matches!(host, HostPattern::Suffix(name) if name.contains("snowflake"))));
        let table = table().with_hosts(["acme.snowflakecomputing.com", "*.eu.snowflakecomputing.com"]).unwrap();
        assert!(table.hosts().any(|host| *host == mine));
        assert!(table.hosts().any(|host| *host == HostPattern::Suffix("eu.snowflakecomputing.com".to_owned())));
        for host in ["acme.snowflakecomputing.com", "other.snowflakecomputing.com"] {
            assert_eq!(table.vendor_of(host).map(|vendor| &*vendor.id), Some("snowflake"), "{host}");
        }
    }

    #[test]
    fn hosts_that_no_file_lists_are_named_by_what_answers() {
        let table = table();
        for (host, api, name) in [
            ("localhost:8787", Api::ChatCompletions, Some("openai_compatible_local")),
            ("localhost:11434", Api::ChatCompletions, Some("ollama")),
            ("[::1]:11434", Api::OllamaChat, Some("ollama")),
            ("10.1.2.3:8000", Api::OllamaGenerate, Some("ollama")),
            ("192.168.0.7", Api::Embeddings, Some("openai_compatible_local")),
            ("vllm:8000", Api::Responses, Some("openai_compatible_local")),
            ("llm.corp.internal", Api::Completions, Some("openai_compatible_local")),
            ("localhost:8787", Api::Messages, None),
            ("8.8.8.8:11434", Api::ChatCompletions, None),
            ("llm.corp.example", Api::ChatCompletions, None),
            ("tools.corp.example", Api::McpStreamableHttp, Some("mcp")),
            ("", Api::ChatCompletions, None),
        ] {
            assert_eq!(table.unlisted_name(host, api).map(|name| &**name), name, "{host}");
        }
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let good = "[[vendor]]\nid = \"a\"\nname = \"A\"\nkind = \"llm\"\nhosts = [\"a.example\"]\nreferences = []\npaths = {}\n";
        for (text, line, part) in [
            (good.replace("kind = \"llm\"", "kind = \"lm\""), 4, "lm"),
            (good.replace("name", "nmae"), 3, "nmae"),
            (good.replace("a.example", "*.example"), 5, "hosts: `*.example`"),
            (good.replace("\"a\"", "\"a b\""), 2, "id: `a b`"),
            (good.replace("{}", "{ \"v1\" = \"messages\" }"), 7, "paths: `v1`"),
            (good.replace("{}", "{ \"/v1\" = \"message\" }"), 7, "message"),
            (format!("{good}{good}"), 9, "id: `a`"),
            (format!("{good}{}", good.replace("\"a\"", "\"b\"")), 12, "hosts: `a.example` belongs to `a`"),
        ] {
            let file = RuleFile { path: "vendors/x.toml".to_owned(), text };
            let error = VendorTable::read(&[file]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("vendors/x.toml:{line}: ")) && error.contains(part), "{error}");
        }
    }
}
