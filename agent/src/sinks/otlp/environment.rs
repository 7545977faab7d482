//! The variables `OTEL_EXPORTER_OTLP_…` of the OpenTelemetry specification (OTLP exporter, version 1.50). Enters: a look-up of variables. Leaves:
//! what they say of one signal, checked, or the name of the variable that is wrong. Pure: who asks brings the environment along. What is wrong is
//! an error here and not, as in SDKs, a warning and a default: findings that went elsewhere would be gone. The value of a header is in none.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderName, HeaderValue};

use super::{Compression, Protocol, collector::address};

#[cfg(test)]
mod tests;

/// How the name of each begins.
const PREFIX: &str = "OTEL_EXPORTER_OTLP_";

/// Shortest and longest time for a request, milliseconds, as `timeout` in the config has it.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 100..=300_000;

/// Header fields that one variable may hold.
const HEADERS_MAX: usize = 64;

/// Looks a variable up.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A variable of this process.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Findings.
    Logs,
    /// Totals and durations.
    Metrics,
    /// Spans of calls.
    Traces,
}

impl Signal {
    fn variable(self) -> &'static str {
        match self {
            Self::Logs => "LOGS_",
            Self::Metrics => "METRICS_",
            Self::Traces => "TRACES_",
        }
    }

    /// As pipelines of collectors are called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Traces => "traces",
        }
    }

    /// What HTTP adds to an endpoint that serves all signals.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Logs => "/v1/logs",
            Self::Metrics => "/v1/metrics",
            Self::Traces => "/v1/traces",
        }
    }
}

/// Why config and environment together name no collector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// A variable holds what it cannot.
    #[error("the environment's {variable} {why}")]
    Variable {
        /// Its name.
        variable: String,
        /// What is wrong, and what to write.
        why: String,
    },
    /// Neither names one.
    #[error("it has no `endpoint`: write one, such as \"http://localhost:4317\", or set {PREFIX}ENDPOINT")]
    NoEndpoint,
}

/// A variable that is set, and not to nothing.
struct Variable {
    name: String,
    value: String,
    /// It speaks of one signal alone.
    is_own: bool,
}

impl Variable {
    fn wrong(&self, why: impl Into<String>) -> EnvironmentError {
        EnvironmentError::Variable { variable: self.name.clone(), why: why.into() }
    }
}

