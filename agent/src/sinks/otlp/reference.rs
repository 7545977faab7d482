//! `docs/OTLP.md` from the code. Enters: the tables of names. Leaves: Markdown, the same in each run.

use std::fmt::Write as _;

use super::{genai, names};

/// What stands above the tables.
const HEAD: &str = "# OTLP

What `outflow run` sends to an OpenTelemetry collector: every revision of a finding as a log record, metrics, and if wanted a span for each call. Over gRPC (mostly port
4317) or HTTP with protobuf (mostly port 4318; `/v1/logs`, `/v1/metrics` and `/v1/traces` are added to the endpoint), with TLS
and a certificate of our own where the collector wants one. Findings and spans are compressed with gzip, zstd or neither; metrics, one
small request an interval, are not. No redirect is followed, no proxy asked.

This page is made from the code: run the tests with `OUTFLOW_BLESS=1` to write it anew.

## What is promised

- **At least once.** A record stays in the store until the collector said that it has it. The OpenTelemetry SDK's own way of sending logs
  is not used: of a burst of 100,000 records it delivered 11,777 and called that a success, and it takes a partial success for a whole one.
- **The same record is the same bytes** whenever it is sent, by the same version of the agent. Drop duplicates by
  `outflow.finding.record_id`.
- **Nothing is dropped silently.** What the collector will never take becomes a dead letter with its reason; everything else waits.
- **No matched text.** The body is the finding's title: words of the rule, and names that may be shown. The masked excerpt is an
  attribute. Values of `headers` stand in no message of the agent, also when the collector quotes them.
- **Metrics are best effort.** They go through the SDK and `opentelemetry-otlp`. A point that is lost is made good by the next one: all totals
  count from the start of the agent. The agent's log says when exports begin to fail; points that a collector refuses of an export that it takes
  are told by nobody, for the exporter keeps that to itself.

A collector has queues too, which it loses when it ends, unless it is told to keep them: give its exporters a `sending_queue` with
`file_storage`.

## The environment

