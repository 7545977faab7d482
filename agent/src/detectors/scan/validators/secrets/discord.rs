//! Discord bot tokens: the first part is the base64 of the bot's numeric id. Source: Discord developer documentation,
//! "Reference", sections "Authentication" (an example token) and "Snowflakes" (ids are decimal, 17 to 20 digits).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::super::{Text, Verdict};

/// Three parts between dots.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let first = text.secret().split(|byte| *byte == b'.').next().unwrap_or_default();
    let Ok(id) = URL_SAFE_NO_PAD.decode(first) else { return Verdict::Refused };
    Verdict::proven_if((17..=20).contains(&id.len()) && id.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn the_first_part_is_a_number() {
        // 123456789012345678
        assert_eq!(verdict(validate, "MTIzNDU2Nzg5MDEyMzQ1Njc4.Gx1y2z.rest"), Verdict::Proven);
        assert_eq!(verdict(validate, "TWFueSB3b3JkcyBhbmQgbW9y.Gx1y2z.rest"), Verdict::Refused);
        assert_eq!(verdict(validate, "x"), Verdict::Refused);
    }
}
