//! JSON web tokens: header and claims decode to JSON objects and the header names an algorithm. Source: RFC 7519 and RFC 7515.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::super::{Text, Verdict};

fn object(part: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Three parts between dots; the last one, the signature, may not be empty (`alg: none` proves nothing and opens nothing).
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let mut parts = text.secret().split(|byte| *byte == b'.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Verdict::Refused;
    };
    let algorithm =
        object(header).and_then(|header| header.get("alg")?.as_str().map(|name| !name.is_empty() && name != "none"));
    Verdict::proven_if(algorithm == Some(true) && !signature.is_empty() && object(claims).is_some())
}

/// Supabase's key that passes by row-level security: a token whose claims say `"role": "service_role"`. The publishable one says
/// `anon` and is left to the rule for all tokens. Source: Supabase documentation, "API keys".
pub(super) fn supabase_service_role(text: &Text<'_>) -> Verdict {
    let claims = text.secret().split(|byte| *byte == b'.').nth(1).and_then(object);
    let role = claims.as_ref().and_then(|claims| claims.get("role")?.as_str());
    if role == Some("service_role") { validate(text) } else { Verdict::Refused }
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn both_parts_are_json() {
        let token = |header: &str, claims: &str, signature: &str| {
            format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
        };
        let good = token(r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"sub":"demo"}"#, "c2lnbmF0dXJl");
        assert_eq!(verdict(validate, &good), Verdict::Proven);
        let service = token(r#"{"alg":"HS256"}"#, r#"{"iss":"supabase","role":"service_role"}"#, "c2ln");
        let public = token(r#"{"alg":"HS256"}"#, r#"{"iss":"supabase","role":"anon"}"#, "c2ln");
        assert_eq!(verdict(supabase_service_role, &service), Verdict::Proven);
        assert_eq!(verdict(supabase_service_role, &public), Verdict::Refused);
        for bad in [
            token(r#"{"typ":"JWT"}"#, r#"{"sub":"demo"}"#, "c2ln"),
            token(r#"{"alg":"none"}"#, r#"{"sub":"demo"}"#, "c2ln"),
            token(r#"{"alg":"HS256"}"#, "demo", "c2ln"),
            token(r#"{"alg":"HS256"}"#, "{}", ""),
            "eyJhbGciOiJIUzI1NiJ9.eyJ".to_owned(),
        ] {
            assert_eq!(verdict(validate, &bad), Verdict::Refused, "{bad}");
        }
    }
}
