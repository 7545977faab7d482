//! Finland, henkilötunnus: birthday, sign of the century, serial, check character mod 31. Sources: Digital and Population Data
//! Services Agency, "The personal identity code" (the signs added in 2023 too).

use super::{
    super::{Text, Verdict},
    number::{Number, is_date, is_sign_at},
};

/// See the module.
pub(super) fn hetu(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(holds(text).unwrap_or_default())
}

fn holds(text: &Text<'_>) -> Option<bool> {
    let secret = text.secret();
    let century = match secret.get(6)?.to_ascii_uppercase() {
        b'+' => 1800,
        b'-' | b'U'..=b'Y' => 1900,
        b'A'..=b'F' => 2000,
        _ => return None,
    };
    let born = Number::leading(text, 6)?;
    let serial = Number::from_signs(secret.get(7..10)?)?;
    let rest = (born.part(0..6) * 1000 + serial.part(0..3)) % 31;
    Some(
        secret.len() == 11
            && is_date(century + born.part(4..6), born.part(2..4), born.part(0..2))
            && serial.part(0..3) >= 2
            && is_sign_at(b"0123456789ABCDEFHJKLMNPRSTUVWXY", rest, secret.get(10).map(u8::to_ascii_uppercase)),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(
            hetu,
            &["131052-308T", "300370-1290", "050867-583S"],
            &["310252-308T", "131052-308U", "131052*308T", "480357-688F", "141075-6034"],
        );
    }
}
