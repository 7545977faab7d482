//! Fingerprints: equal leaks get equal fingerprints, and no text can be read from one without the key. Enters: matched bytes and
//! what they are, for a card number is the same with and without spaces. Leaves: a keyed hash. The key never leaves: it prints as its id alone.

use std::{borrow::Cow, fmt};

use hmac::{Hmac, KeyInit, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::units::hex;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Block of SHA-256: a shorter HMAC key is padded to it with zeros (RFC 2104, section 2).
const BLOCK_BYTES: usize = 64;

/// Hex digits of a fingerprint: HMAC-SHA256 cut to its first 128 bits (RFC 2104, section 5 allows half the hash).
const FINGERPRINT_DIGITS: usize = 32;

/// The key that fingerprints are made with: one a fleet, else one a host.
#[derive(Clone)]
pub struct FingerprintKey {
    bytes: [u8; KEY_BYTES],
    id: String,
}

/// Why a key file was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint key is 64 hexadecimal digits (32 random bytes), for example from `openssl rand -hex 32`")]
pub struct BadKey;

/// A keyed hash of matched text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// HMAC-SHA256 of the matched bytes, its first 128 bits in hexadecimal. Of card and phone numbers only the digits count, and
    /// e-mail addresses are taken in lower case, so that equal leaks group however they are written.
    pub value: String,
    /// Which key: fingerprints compare only under the same one.
    pub key_id: String,
}

impl FingerprintKey {
    /// A key of 32 random bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        let hash = Sha256::new().chain_update(b"outflow fingerprint key id\0").chain_update(bytes).finalize();
        Self { bytes, id: hex(&hash, 16) }
    }

    /// Reads the contents of a key file: 64 hexadecimal digits, spaces around them allowed.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let digits = text.trim().as_bytes();
        let mut bytes = [0; KEY_BYTES];
        if digits.len() != 2 * KEY_BYTES {
            return Err(BadKey);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |index: usize| pair.get(index).and_then(|digit| char::from(*digit).to_digit(16)).ok_or(BadKey);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).map_err(|_| BadKey)?;
        }
        Ok(Self::new(bytes))
    }

    /// The contents of a key file: what [`parse`](Self::parse) reads. The secret itself: write it to a file that only its
    /// owner can read, and nowhere else.
    pub fn expose(&self) -> String {
        hex(&self.bytes, 2 * KEY_BYTES) + "\n"
    }

    /// Names the key without telling it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The fingerprint of matched bytes that a rule for `entity` found.
    pub fn fingerprint(&self, entity: &str, text: &[u8]) -> Fingerprint {
        let mut block = [0; BLOCK_BYTES];
        block.iter_mut().zip(self.bytes).for_each(|(slot, byte)| *slot = byte);
        let mac = Hmac::<Sha256>::new(&block.into()).chain_update(normal_form(entity, text)).finalize().into_bytes();
        Fingerprint { value: hex(&mac, FINGERPRINT_DIGITS), key_id: self.id.clone() }
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FingerprintKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is the same in every spelling of one thing.
fn normal_form<'a>(entity: &str, text: &'a [u8]) -> Cow<'a, [u8]> {
    match entity {
        "CREDIT_CARD" | "PHONE_NUMBER" => text.iter().copied().filter(u8::is_ascii_digit).collect(),
        "EMAIL_ADDRESS" => text.to_ascii_lowercase().into(),
        _ => text.into(),
    }
}

/// A stable id over some fields: each is hashed with its length before it, so that no two lists collide.
pub(super) fn stable_id(fields: &[&str]) -> String {
    let mut hash = Sha256::new().chain_update(b"outflow finding id v1\0");
    for field in fields {
        hash.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(field.as_bytes());
    }
    hex(&hash.finalize(), 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> FingerprintKey {
        FingerprintKey::new([byte; 32])
    }

    #[test]
    fn fingerprints_are_hmac_sha256() {
        // Checked with Python: hmac.new(bytes([11] * 32), b"Hi There", "sha256").hexdigest()
        assert_eq!(key(11).fingerprint("X", b"Hi There").value, "198a607eb44bfbc69903a0f1cf2bbdc5");
        assert_eq!(key(11).fingerprint("X", b"a"), key(11).fingerprint("X", b"a"));
        assert_ne!(key(11).fingerprint("X", b"a"), key(11).fingerprint("X", b"b"));
        let (one, other) = (key(1).fingerprint("X", b"a"), key(2).fingerprint("X", b"a"));
        assert!(one.value != other.value && one.key_id != other.key_id);
    }

    #[test]
    fn equal_leaks_group_however_they_are_written() {
        let same = |entity: &str, one: &str, other: &str| {
            key(1).fingerprint(entity, one.as_bytes()) == key(1).fingerprint(entity, other.as_bytes())
        };
        assert!(same("CREDIT_CARD", "4111 1111 1111 1111", "4111-1111-11111111"));
        assert!(same("PHONE_NUMBER", "+1 (202) 555-0143", "12025550143"));
        assert!(same("EMAIL_ADDRESS", "Jane.Doe@Example.com", "jane.doe@example.com"));
        assert!(!same("CREDIT_CARD", "4111 1111 1111 1111", "4012 8888 8888 1881"));
        assert!(!same("PASSWORD", "Solar-Panel", "solar-panel"));
    }

    #[test]
    fn a_key_survives_its_file_and_never_prints() {
        let key = FingerprintKey::parse(&format!(" {}\n", "0aF1".repeat(16))).unwrap();
        assert_eq!(FingerprintKey::parse(&key.expose()).unwrap().id(), key.id());
        assert_eq!(key.expose(), format!("{}\n", "0af1".repeat(16)));
        let printed = format!("{key:?}");
        assert!(printed.contains(key.id()) && !printed.contains("0af1") && !printed.contains("10, 241"), "{printed}");
        let not_hex = "g".repeat(64);
        let too_long = "0".repeat(65);
        for bad in ["", "00", not_hex.as_str(), too_long.as_str(), "é".repeat(32).as_str()] {
            assert_eq!(FingerprintKey::parse(bad).err(), Some(BadKey), "{bad}");
        }
    }

    #[test]
    fn ids_do_not_run_into_each_other() {
        assert_ne!(stable_id(&["ab", "c"]), stable_id(&["a", "bc"]));
        assert_eq!(stable_id(&["ab", "c"]).len(), 32);
    }
}
