//! The data of a Kubernetes Secret: names with values in base64. Enters: the lines of `data:`. Leaves: a verdict: one of them decodes to
//! something that is no stand-in. Source: Kubernetes, "Secrets".

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    super::{Text, Verdict},
    stand_in::is_placeholder,
};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The secret is the block of names and values.
pub(super) fn data(text: &Text<'_>) -> Verdict {
    // Values are what stands behind a colon; quotes, commas and white space part them from the next name.
    let values = text.secret().split(|byte| *byte == b':').skip(1).filter_map(|part| {
        part.split(|byte| byte.is_ascii_whitespace() || b"\"\\',".contains(byte)).find(|word| !word.is_empty())
    });
    Verdict::proven_if(values.filter_map(|value| LENIENT.decode(value).ok()).any(|decoded| {
        let printable =
            std::str::from_utf8(&decoded).is_ok_and(|text| !text.chars().any(|c| c.is_control() && c != '\n'));
        printable && decoded.len() >= 6 && !is_placeholder(&decoded)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn one_value_must_decode() {
        // "Fake-Outflow-9", then "admin" alone, text that is no base64, and a stand-in ("changeme").
        for (block, expected) in [
            ("username: YWRtaW4=\n  password: RmFrZS1PdXRmbG93LTk=", Verdict::Proven),
            ("\"password\": \"RmFrZS1PdXRmbG93LTk=\"", Verdict::Proven),
            ("username: YWRtaW4=", Verdict::Refused),
            ("mode: production", Verdict::Refused),
            ("password: Y2hhbmdlbWU=", Verdict::Refused),
        ] {
            assert_eq!(verdict(data, block), expected, "{block}");
        }
    }
}
