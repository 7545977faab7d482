//! What logs and spans have in common, which we send ourselves: a request, a service that takes it, and an answer that may say "all but so many".
//! Enters and leaves: messages of OTLP. It talks to nobody by itself.

use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse, logs_service_client::LogsServiceClient},
    trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient},
};
use prost::Message;
use tonic::{Request, Response, Status, codec::CompressionEncoding, transport::Channel};

use super::{Signal, outcome::ANSWER_BYTES_MAX};

/// What an answer says of a request that it takes: by default, that it takes all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Partial {
    /// Records, or spans, that were not taken.
    pub(super) rejected: i64,
    /// Why, or a warning when none was.
    pub(super) message: String,
}

/// A request of one signal.
pub(super) trait Export: Message + Sized {
    /// Which.
    const SIGNAL: Signal;
    /// What its answers call those that were not taken, in ProtoJSON's two spellings.
    const REJECTED: [&str; 2];
    /// What answers it.
    type Answer: Message + Default;

    /// Asks its service over gRPC.
    fn ask(
        request: Request<Self>,
        channel: Channel,
        packed: Option<CompressionEncoding>,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;

    /// What the answer says.
    fn partial(answer: Self::Answer) -> Partial;
}

macro_rules! export {
    ($request:ty, $answer:ty, $client:ident, $signal:expr, $rejected:ident, $json:literal) => {
        impl Export for $request {
            const SIGNAL: Signal = $signal;
            const REJECTED: [&str; 2] = [$json, stringify!($rejected)];
            type Answer = $answer;

            async fn ask(
                request: Request<Self>,
                channel: Channel,
                packed: Option<CompressionEncoding>,
            ) -> Result<Response<Self::Answer>, Status> {
                let client = $client::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
                let mut client = packed.into_iter().fold(client, $client::send_compressed);
                client.export(request).await
            }

            fn partial(answer: Self::Answer) -> Partial {
                let partial = answer.partial_success.unwrap_or_default();
                Partial { rejected: partial.$rejected, message: partial.error_message }
            }
        }
    };
}

export!(
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
    LogsServiceClient,
    Signal::Logs,
    rejected_log_records,
    "rejectedLogRecords"
);
export!(
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
    TraceServiceClient,
    Signal::Traces,
    rejected_spans,
    "rejectedSpans"
);