/// The environment, as far as it speaks of one signal.
pub(super) struct Environment<'a> {
    signal: Signal,
    variables: Variables<'a>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(signal: Signal, variables: Variables<'a>) -> Self {
        Self { signal, variables }
    }

    /// That of the signal, else that of all. Set to nothing is not set (specification, "Empty value").
    fn get(&self, what: &str) -> Result<Option<Variable>, EnvironmentError> {
        for (infix, is_own) in [(self.signal.variable(), true), ("", false)] {
            let name = format!("{PREFIX}{infix}{what}");
            let Some(value) = (self.variables)(&name) else { continue };
            let Ok(value) = value.into_string() else {
                return Err(EnvironmentError::Variable { variable: name, why: "is no text in UTF-8".to_owned() });
            };
            let value = value.trim().to_owned();
            if !value.is_empty() {
                return Ok(Some(Variable { name, value, is_own }));
            }
        }
        Ok(None)
    }

    fn one_of<T: Copy>(&self, what: &str, known: &[(&str, T)]) -> Result<Option<T>, EnvironmentError> {
        let Some(variable) = self.get(what)? else { return Ok(None) };
        let found = known.iter().find(|(name, _)| variable.value.eq_ignore_ascii_case(name));
        let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("\", \"");
        found.map(|(_, value)| Some(*value)).ok_or_else(|| variable.wrong(format!("must be one of \"{}\"", names())))
    }

    /// `http/json` is not spoken.
    pub(super) fn protocol(&self) -> Result<Option<Protocol>, EnvironmentError> {
        self.one_of("PROTOCOL", &[("grpc", Protocol::Grpc), ("http/protobuf", Protocol::Http)])
    }

    pub(super) fn compression(&self) -> Result<Option<Compression>, EnvironmentError> {
        let known = [("gzip", Compression::Gzip), ("zstd", Compression::Zstd), ("none", Compression::None)];
        self.one_of("COMPRESSION", &known)
    }

    /// The address, and whether HTTP adds the signal's path to it: not to one that is for this signal alone.
    pub(super) fn endpoint(&self, protocol: Protocol) -> Result<Option<(String, bool)>, EnvironmentError> {
        let Some(variable) = self.get("ENDPOINT")? else { return Ok(None) };
        let text = match (protocol, variable.value.contains("://")) {
            // gRPC knows addresses without a scheme, and for these alone INSECURE speaks.
            (Protocol::Grpc, false) => {
                let is_open = self.one_of("INSECURE", &[("true", true), ("false", false)])?.unwrap_or(false);
                format!("{}://{}", if is_open { "http" } else { "https" }, variable.value)
            }
            _ => variable.value.clone(),
        };
        address(&text, protocol).map_err(|why| variable.wrong(why))?;
        let is_whole = variable.is_own && protocol == Protocol::Http;
        let text = if is_whole { text } else { text.trim_end_matches('/').to_owned() };
        Ok(Some((text, !is_whole)))
    }

    /// In milliseconds.
    pub(super) fn timeout(&self) -> Result<Option<Duration>, EnvironmentError> {
        let Some(variable) = self.get("TIMEOUT")? else { return Ok(None) };
        let millis = variable.value.parse().ok().filter(|millis| TIMEOUT_MS.contains(millis));
        let (least, most) = (TIMEOUT_MS.start(), TIMEOUT_MS.end());
        millis
            .map(|millis| Some(Duration::from_millis(millis)))
            .ok_or_else(|| variable.wrong(format!("must be a whole number of milliseconds from {least} to {most}")))
    }

    /// `name=value,name=value`, each percent-encoded. Neither names nor values are told: one without `=` may be a token.
    pub(super) fn headers(&self) -> Result<Vec<(String, String)>, EnvironmentError> {
        let Some(variable) = self.get("HEADERS")? else { return Ok(Vec::new()) };
        let mut headers = Vec::new();
        let entries = variable.value.split(',').enumerate().filter(|(_, entry)| !entry.trim().is_empty());
        for (number, entry) in entries {
            let wrong = |why: &str| variable.wrong(format!("is wrong in entry {}: {why}", number + 1));
            let (name, value) = entry.split_once('=').ok_or_else(|| wrong("write name=value"))?;
            let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(String::from);
            let name = decoded(name).ok().and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok());
            let name = name.ok_or_else(|| wrong("what stands before `=` is no name of a header"))?;
            let value = decoded(value).ok().filter(|value| HeaderValue::from_str(value).is_ok());
            let value = value.ok_or_else(|| wrong("what stands behind `=` is no percent-encoded value of a header"))?;
            headers.push((name.as_str().to_owned(), value));
        }
        if headers.len() > HEADERS_MAX {
            return Err(variable.wrong(format!("has {} entries: {HEADERS_MAX} at most", headers.len())));
        }
        Ok(headers)
    }

    /// Whose word is taken for who the collector is.
    pub(super) fn ca_file(&self) -> Result<Option<PathBuf>, EnvironmentError> {
        self.path("CERTIFICATE")
    }

    /// Our own certificate and its key.
    pub(super) fn identity(&self) -> Result<(Option<PathBuf>, Option<PathBuf>), EnvironmentError> {
        let files = (self.path("CLIENT_CERTIFICATE")?, self.path("CLIENT_KEY")?);
        let (there, missing) = match &files {
            (Some(_), None) => ("CLIENT_CERTIFICATE", "CLIENT_KEY"),
            (None, Some(_)) => ("CLIENT_KEY", "CLIENT_CERTIFICATE"),
            _ => return Ok(files),
        };
        let name = self.get(there)?.map(|variable| variable.name).unwrap_or_default();
        let why = format!("needs {PREFIX}{missing} beside it");
        Err(EnvironmentError::Variable { variable: name, why })
    }

    fn path(&self, what: &str) -> Result<Option<PathBuf>, EnvironmentError> {
        let Some(variable) = self.get(what)? else { return Ok(None) };
        let path = PathBuf::from(&variable.value);
        if path.is_absolute() { Ok(Some(path)) } else { Err(variable.wrong("must be an absolute path of a PEM file")) }
    }
}
