//! Legal entity identifier: 18 characters and two check digits, mod 97-10. Source: ISO 17442-1; GLEIF, "ISO 17442: the LEI code
//! structure".

use super::super::{Text, Verdict, checksums::mod_97, labels};

/// See the module. One in a hundred random texts passes, so besides the usual zeros after the issuer, or the label, must be there.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let secret = text.secret();
    let usual = secret.get(4..6) == Some(b"00");
    let letters = secret.iter().any(u8::is_ascii_uppercase);
    let holds = secret.len() == 20 && letters && mod_97(secret.iter()) == Some(1);
    Verdict::proven_if(holds && (usual || labels::named(text.before(), &["lei"])))
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn check_digits() {
        assert_eq!(verdict(validate, "529900T8BM49AURSDO55"), Verdict::Proven);
        for bad in ["529900T8BM49AURSDO56", "529910T8BM49AURSDO55", "52990018014941278055", "5299"] {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
