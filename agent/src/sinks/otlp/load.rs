//! One request of any signal. Enters: what the encoders made. Leaves: bytes for HTTP, or a call of the right gRPC service. The answers of the
//! three services are the same on the wire (a count of what was rejected, and a sentence), so that one table of outcomes serves all.

use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
        logs_service_client::LogsServiceClient,
    },
    metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
    trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
};
use prost::Message as _;
use tonic::{Request, Status, codec::CompressionEncoding, metadata::MetadataMap, transport::Channel};

use super::{collector::REQUEST_BYTES_MAX, outcome::ANSWER_BYTES_MAX};

/// A request.
#[derive(Clone, Debug)]
pub(super) enum Load {
    /// Findings.
    Logs(ExportLogsServiceRequest),
    /// The agent's own.
    Metrics(ExportMetricsServiceRequest),
    /// Calls.
    Spans(ExportTraceServiceRequest),
}

impl Load {
    /// Its size before compression, when it is more than may be sent: findings can be sent in parts, the others are as large as they are.
    pub(super) fn excess_bytes(&self) -> Option<usize> {
        match self {
            Self::Logs(request) => Some(request.encoded_len()).filter(|bytes| *bytes > REQUEST_BYTES_MAX),
            Self::Metrics(_) | Self::Spans(_) => None,
        }
    }

    /// As HTTP carries it.
    pub(super) fn body(&self) -> Vec<u8> {
        match self {
            Self::Logs(request) => request.encode_to_vec(),
            Self::Metrics(request) => request.encode_to_vec(),
            Self::Spans(request) => request.encode_to_vec(),
        }
    }

    /// Calls the service that is for it.
    pub(super) async fn call(
        self,
        channel: Channel,
        packing: Option<CompressionEncoding>,
        headers: MetadataMap,
    ) -> Result<ExportLogsServiceResponse, Status> {
        // The three clients have the same methods and no type in common.
        macro_rules! export {
            ($client:ident, $request:expr, $rejected:ident) => {{
                let client = $client::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
                let mut client = match packing {
                    Some(encoding) => client.send_compressed(encoding),
                    None => client,
                };
                let mut request = Request::new($request);
                *request.metadata_mut() = headers;
                let partial = client.export(request).await?.into_inner().partial_success;
                partial.map(|partial| (partial.$rejected, partial.error_message))
            }};
        }
        let partial = match self {
            Self::Logs(request) => export!(LogsServiceClient, request, rejected_log_records),
            Self::Metrics(request) => export!(MetricsServiceClient, request, rejected_data_points),
            Self::Spans(request) => export!(TraceServiceClient, request, rejected_spans),
        };
        let partial_success = partial.map(|(rejected_log_records, error_message)| ExportLogsPartialSuccess {
            rejected_log_records,
            error_message,
        });
        Ok(ExportLogsServiceResponse { partial_success })
    }
}
