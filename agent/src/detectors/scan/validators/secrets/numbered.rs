//! Base64 text that begins with a number or a known word and a colon. Enters: a token. Leaves: a verdict. Sources: Atlassian Data
//! Center (Bitbucket `BBDC-`, Jira and Confluence personal access tokens: a number, `:`, twenty random bytes; CredSweeper
//! `ValueAtlassianTokenCheck`); JFrog reference tokens (`reftkn:01:` and a time; JFrog Platform REST API, "Create token").

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::super::{Text, Verdict};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The number and at least this many bytes behind it.
const MIN_RANDOM_BYTES: usize = 16;
/// Digits of the largest number of 64 bits.
const MAX_DIGITS: usize = 20;

/// `BBDC-…` and `NjAy…`: a number, a colon, random bytes.
pub(super) fn atlassian_data_center(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let encoded = secret.strip_prefix(b"BBDC-").unwrap_or(secret);
    let Ok(decoded) = LENIENT.decode(encoded) else { return Verdict::Refused };
    let Some(colon) = memchr::memchr(b':', &decoded) else { return Verdict::Refused };
    let number = decoded.get(..colon).unwrap_or_default();
    let random = decoded.get(colon + 1..).unwrap_or_default();
    let number_fits = (1..=MAX_DIGITS).contains(&number.len()) && number.iter().all(u8::is_ascii_digit);
    // Text behind the colon would be something else that was encoded: `8080:http`.
    Verdict::proven_if(number_fits && random.len() >= MIN_RANDOM_BYTES && !random.is_ascii())
}

/// `cmVmdGtuOjAx…`: `reftkn:`, a version, a time, random characters.
pub(super) fn jfrog(text: &Text<'_>) -> Verdict {
    let Ok(decoded) = LENIENT.decode(text.secret()) else { return Verdict::Refused };
    let mut parts = decoded.split(|byte| *byte == b':');
    let word = parts.next() == Some(b"reftkn");
    let digits = |part: Option<&[u8]>| part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit));
    Verdict::proven_if(word && digits(parts.next()) && digits(parts.next()) && parts.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn the_number_decodes() {
        let mut token = b"602214076000:".to_vec();
        token.extend(200..220_u8);
        let encoded = LENIENT.encode(&token);
        assert_eq!(verdict(atlassian_data_center, &encoded), Verdict::Proven);
        assert_eq!(verdict(atlassian_data_center, &format!("BBDC-{encoded}")), Verdict::Proven);
        for bad in
            [LENIENT.encode("8080:plain text that is no key"), LENIENT.encode("12:"), "NjAyMj".into(), "%".into()]
        {
            assert_eq!(verdict(atlassian_data_center, &bad), Verdict::Refused, "{bad}");
        }
        assert_eq!(verdict(jfrog, &LENIENT.encode("reftkn:01:1795392000:OutflowFake")), Verdict::Proven);
        assert_eq!(verdict(jfrog, &LENIENT.encode("reftkn:no:1795392000:OutflowFake")), Verdict::Refused);
        assert_eq!(verdict(jfrog, "cmVmZXJlbmNl"), Verdict::Refused);
    }
}
