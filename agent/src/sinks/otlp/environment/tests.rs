//! Cases for what the environment says, alone and beside the config. The environment is a list: none of this process is changed.

use std::path::Path;

use super::super::{OtlpSettings, Protocol};
use super::*;
use crate::config::{Config, OtlpSink};

const TOKEN: &str = "FAKEfakeFAKEtoken";

/// A sink of the config, and its settings with these variables.
fn settings(signal: Signal, keys: &str, set: &[(&str, &str)]) -> Result<OtlpSettings, String> {
    let lookup = |name: &str| {
        let name = name.strip_prefix(PREFIX).unwrap();
        set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    OtlpSettings::read(&sink(keys), signal, &lookup).map_err(|error| error.to_string())
}

fn sink(keys: &str) -> OtlpSink {
    let config = Config::parse("outflow.toml", &format!("[[sinks.otlp]]\n{keys}")).unwrap();
    config.sinks.otlp.into_iter().next().unwrap()
}

fn logs(keys: &str, set: &[(&str, &str)]) -> OtlpSettings {
    settings(Signal::Logs, keys, set).unwrap()
}

#[test]
fn an_endpoint_for_all_gets_a_path_and_one_for_a_signal_none() {
    let http = ("PROTOCOL", "http/protobuf");
    for (signal, set, endpoint, adds_path) in [
        (Signal::Logs, vec![http, ("ENDPOINT", "http://a:4318/base/")], "http://a:4318/base", true),
        (Signal::Logs, vec![http, ("ENDPOINT", "http://a"), ("LOGS_ENDPOINT", "http://b/in/")], "http://b/in/", false),
        (Signal::Metrics, vec![http, ("ENDPOINT", "http://a"), ("LOGS_ENDPOINT", "http://b/in")], "http://a", true),
        (Signal::Traces, vec![http, ("TRACES_ENDPOINT", "https://c/v1/t")], "https://c/v1/t", false),
        (Signal::Logs, vec![("ENDPOINT", ""), ("LOGS_ENDPOINT", "  "), ("ENDPOINT", "x")], "", true),
        // gRPC has no paths, and knows addresses without a scheme.
        (Signal::Logs, vec![("LOGS_ENDPOINT", "http://a:4317/")], "http://a:4317", true),
        (Signal::Logs, vec![("ENDPOINT", "a:4317")], "https://a:4317", true),
        (Signal::Logs, vec![("ENDPOINT", "a:4317"), ("INSECURE", "TRUE")], "http://a:4317", true),
        (
            Signal::Logs,
            vec![("ENDPOINT", "a:4317"), ("INSECURE", "true"), ("LOGS_INSECURE", "false")],
            "https://a:4317",
            true,
        ),
        (Signal::Logs, vec![("ENDPOINT", "https://a:4317"), ("INSECURE", "true")], "https://a:4317", true),
    ] {
        let read = settings(signal, "", &set);
        if endpoint.is_empty() {
            assert!(read.unwrap_err().contains("set OTEL_EXPORTER_OTLP_ENDPOINT"), "nothing is not an address");
            continue;
        }
        let read = read.unwrap();
        assert_eq!((read.endpoint.as_str(), read.adds_path), (endpoint, adds_path), "{signal:?} {set:?}");
    }
}

#[test]
fn each_key_has_a_variable() {
    let set = [
        ("ENDPOINT", "https://a"),
        ("PROTOCOL", "HTTP/protobuf"),
        ("COMPRESSION", "none"),
        ("LOGS_TIMEOUT", "2500"),
        ("HEADERS", "Authorization=Bearer%20FAKEfakeFAKEtoken, x-b = c%2Cd=e ,"),
        ("CERTIFICATE", "/ca.pem"),
        ("LOGS_CLIENT_CERTIFICATE", "/cert.pem"),
        ("CLIENT_KEY", "/key.pem"),
    ];
    let read = logs("", &set);
    assert_eq!((read.protocol, read.compression), (Protocol::Http, Compression::None));
    assert_eq!(read.timeout, Duration::from_millis(2500));
    let headers = [("authorization", format!("Bearer {TOKEN}")), ("x-b", "c,d=e".to_owned())];
    assert_eq!(read.headers, headers.map(|(name, value)| (name.to_owned(), value)));
    assert!(!format!("{read:?}").contains(TOKEN), "{read:?}");
    let files = [&read.ca_file, &read.cert_file, &read.key_file].map(Option::as_deref);
    assert_eq!(files, ["/ca.pem", "/cert.pem", "/key.pem"].map(|path| Some(Path::new(path))));
    let metrics = settings(Signal::Metrics, "", &set[..6]).unwrap();
    assert_eq!(metrics.timeout, Duration::from_secs(10), "that one speaks of logs");
}

#[test]
fn headers_of_a_signal_stand_for_those_of_all() {
    let set = [("ENDPOINT", "http://a"), ("HEADERS", "a=1,b=2"), ("LOGS_HEADERS", "c=3")];
    assert_eq!(logs("", &set).headers, [("c".to_owned(), "3".to_owned())]);
    assert_eq!(settings(Signal::Traces, "", &set).unwrap().headers.len(), 2);
}

#[test]
fn the_config_wins_key_by_key() {
    let set = [
        ("ENDPOINT", "http://theirs:4318"),
        ("LOGS_ENDPOINT", "nonsense that nobody reads"),
        ("PROTOCOL", "http/protobuf"),
        ("COMPRESSION", "zstd"),
        ("TIMEOUT", "2000"),
        ("HEADERS", "authorization=FAKEfakeFAKEtoken"),
        ("CERTIFICATE", "/theirs.pem"),
    ];
    let read = logs("endpoint = \"https://ours:4317\"\nprotocol = \"grpc\"", &set);
    assert_eq!((read.endpoint.as_str(), read.protocol, read.adds_path), ("https://ours:4317", Protocol::Grpc, true));
    assert_eq!((read.compression, read.timeout), (Compression::Zstd, Duration::from_secs(2)));
    assert_eq!((read.headers.len(), read.ca_file.as_deref()), (1, Some(Path::new("/theirs.pem"))));
    let rest = "endpoint = \"https://ours:4317\"\nprotocol = \"grpc\"\ncompression = \"gzip\"\ntimeout = \"1s\"\nheaders = {}\n\
                ca_file = \"/ours.pem\"";
    let read = logs(rest, &set);
    assert_eq!((read.compression, read.timeout), (Compression::Gzip, Duration::from_secs(1)));
    assert!(read.headers.is_empty(), "`headers = {{}}` sends none");
    assert_eq!(read.ca_file.as_deref(), Some(Path::new("/ours.pem")));
    let open = logs("endpoint = \"http://ours:4317\"\nprotocol = \"grpc\"", &set);
    assert_eq!(open.ca_file, None, "certificates that are set for everybody do not harm");
    let own = logs(
        "cert_file = \"/a.pem\"\nkey_file = \"/b.pem\"\nendpoint = \"https://ours\"",
        &[("CLIENT_CERTIFICATE", "/theirs.pem")],
    );
    assert_eq!(own.cert_file.as_deref(), Some(Path::new("/a.pem")), "half a pair of others is not looked at");
}

#[test]
fn what_is_wrong_names_its_variable_and_no_value() {
    let many = "a=b,".repeat(65);
    let good = ("ENDPOINT", "https://a");
    for (set, says) in [
        (vec![], "it has no `endpoint`: write one"),
        (vec![("ENDPOINT", "a:4318"), ("PROTOCOL", "http/protobuf")], "OTEL_EXPORTER_OTLP_ENDPOINT begins with http"),
        (vec![("LOGS_ENDPOINT", "http://u:FAKEfakeFAKEtoken@a")], "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT is shown in logs"),
        (
            vec![("ENDPOINT", "http://a/x")],
            "OTEL_EXPORTER_OTLP_ENDPOINT is http://a/x, which has a path, and gRPC has none",
        ),
        (
            vec![("ENDPOINT", "a"), ("INSECURE", "yes")],
            "OTEL_EXPORTER_OTLP_INSECURE must be one of \"true\", \"false\"",
        ),
        (
            vec![good, ("PROTOCOL", "http/json")],
            "OTEL_EXPORTER_OTLP_PROTOCOL must be one of \"grpc\", \"http/protobuf\"",
        ),
        (vec![good, ("LOGS_COMPRESSION", "br")], "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION must be one of"),
        (vec![good, ("TIMEOUT", "10s")], "OTEL_EXPORTER_OTLP_TIMEOUT must be a whole number of milliseconds"),
        (vec![good, ("TIMEOUT", "0")], "from 100 to 300000"),
        (
            vec![good, ("HEADERS", "a=b,FAKEfakeFAKEtoken")],
            "OTEL_EXPORTER_OTLP_HEADERS is wrong in entry 2: write name=value",
        ),
        (vec![good, ("HEADERS", "FAKEfake FAKEtoken=b")], "entry 1: what stands before `=` is no name"),
        (
            vec![good, ("LOGS_HEADERS", "a=FAKEfakeFAKEtoken%00")],
            "OTEL_EXPORTER_OTLP_LOGS_HEADERS is wrong in entry 1: what stands behind",
        ),
        (vec![good, ("HEADERS", "a=%ff")], "no percent-encoded value"),
        (vec![good, ("HEADERS", &many)], "has 65 entries: 64 at most"),
        (vec![good, ("CERTIFICATE", "ca.pem")], "OTEL_EXPORTER_OTLP_CERTIFICATE must be an absolute path"),
        (
            vec![good, ("LOGS_CLIENT_KEY", "/k")],
            "OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY needs OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ),
    ] {
        let why = settings(Signal::Logs, "", &set).unwrap_err();
        assert!(why.contains(says), "{set:?}: {why}");
        assert!(!why.contains("FAKE"), "{why}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_text_is_told() {
    use std::os::unix::ffi::OsStringExt as _;
    let lookup = |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| OsString::from_vec(vec![0xff]));
    let why = OtlpSettings::read(&sink(""), Signal::Logs, &lookup).unwrap_err().to_string();
    assert!(why.contains("OTEL_EXPORTER_OTLP_ENDPOINT is no text in UTF-8"), "{why}");
}
