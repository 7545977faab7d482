//! OTLP over HTTP, with protobuf bodies. Enters: a request. Leaves: an [`Outcome`]. It follows no redirect, asks no proxy, and reads no more
//! of an answer than one can be.

use std::io::{self, Write as _};

use bytes::Bytes;
use reqwest::{
    Client, ClientBuilder, Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER},
    redirect::Policy,
};

use super::{
    Compression, OtlpSettings, Signal,
    collector::{AGENT, CONNECT_TIME},
    export::Export,
    outcome::{ANSWER_BYTES_MAX, HttpAnswer, Outcome, Packing, of_failure, of_http},
    tls::{self, Tls},
    words::Words,
};
use crate::{clock, sinks::ConnectError};

/// What OTLP bodies are.
const PROTOBUF: &str = "application/x-protobuf";

/// A client with its connections, for one signal.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    url: String,
    compression: Compression,
}

/// The address of one signal: below the endpoint, unless that is the whole of it.
pub(super) fn url(settings: &OtlpSettings, signal: Signal) -> String {
    if settings.adds_path {
        format!("{}{}", settings.endpoint.trim_end_matches('/'), signal.path())
    } else {
        settings.endpoint.clone()
    }
}

/// How every client of a collector is made: it follows no redirect and asks no proxy, and sends nothing after the time of a request (see
/// [`channel`](super::grpc::channel)).
pub(super) fn client(settings: &OtlpSettings, headers: HeaderMap) -> Result<ClientBuilder, ConnectError> {
    let tls = Tls::read(&settings.trust())?.map_or_else(tls::unused, |tls| Ok(tls.rustls()))?;
    Ok(Client::builder()
        .user_agent(AGENT)
        .default_headers(headers)
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIME.min(settings.timeout))
        .tcp_user_timeout(settings.timeout)
        .tls_backend_preconfigured(tls))
}

impl Http {
    pub(super) fn new(settings: &OtlpSettings, signal: Signal, headers: HeaderMap) -> Result<Self, ConnectError> {
        let client = client(settings, headers)?
            .build()
            .map_err(|error| ConnectError(format!("cannot talk to {}: {}", settings.endpoint, error.without_url())))?;
        Ok(Self { client, url: url(settings, signal), compression: settings.compression })
    }

    pub(super) async fn export<R: Export>(&self, request: &R, packing: Packing, words: &Words) -> Outcome {
        let encoding = self.compression.encoding().filter(|_| packing != Packing::Plain);
        let body = request.encode_to_vec();
        let body = match encoding {
            None => body,
            Some(_) => match packed(&body, self.compression) {
                Ok(body) => body,
                Err(error) => return Outcome::not_now(format!("cannot compress {}: {error}", R::SIGNAL.name())),
            },
        };
        let mut sending = self.client.post(&self.url).header(CONTENT_TYPE, PROTOBUF).body(body);
        if let Some(encoding) = encoding {
            sending = sending.header(CONTENT_ENCODING, encoding);
        }
        let answer = match sending.send().await {
            Ok(answer) => answer,
            Err(error) => return of_failure(&error.without_url(), words),
        };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = match whole(answer).await {
            Ok(Some(body)) => body,
            Ok(None) => {
                return Outcome::not_now(format!(
                    "{} answers {status} with more than an answer holds: check `endpoint`",
                    words.endpoint()
                ));
            }
            Err(error) => return of_failure(&error.without_url(), words),
        };
        let answer = HttpAnswer {
            status,
            content_type: text(&headers, &CONTENT_TYPE),
            retry_after: text(&headers, &RETRY_AFTER),
            body: &body,
        };
        of_http::<R>(answer, packing, clock::now(), words)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The whole body; `None` when it is longer than an answer can be.
async fn whole(mut answer: Response) -> Result<Option<Bytes>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.into()))
}

fn packed(body: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(body.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(body)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::bulk::compress(body, zstd::DEFAULT_COMPRESSION_LEVEL),
    }
}
