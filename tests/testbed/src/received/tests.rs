//! What rotel 0.0.1a15 printed, and what must be read of it.

use super::*;

const LOGS: &str = "\u{1b}[2m2026-11-25T18:07:46.679090Z\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m Starting Rotel.\n\
ResourceLog #0
Resource SchemaURL: \nResource attributes:
     -> service.name: Str(outflow)
     -> n: Int(7)
ScopeLogs #0
ScopeLogs SchemaURL: https://example.com/1.0.0
InstrumentationScope outflow.findings 0.1.0
LogRecord #0
ObservedTimestamp: 1700000000000000001
Timestamp: 1700000000000000000
SeverityText: WARN
SeverityNumber: SEVERITY_NUMBER_WARN(13)
EventName: outflow.finding
Body: Str(line one
line: two)
Attributes:
     -> finding.id: Str(abc: d)
     -> d: Double(1.5)
     -> b: Bool(true)
     -> i: Int(-3)
     -> m: Map(x:Str(y) (z), arr:Slice(Str(p), Int(4)))
     -> text: Str(one

three)
    Trace ID       : \n    Span ID        : \nFlags: 0
LogRecord #1
ObservedTimestamp: 0
Timestamp: 5
SeverityText: \nSeverityNumber: SEVERITY_NUMBER_UNSPECIFIED(0)
Body: Empty
    Trace ID       : \n    Span ID        : \nFlags: 0
";

const METRICS: &str = "ResourceMetrics #0
Resource SchemaURL: \nResource attributes:
     -> service.name: Str(outflow)
ScopeMetrics #0
ScopeMetrics SchemaURL: \nInstrumentationScope outflow \nMetric #0
Descriptor:
     -> Name: gen_ai.client.token.usage
     -> Description: two
lines
     -> Unit: {token}
     -> DataType: Histogram
     -> AggregationTemporality: AGGREGATION_TEMPORALITY_CUMULATIVE
HistogramDataPoints #0
Data point attributes:
     -> gen_ai.token.type: Str(input)
StartTimestamp: 0
Timestamp: 5
Count: 3
Sum: 42.5
Min: 1
Max: 40
ExplicitBounds #0: 1
Buckets #0, Count: 1
Buckets #1, Count: 2
Exemplars:
Exemplar #0
     -> Trace ID: \n     -> Value: 3
Metric #1
Descriptor:
     -> Name: sent
     -> Description: \n     -> Unit: \n     -> DataType: Sum
     -> IsMonotonic: true
NumberDataPoints #0
Data point attributes:
     -> sink: Str(kafka)
StartTimestamp: 0
Timestamp: 0
Value: 12
NumberDataPoints #1
StartTimestamp: 0
Timestamp: 0
Value: 1.5
";

const SPANS: &str = "ResourceSpans #0
Resource SchemaURL: \nResource attributes:
     -> service.name: Str(shop)
ScopeSpans #0
ScopeSpans SchemaURL: https://example.com/1.0.0
InstrumentationScope outflow 0.1.0
Span #0
    Trace ID       : 0af7651916cd43dd8448eb211c80319c
    Parent ID      : b7ad6b7169203331
    ID             : 3b770ddb3ccb4bb3
    Name           : chat gpt-4o
    Kind           : SPAN_KIND_CLIENT
Start time: 5
End time: 7
    Status code    : STATUS_CODE_UNSET
    Status message : \nAttributes:
     -> server.port: Int(443)
Span #1
    Trace ID       : 0af7651916cd43dd8448eb211c80319c
    Parent ID      : \n    ID             : 4b770ddb3ccb4bb3
    Name           : chat
    Kind           : SPAN_KIND_CLIENT
Start time: 6
End time: 8
    Status code    : STATUS_CODE_ERROR
    Status message : no answer
";