Where a key of `[[sinks.otlp]]` is missing, the agent's environment is asked, as the
[OpenTelemetry specification](https://opentelemetry.io/docs/specs/otel/protocol/exporter/) has it. A variable of one signal
(`OTEL_EXPORTER_OTLP_LOGS_…` for findings, `…_METRICS_…`, `…_TRACES_…` for spans) comes before the one for all.

| variable | key | its value |
| --- | --- | --- |
| `OTEL_EXPORTER_OTLP_ENDPOINT` | `endpoint` | an address. Over HTTP, `/v1/logs` and so on are added; not to that of one signal, which is used as it is |
| `OTEL_EXPORTER_OTLP_INSECURE` | | `true`: an address without a scheme (gRPC only) is not encrypted; else it is |
| `OTEL_EXPORTER_OTLP_PROTOCOL` | `protocol` | `grpc` or `http/protobuf` |
| `OTEL_EXPORTER_OTLP_COMPRESSION` | `compression` | `gzip`, `zstd` or `none`; `…_METRICS_COMPRESSION` changes nothing |
| `OTEL_EXPORTER_OTLP_HEADERS` | `headers` | `name=value,name=value`, percent-encoded |
| `OTEL_EXPORTER_OTLP_TIMEOUT` | `timeout` | milliseconds, 100 to 300,000 |
| `OTEL_EXPORTER_OTLP_CERTIFICATE` | `ca_file` | an absolute path. The three are passed over where the address is not encrypted |
| `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` | `cert_file` | an absolute path |
| `OTEL_EXPORTER_OTLP_CLIENT_KEY` | `key_file` | an absolute path |

- The config wins, key by key: with a `headers` of its own, also an empty one, a sink sends none of the environment's. Give each sink its
  own when they go to different receivers, for the variables are for all of them.
- Nothing is sent because of a variable alone: without `[[sinks.otlp]]` they are not read.
- A variable that is empty is not set. A wrong one is an error that names it, and the agent does not start; SDKs warn and take a default.
- Where nobody says: `grpc`, `gzip`, ten seconds, the system's certificates. There is no default endpoint.

## What an answer leads to

A request holds at most 500 records and 3.5 MB before compression, and two are under way at a time. *Halves*: the batch is sent again in
halves, down to the record that is at fault, because a collector does not say which one it is; what was taken already is taken twice then.

| gRPC | HTTP | what happens |
| --- | --- | --- |
| OK | 2xx | taken; a message without rejected records is a warning, and taken too |
| OK, some rejected | 2xx, some rejected | halves; the rejected ones become dead letters, reason `rejected` |
| INVALID_ARGUMENT | 400, 422 | halves; the record at fault becomes a dead letter, reason `invalid`; a 400 that is a web page comes from no collector, and waits |
| message larger than its limit | 413 | halves; a single record becomes a dead letter, reason `too_large` |
| UNIMPLEMENTED, if compressed | 415, if compressed | sent again at once without compression, and so until the connection is made anew |
| INVALID_ARGUMENT, INTERNAL, UNKNOWN, if nothing compressed was taken yet | 400, 422, 500, likewise | sent again at once without compression; if that helps, so from then on, else what the second answer leads to |
| INVALID_ARGUMENT for every record of several, or of one when nothing was ever taken | 400 or 422, likewise | waits: the fault is hardly the findings' |
| UNAVAILABLE, RESOURCE_EXHAUSTED, ABORTED, CANCELLED, DEADLINE_EXCEEDED, OUT_OF_RANGE, DATA_LOSS | 429, 502, 503, 504 | waits, as long as `RetryInfo` or `Retry-After` says, at most 5 minutes |
| UNAUTHENTICATED, PERMISSION_DENIED | 401, 403 | waits, says what to mend, and reads headers and certificates anew |
| NOT_FOUND, UNIMPLEMENTED | 404, 415, a redirect | waits, and says what to mend in the config |
| any other, an answer that is none | any other, an answer that is none | waits |
| no connection, no answer in time | no connection, no answer in time | waits, and connects anew, with headers and certificates as they are then |

## A finding

One log record. `event_name` is `outflow.finding`; `time_unix_nano` and `observed_time_unix_nano` are both the newest occurrence; the body
is the finding's title. The scope is `outflow` with the agent's version.

| finding | `severity_number` | `severity_text` |
| --- | --- | --- |
| info | 9, INFO | `info` |
| low | 13, WARN | `low` |
| medium | 14, WARN2 | `medium` |
| high | 17, ERROR | `high` |
| critical | 18, ERROR2 | `critical` |

The resource is who the finding is about: `service.name`, `host.name`, `host.id`, `container.id`, `k8s.pod.uid`, `k8s.namespace.name`,
`k8s.pod.name`, `k8s.container.name`; with `[sinks.cloud]` also `cloud.provider`, `cloud.region`, `cloud.availability_zone` and `cloud.account.id`.

| attribute | what |
| --- | --- |
";

/// Between the attributes of a finding and the metrics.
const METRICS: &str = "
Facts of behaviour follow under `outflow.fact.` and their name in the finding: `outflow.fact.model.pin_class`.

Names under `gen_ai.` are those of the conventions for generative AI, which are in development; the scope's `schema_url` says of which
version.

## Metrics

The resource is the agent: `service.name` is `outflow`, `service.version`, `service.instance.id` (another one for each start), `host.name`,
`host.id`, and the cloud as above. All metrics of [METRICS.md](METRICS.md) go out under the names that they have there, labels as attributes; and for each call:

| metric | unit | attributes | what |
| --- | --- | --- | --- |
";

/// Behind everything.
const TAIL: &str = "
Attributes of a call: `gen_ai.provider.name` and `gen_ai.operation.name` (`_OTHER` where there is none), `gen_ai.request.model`,
`gen_ai.response.model`, `server.address`, `server.port`, and `outflow.service`, the service that called. A metric has at most 1,000
combinations of them; what goes beyond is counted together under `otel.metric.overflow`.

## Spans

With `traces = true` each call to a model, and each of MCP, that the tap sees is a client span. It hangs below the span whose `traceparent` the
request carries, and has none when that one's trace is not recorded (flag 0); without one it is the root of a trace of its own. Its name is
the operation and the model, or MCP's method and the tool. The resource is that of findings: the service that called. No prompt, answer or
argument is in it. What a collector's answer leads to
stands above, but for this: nothing is kept in the store, and nothing is sent in halves. A request of 512 spans at most is tried again for six
times `timeout` (a minute, by default), as late as the collector asks, and dropped then; 8,192 spans wait meanwhile, and what finds no room is dropped. Those that it refuses are
given up. `outflow_sink_spans_total` counts all of it, and the agent's log says when spans begin to be lost, and why.
Besides `gen_ai.operation.name` (`execute_tool` for a tool of MCP),
`gen_ai.provider.name`, `gen_ai.request.model`, `gen_ai.response.model`, `server.address`, `server.port`, `process.pid`,
`process.executable.name`, `outflow.feature`, `outflow.cost.nano_usd` and `outflow.cost.source`:

| attribute | what |
| --- | --- |
";

/// Behind the spans.
const PROPOSED: &str = "
## Proposed names

With `experimental_names = true` these go out besides. They are proposals to the conventions (pull requests
[427](https://github.com/open-telemetry/semantic-conventions-genai/pull/427) and
[443](https://github.com/open-telemetry/semantic-conventions-genai/pull/443)), not in any version of them yet, and follow what becomes of
those: do not build on them what must not break. The names under `outflow.` stay.

| attribute | what |
| --- | --- |
";

/// The text of `docs/OTLP.md`.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    // Writing to a string cannot fail.
    for (name, says) in names::ALL {
        let _ = writeln!(out, "| `{name}` | {says} |");
    }
    out.push_str(METRICS);
    for (name, unit, attributes, says) in genai::ABOUT {
        let _ = writeln!(out, "| `{name}` | {unit} | {attributes} | {says} |");
    }
    out.push_str(TAIL);
    for (name, says) in names::SPAN {
        let _ = writeln!(out, "| `{name}` | {says} |");
    }
    out.push_str(PROPOSED);
    for (name, says) in names::PROPOSED {
        let _ = writeln!(out, "| `{name}` | {says} |");
    }
    out
}
