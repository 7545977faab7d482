//! How requests and answers look on either wire. Enters: bodies. Leaves: messages; and the other way round.

use std::io::Read as _;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Response,
    header::{CONTENT_TYPE, HeaderValue},
};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use prost::Message as _;

use super::{Answer, HungUp, Wire};

/// A request's message, unpacked.
pub(super) struct Unpacked {
    pub(super) bytes: Bytes,
    pub(super) encoding: Option<String>,
}

/// Takes a request out of its wrapping; `None` when it is not wrapped as it says.
pub(super) fn message(wire: Wire, headers: &HeaderMap, body: &Bytes) -> Option<Unpacked> {
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if wire != Wire::Grpc {
        let encoding = field("content-encoding");
        let bytes = unpacked(body, encoding.as_deref())?;
        return Some(Unpacked { bytes, encoding });
    }
    // "Length-Prefixed-Message" of gRPC over HTTP/2: a flag, four bytes of length, the message.
    let (head, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes(head.get(1..)?.try_into().ok()?);
    if usize::try_from(length).ok()? != message.len() {
        return None;
    }
    let encoding = if head.first() == Some(&1) { Some(field("grpc-encoding")?) } else { None };
    let bytes = unpacked(&body.slice(5..), encoding.as_deref())?;
    Some(Unpacked { bytes, encoding })
}

fn unpacked(bytes: &Bytes, encoding: Option<&str>) -> Option<Bytes> {
    let mut out = Vec::new();
    match encoding {
        None | Some("identity") => return Some(bytes.clone()),
        Some("gzip") => flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut out).ok()?,
        Some("zstd") => zstd::stream::read::Decoder::new(&bytes[..]).ok()?.read_to_end(&mut out).ok()?,
        Some(_) => return None,
    };
    Some(out.into())
}

fn full(bytes: impl Into<Bytes>) -> http_body_util::combinators::UnsyncBoxBody<Bytes, HungUp> {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Success, but for so many.
pub(super) fn taken(wire: Wire, rejected: usize, message: &str) -> Answer {
    let partial = ExportLogsPartialSuccess {
        rejected_log_records: i64::try_from(rejected).unwrap_or(i64::MAX),
        error_message: message.to_owned(),
    };
    let is_whole = rejected == 0 && message.is_empty();
    let answer = ExportLogsServiceResponse { partial_success: (!is_whole).then_some(partial) }.encode_to_vec();
    if wire != Wire::Grpc {
        return raw(200, &[("content-type", "application/x-protobuf".to_owned())], answer);
    }
    let mut framed = vec![0];
    framed.extend(u32::try_from(answer.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend(answer);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = full(framed).with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync();
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

/// A refusal, on the wire it is for.
pub(super) fn refused(wire: Wire, code: i32, http_status: u16, message: &str) -> Answer {
    if wire == Wire::Grpc {
        return status(wire, code, message, &[]);
    }
    raw(http_status, &[("content-type", "application/x-protobuf".to_owned())], rpc_status(code, message))
}

/// A gRPC status alone.
pub(super) fn status(wire: Wire, code: i32, message: &str, details: &[u8]) -> Answer {
    if wire != Wire::Grpc {
        // Those that pass, by the OTLP specification; 400 would be the end of a record that is alone in its request.
        let status = match code {
            8 => 429,
            1 | 4 | 10 | 11 | 14 | 15 => 503,
            _ => 400,
        };
        return refused(wire, code, status, message);
    }
    let escaped: String = message.bytes().map(escape).collect();
    let mut headers = vec![
        ("content-type", "application/grpc".to_owned()),
        ("grpc-status", code.to_string()),
        ("grpc-message", escaped),
    ];
    if !details.is_empty() {
        headers.push(("grpc-status-details-bin", STANDARD_NO_PAD.encode(details)));
    }
    raw(200, &headers, Vec::new())
}

/// gRPC's messages are percent-encoded.
fn escape(byte: u8) -> String {
    if (b' '..=b'~').contains(&byte) && byte != b'%' { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

/// `google.rpc.Status` with a code and a message.
fn rpc_status(code: i32, message: &str) -> Vec<u8> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
    }
    Status { code, message: message.to_owned() }.encode_to_vec()
}

/// An answer as it is given.
pub(super) fn raw(status: u16, headers: &[(&'static str, String)], body: Vec<u8>) -> Answer {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = status.try_into().unwrap_or_default();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().insert(*name, value);
        }
    }
    answer
}
