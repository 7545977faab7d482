//! OTLP over gRPC. Enters: a request. Leaves: an [`Outcome`]. One HTTP/2 connection, made when it is first needed and again when it is lost.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::header::HeaderMap;
use tonic::{
    Request,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

use super::{
    Compression, OtlpSettings,
    collector::{AGENT, CONNECT_TIME},
    export::Export,
    outcome::{Outcome, Packing, of_answer, of_status},
    tls::Tls,
    words::{Words, chain},
};
use crate::sinks::ConnectError;

/// How often a connection with something under way is asked whether it lives: one whose other end is gone says nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A connection to be.
#[derive(Debug)]
pub(super) struct Grpc {
    channel: Channel,
    encoding: Option<CompressionEncoding>,
    headers: MetadataMap,
}

/// What moves the bytes of the SDK's exporter, whose own thread only waits.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("outflow-metrics").enable_all().build()
}

/// A channel to the endpoint. Needs a tokio runtime around it. What the other side's system has not acknowledged by the time that a request may
/// take is never sent again: by default Linux goes on for a quarter of an hour, also when the request was given up, or the agent killed, and an old
/// record would come behind newer ones of the same finding.
pub(super) fn channel(settings: &OtlpSettings) -> Result<Channel, ConnectError> {
    let bad = |error: &tonic::transport::Error| {
        let why = chain(error).last().map(ToString::to_string).unwrap_or_default();
        ConnectError(format!("cannot talk to {}: {why}", settings.endpoint))
    };
    let mut endpoint = Endpoint::from_shared(settings.endpoint.clone())
        .and_then(|endpoint| endpoint.user_agent(AGENT))
        .map_err(|error| bad(&error))?
        .connect_timeout(CONNECT_TIME.min(settings.timeout))
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(settings.timeout);
    if let Some(tls) = Tls::read(&settings.trust())? {
        endpoint = endpoint.tls_config(tls.tonic()).map_err(|error| bad(&error))?;
    }
    // As tonic's own, which has no setting for the last of these.
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_tcp_user_timeout(Some(settings.timeout));
    Ok(endpoint.connect_with_connector_lazy(connector))
}

impl Grpc {
    pub(super) fn new(settings: &OtlpSettings, headers: HeaderMap) -> Result<Self, ConnectError> {
        let encoding = match settings.compression {
            Compression::None => None,
            Compression::Gzip => Some(CompressionEncoding::Gzip),
            Compression::Zstd => Some(CompressionEncoding::Zstd),
        };
        Ok(Self { channel: channel(settings)?, encoding, headers: MetadataMap::from_headers(headers) })
    }

    pub(super) async fn export<R: Export>(&self, request: R, packing: Packing, words: &Words) -> Outcome {
        let encoding = self.encoding.filter(|_| packing != Packing::Plain);
        let mut request = Request::new(request);
        *request.metadata_mut() = self.headers.clone();
        match R::ask(request, self.channel.clone(), encoding).await {
            Ok(answer) => of_answer(&R::partial(answer.into_inner()), words),
            Err(status) => of_status(R::SIGNAL, &status, packing, words),
        }
    }
}
