//! Connections to a vendor that never come about, as the later rooms need them. Enters and leaves: plain facts about one service and one
//! host. No certificate is seen, only what the client was told about it.

use std::sync::Arc;

use super::Origin;
use crate::units::Timestamp;

/// Connections of a service to a host end before a byte of either side went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedHandshake {
    /// When the newest of them ended.
    pub at: Timestamp,
    /// Whose the newest was.
    pub origin: Arc<Origin>,
    /// The host that the client named.
    pub host: Arc<str>,
    /// Why the server's certificate did not pass, where the client asked: `X509_V_ERR_…` of openssl/x509_vfy.h.
    pub refused: Option<u32>,
    /// How many there were in a row.
    pub failed: u64,
    /// When the first of them ended.
    pub since: Timestamp,
}

/// What a number of openssl/x509_vfy.h means, for people; BoringSSL and AWS-LC have the same. The words are those of
/// `X509_verify_cert_error_string`, for the ones that a server's certificate brings about.
pub fn verify_error(number: u32) -> Option<&'static str> {
    Some(match number {
        2 | 20 | 21 => "its issuer is not known to the client",
        7 => "its signature is wrong",
        9 => "it is not valid yet",
        10 => "it has expired",
        18 => "it is self-signed",
        19 => "its chain ends in a root that the client does not trust",
        23 => "it was revoked",
        24 | 79 => "its issuer is no certificate authority",
        26 => "it is not meant for a server",
        62 => "it is for another host name",
        64 => "it is for another address",
        66..=68 => "its key or digest is too weak",
        _ => return None,
    })
}
