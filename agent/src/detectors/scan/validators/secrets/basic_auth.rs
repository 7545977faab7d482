//! Basic credentials: the value decodes to `user:password` in printable characters. Source: RFC 7617.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    super::{Text, Verdict},
    stand_in::is_placeholder,
};

/// Padding is often dropped.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The secret is the encoded part.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let Ok(decoded) = LENIENT.decode(text.secret()) else { return Verdict::Refused };
    let Ok(decoded) = std::str::from_utf8(&decoded) else { return Verdict::Refused };
    if decoded.chars().any(char::is_control) {
        return Verdict::Refused;
    }
    let Some((user, password)) = decoded.split_once(':') else { return Verdict::Refused };
    // An API key often stands in the user's place with an empty password.
    let placeholder = is_placeholder(if password.is_empty() { user } else { password }.as_bytes());
    let empty = user.is_empty() && password.is_empty();
    Verdict::proven_if(!empty && !placeholder)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn it_decodes_to_user_and_password() {
        // "deploy:Tr0ub4dor&3" with and without padding, then things that are no credentials.
        assert_eq!(verdict(validate, "ZGVwbG95OlRyMHViNGRvciYz"), Verdict::Proven);
        assert_eq!(verdict(validate, "YWI6Q29ycmVjdEhvcnNl"), Verdict::Proven);
        for bad in ["YXV0aGVudGljYXRpb24=", "////////", "authentication", "", "dXNlcjpwYXNzd29yZA=="] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
