//! Signatures of requests by the specification Standard Webhooks (github.com/standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`).
//! Enters: a secret, a request. Leaves: the value of `webhook-signature`. The secret prints as nothing and stands in no error.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::sinks::ConnectError;

/// How a secret begins.
const PREFIX: &str = "whsec_";

/// Bytes of a key that the specification allows.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The keys of a receiver: one, or while it is replaced several.
pub(super) struct Signer(Vec<Hmac<Sha256>>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer of {} keys", self.0.len())
    }
}

impl Signer {
    /// Secrets with spaces between.
    pub(super) fn new(secrets: &str) -> Result<Self, ConnectError> {
        let form = "`secret` holds no secret of Standard Webhooks: `whsec_` and 24 to 64 bytes in base64, such as \
                    `echo whsec_$(openssl rand -base64 32)` makes";
        let bad = || ConnectError(form.to_owned());
        let key = |secret: &str| {
            let bytes = STANDARD.decode(secret.strip_prefix(PREFIX).unwrap_or(secret)).map_err(|_| bad())?;
            let fits = KEY_BYTES.contains(&bytes.len());
            if fits { Hmac::new_from_slice(&bytes).map_err(|_| bad()) } else { Err(bad()) }
        };
        let keys: Vec<_> = secrets.split_whitespace().map(key).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(bad()) } else { Ok(Self(keys)) }
    }

    /// One signature a key.
    pub(super) fn sign(&self, id: &str, timestamp_s: u64, body: &str) -> String {
        let sign = |key: &Hmac<Sha256>| {
            let mac = key.clone().chain_update(format!("{id}.{timestamp_s}.").as_bytes()).chain_update(body.as_bytes());
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}
