//! Tokens that hold a JSON object in base64: 1Password (`ops_`), Grafana Cloud (`glc_`, and the older keys), Sentry (`sntrys_`).
//! Enters: a token. Leaves: whether the text from the first `eyJ` on decodes to an object that is not empty. Sources: the
//! vendors' documentation of service account tokens, access policy tokens and organization tokens; `sntrys_` goes on with `_` and
//! a secret. What the object says is not judged.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use super::super::{Text, Verdict};

/// Padding, and the bits that a cut leaves in the last character, are the vendors' matter.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, CONFIG);

fn is_object(encoded: &[u8]) -> bool {
    let object = |engine: &GeneralPurpose| {
        serde_json::from_slice::<Map<String, Value>>(&engine.decode(encoded).ok()?).ok().filter(|map| !map.is_empty())
    };
    object(&STANDARD).is_some() || object(&URL_SAFE).is_some()
}

/// A prefix, the object, perhaps `_` and more.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let Some(encoded) = memchr::memmem::find(secret, b"eyJ").and_then(|at| secret.get(at..)) else {
        return Verdict::Refused;
    };
    let before_secret = memchr::memrchr(b'_', encoded).and_then(|at| encoded.get(..at)).unwrap_or_default();
    Verdict::proven_if(is_object(encoded) || is_object(before_secret))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn the_object_is_there() {
        let encoded = STANDARD.encode(r#"{"iat":1,"url":"https://fake.invalid","org":"outflow-fake"}"#);
        assert_eq!(verdict(validate, &format!("sntrys_{encoded}_OutflowFakeSecretPart")), Verdict::Proven);
        assert_eq!(verdict(validate, &format!("glc_{encoded}")), Verdict::Proven);
        assert_eq!(verdict(validate, &format!("glc_{}", encoded.trim_end_matches('='))), Verdict::Proven);
        for bad in ["glc_eyJOutflowFakeNoObjectAtAll", "glc_", "ops_eyJ", "glc_eyJ9", "glc_e30"] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
