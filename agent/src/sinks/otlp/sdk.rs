//! What the exporter of `opentelemetry-otlp` sends by. Enters: settings, and requests as it makes them. Leaves: the same requests
//! with the header fields of the settings and no others: it adds those of `OTEL_EXPORTER_OTLP_HEADERS` whatever the config says, and a
//! token meant for others must not go along.

use std::pin::Pin;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::{
    blocking::{Client, ClientBuilder},
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap},
};
use tonic::{Status, metadata::MetadataMap};

use super::{OtlpSettings, http};
use crate::sinks::ConnectError;

/// These header fields, for gRPC.
pub(super) fn only(
    headers: HeaderMap,
) -> impl FnMut(tonic::Request<()>) -> Result<tonic::Request<()>, Status> + Clone + Send + Sync + 'static {
    let headers = MetadataMap::from_headers(headers);
    move |mut request| {
        *request.metadata_mut() = headers.clone();
        Ok(request)
    }
}

/// A client for HTTP. It waits, so it must not be made or dropped inside a tokio runtime.
#[derive(Debug)]
pub(super) struct OwnClient(Client);

impl OwnClient {
    pub(super) fn new(settings: &OtlpSettings, headers: HeaderMap) -> Result<Self, ConnectError> {
        let client = ClientBuilder::from(http::client(settings, headers)?)
            .timeout(settings.timeout)
            .build()
            .map_err(|error| failed("metrics", settings, &error.without_url()))?;
        Ok(Self(client))
    }
}

impl HttpClient for OwnClient {
    // As `async_trait` writes it.
    fn send_bytes<'own, 'sending>(
        &'own self,
        mut request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sending>>
    where
        'own: 'sending,
        Self: 'sending,
    {
        let mut theirs = HeaderMap::new();
        for name in [CONTENT_TYPE, CONTENT_ENCODING] {
            if let Some(value) = request.headers_mut().remove(&name) {
                theirs.insert(name, value);
            }
        }
        *request.headers_mut() = theirs;
        self.0.send_bytes(request)
    }
}

pub(super) fn failed(what: &str, settings: &OtlpSettings, error: &dyn std::fmt::Display) -> ConnectError {
    ConnectError(format!("cannot send {what} to {}: {error}", settings.endpoint))
}
