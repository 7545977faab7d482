//! What goes over the wire: packing, header fields, TLS.

use std::fs;

use outflow::{
    sinks::{
        Answer,
        otlp::{Compression, OtlpMetrics, OtlpSettings, OtlpTraces, Protocol},
    },
    telemetry::{Metric, Metrics},
};
use testbed::fake_collector::{Certificates, FakeCollector, Wire};

use super::{
    client::{BOTH, Client, LIMIT, batch, fixed, host, settings, to_nobody},
    traces::call,
};

/// What a server of this protocol offers (ALPN).
fn offered(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Grpc => &["h2"],
        Protocol::Http => &["http/1.1"],
    }
}

#[test]
fn it_is_packed_as_asked() {
    for (protocol, wire) in BOTH {
        for (compression, encoding) in
            [(Compression::None, None), (Compression::Gzip, Some("gzip")), (Compression::Zstd, Some("zstd"))]
        {
            let collector = FakeCollector::start(wire).unwrap();
            let mut client = Client::new(OtlpSettings { compression, ..settings(collector.endpoint(), protocol) });
            assert_eq!(client.send(&batch(1..=100)), Answer::Taken(Vec::new()));
            assert_eq!(collector.asked()[0].encoding.as_deref(), encoding, "{protocol:?}");
            assert_eq!(collector.taken().len(), 100);
        }
    }
}

#[test]
fn header_fields_arrive() {
    for (protocol, wire) in BOTH {
        let collector = FakeCollector::start(wire).unwrap();
        let headers = vec![("Authorization".into(), "Bearer FAKEfake".into()), ("x-scope-orgid".into(), "t1".into())];
        let mut client = Client::new(OtlpSettings { headers, ..settings(collector.endpoint(), protocol) });
        assert_eq!(client.send(&batch([1])), Answer::Taken(Vec::new()));
        let asked = &collector.asked()[0];
        assert_eq!(asked.header("authorization"), Some("Bearer FAKEfake"));
        assert_eq!(asked.header("x-scope-orgid"), Some("t1"));
        let agent = asked.header("user-agent").unwrap();
        assert!(agent.starts_with(concat!("outflow/", env!("CARGO_PKG_VERSION"))), "{agent}");
    }
}

#[test]
fn a_base_path_is_kept_over_http() {
    let collector = FakeCollector::start(Wire::Http).unwrap();
    let mut client = Client::new(settings(format!("{}/tenant/7/", collector.endpoint()), Protocol::Http));
    assert_eq!(client.send(&batch([1])), Answer::Taken(Vec::new()));
}

#[test]
fn only_a_collector_that_can_prove_itself_gets_anything() {
    for (protocol, wire) in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let made = Certificates::make(folder.path(), offered(protocol)).unwrap();
        let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let collector = FakeCollector::start_at(address, wire, Some(made.server.clone())).unwrap();
        let trusting = OtlpSettings { ca_file: Some(made.ca_file.clone()), ..settings(collector.endpoint(), protocol) };
        assert_eq!(Client::new(trusting.clone()).send(&batch([1])), Answer::Taken(Vec::new()));

        let other = tempfile::tempdir().unwrap();
        let wrong = Certificates::make(other.path(), offered(protocol)).unwrap();
        let mut client = Client::new(OtlpSettings { ca_file: Some(wrong.ca_file.clone()), ..trusting.clone() });
        let answer = client.send(&batch([2]));
        let Answer::Broken { reason } = &answer else { panic!("{answer:?}") };
        assert!(reason.starts_with("cannot reach https://localhost:"), "{reason}");
        assert!(reason.contains("invalid peer certificate"), "{reason}");

        // The name counts too.
        let by_address = collector.endpoint().replace("localhost", "127.0.0.1");
        let answer = Client::new(OtlpSettings { endpoint: by_address, ..trusting }).send(&batch([3]));
        let Answer::Broken { reason } = &answer else { panic!("{answer:?}") };
        assert!(reason.contains("invalid peer certificate"), "{reason}");
        assert_eq!(collector.taken().len(), 1);

        // The file was mended meanwhile: a new connection reads it anew.
        fs::copy(&made.ca_file, &wrong.ca_file).unwrap();
        client.connect();
        assert_eq!(client.send(&batch([2])), Answer::Taken(Vec::new()));
    }
}

#[test]
fn a_collector_can_ask_who_we_are() {
    for (protocol, wire) in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let made = Certificates::make(folder.path(), offered(protocol)).unwrap();
        let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let collector = FakeCollector::start_at(address, wire, Some(made.strict_server.clone())).unwrap();
        let nobody = OtlpSettings { ca_file: Some(made.ca_file), ..settings(collector.endpoint(), protocol) };
        let answer = Client::new(nobody.clone()).send(&batch([1]));
        let Answer::Broken { reason } = &answer else { panic!("{answer:?}") };
        assert!(reason.to_lowercase().contains("certificate"), "{reason}");
        let known = OtlpSettings { cert_file: Some(made.cert_file), key_file: Some(made.key_file), ..nobody };
        assert_eq!(Client::new(known).send(&batch([1])), Answer::Taken(Vec::new()));
    }
}

#[test]
fn metrics_and_spans_go_the_same_way() {
    for (protocol, wire) in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let made = Certificates::make(folder.path(), offered(protocol)).unwrap();
        let address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let collector = FakeCollector::start_at(address, wire, Some(made.strict_server.clone())).unwrap();
        let known = OtlpSettings {
            ca_file: Some(made.ca_file),
            cert_file: Some(made.cert_file),
            key_file: Some(made.key_file),
            headers: vec![("x-scope-orgid".into(), "t1".into())],
            ..settings(collector.endpoint(), protocol)
        };
        let nobody = OtlpSettings { cert_file: None, key_file: None, ..known.clone() };
        for (settings, is_known) in [(nobody, false), (known, true)] {
            let registry = Metrics::new();
            let traces = OtlpTraces::start(fixed(&settings), "otlp", &registry, &host(), to_nobody()).unwrap();
            traces.exchange(&call("gpt-4o"), None);
            traces.shutdown();
            let sent = registry.get(Metric::SinkSpans, &["otlp", "sent"]);
            assert_eq!(sent.is_some_and(|sent| sent == 1), is_known, "{protocol:?}");
            let metrics = OtlpMetrics::start(&settings, "otlp", LIMIT, &registry, &host(), to_nobody()).unwrap();
            metrics.shutdown();
            assert_eq!(collector.metrics().len(), usize::from(is_known), "{protocol:?}");
        }
        assert!(collector.metric_headers().contains("x-scope-orgid"), "{protocol:?}");
        let asked = collector.asked();
        assert_eq!((asked.len(), asked[0].header("x-scope-orgid")), (1, Some("t1")), "{protocol:?}");
    }
}