fn read(output: &str) -> Received {
    let mut received = Received::default();
    received.read(output.as_bytes());
    received
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn records_are_read_with_all_that_they_carry() {
    let received = read(LOGS);
    let attributes = [
        ("finding.id", text("abc: d")),
        ("d", Value::Double(1.5)),
        ("b", Value::Bool(true)),
        ("i", Value::Int(-3)),
        ("m", Value::Other("Map(x:Str(y) (z), arr:Slice(Str(p), Int(4)))".to_owned())),
        ("text", text("one\n\nthree")),
    ];
    let resource: Attributes =
        [("service.name".to_owned(), text("outflow")), ("n".to_owned(), Value::Int(7))].into_iter().collect();
    let scope = "outflow.findings 0.1.0".to_owned();
    let schema_url = "https://example.com/1.0.0".to_owned();
    let first = Record {
        resource: resource.clone(),
        scope: scope.clone(),
        schema_url: schema_url.clone(),
        time_ns: 1_700_000_000_000_000_000,
        observed_time_ns: 1_700_000_000_000_000_001,
        severity_text: "WARN".to_owned(),
        severity_number: 13,
        event_name: "outflow.finding".to_owned(),
        body: Some(text("line one\nline: two")),
        attributes: attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    };
    let second = Record { resource, scope, schema_url, time_ns: 5, ..Record::default() };
    assert_eq!(received.records, [first, second]);
    assert!(received.metrics.is_empty());
}

#[test]
fn metrics_are_read_with_their_points() {
    let received = read(METRICS);
    let [tokens, sent] = &received.metrics[..] else { panic!("{received:#?}") };
    assert_eq!(
        (tokens.name.as_str(), &*tokens.unit, &*tokens.kind),
        ("gen_ai.client.token.usage", "{token}", "Histogram")
    );
    assert_eq!((&*tokens.scope, &tokens.resource["service.name"]), ("outflow", &text("outflow")));
    let attributes = Attributes::from([("gen_ai.token.type".to_owned(), text("input"))]);
    let (bounds, buckets) = (vec![1.0], vec![1, 2]);
    assert_eq!(tokens.points, [Point { attributes, value: None, count: Some(3), sum: Some(42.5), bounds, buckets }]);
    assert_eq!((tokens.temporality.as_str(), sent.temporality.as_str()), ("CUMULATIVE", ""));
    assert_eq!((sent.name.as_str(), sent.kind.as_str()), ("sent", "Sum"));
    let values: Vec<_> = sent.points.iter().map(|point| point.value).collect();
    assert_eq!(values, [Some(12.0), Some(1.5)]);
    assert_eq!(sent.points[0].attributes["sink"], text("kafka"));
    assert!(sent.points[1].attributes.is_empty());
}

#[test]
fn spans_are_read_with_where_they_hang() {
    let received = read(&format!("{SPANS}{LOGS}"));
    let first = Span {
        resource: Attributes::from([("service.name".to_owned(), text("shop"))]),
        scope: "outflow 0.1.0".to_owned(),
        schema_url: "https://example.com/1.0.0".to_owned(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        parent_id: "b7ad6b7169203331".to_owned(),
        id: "3b770ddb3ccb4bb3".to_owned(),
        name: "chat gpt-4o".to_owned(),
        kind: "CLIENT".to_owned(),
        start_ns: 5,
        end_ns: 7,
        status: "UNSET".to_owned(),
        attributes: Attributes::from([("server.port".to_owned(), Value::Int(443))]),
    };
    let second = Span {
        parent_id: String::new(),
        id: "4b770ddb3ccb4bb3".to_owned(),
        name: "chat".to_owned(),
        start_ns: 6,
        end_ns: 8,
        status: "ERROR".to_owned(),
        attributes: Attributes::new(),
        ..first.clone()
    };
    assert_eq!(received.spans, [first, second]);
    assert_eq!(received.records, read(LOGS).records, "what follows is read as without them");
}

/// Cut anywhere, it shows a beginning of what is there, and each of it whole.
#[test]
fn what_is_being_printed_just_now_is_no_record_yet() {
    let (all, text) = (read(LOGS).records, format!("{LOGS}{METRICS}"));
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let received = read(&text[..end]);
        assert_eq!(received.records, all[..received.records.len()], "cut at {end}");
        let points = received.metrics.iter().flat_map(|metric| &metric.points);
        assert!(points.clone().all(|point| point.value.is_some() || point.count.is_some()), "cut at {end}");
    }
    assert_eq!(read(&text).records.len(), 2);
}
