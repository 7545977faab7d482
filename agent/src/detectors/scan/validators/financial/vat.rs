//! VAT numbers: by country, the length and the check digits. Sources: European Commission, "VIES: structure of VAT
//! identification numbers"; the algorithms as in Wikipedia, "VAT identification number", and the tax offices named beside each;
//! read 2026-11.

use super::super::{
    Text, Verdict,
    checksums::{all_equal, luhn, mod_97, weighted},
};

/// What follows the country.
type Check = fn(&[u8]) -> bool;

/// By country.
const COUNTRIES: &[(&[u8], Check)] = &[
    (b"AT", austria),
    (b"BE", belgium),
    (b"BG", bulgaria),
    (b"CHE", switzerland),
    (b"CY", cyprus),
    (b"CZ", czechia),
    (b"DE", |number| exactly::<9>(number, mod_11_10)),
    (b"DK", |number| exactly::<8>(number, |digits| weighted(digits, &[2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11))),
    (b"EE", |number| exactly::<9>(number, |digits| weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10))),
    (b"EL", greece),
    (b"ES", spain),
    (b"FI", |number| exactly::<8>(number, |digits| mod_11(digits, &[7, 9, 10, 5, 8, 4, 2], 11, 0))),
    (b"FR", france),
    (b"GB", united_kingdom),
    (b"GR", greece),
    (b"HR", |number| exactly::<11>(number, mod_11_10)),
    (b"HU", |number| exactly::<8>(number, |digits| weighted(digits, &[9, 7, 3, 1, 9, 7, 3, 1]).is_multiple_of(10))),
    (b"IE", ireland),
    (b"IT", |number| exactly::<11>(number, luhn)),
    (b"LT", lithuania),
    (b"LU", |number| exactly::<8>(number, |digits| value(digits.get(..6)) % 89 == value(digits.get(6..)))),
    (b"LV", latvia),
    (b"MT", |number| {
        exactly::<8>(number, |digits| {
            37 - u64::from(weighted(digits, &[3, 4, 6, 7, 8, 9])) % 37 == value(digits.get(6..))
        })
    }),
    (b"NL", netherlands),
    (b"NO", |number| {
        exactly::<9>(number.strip_suffix(b"MVA").unwrap_or(number), |digits| {
            mod_11(digits, &[3, 2, 7, 6, 5, 4, 3, 2], 11, 0)
        })
    }),
    (b"PL", |number| {
        exactly::<10>(number, |digits| {
            Some(weighted(digits, &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11) == digits.last().map(|last| u32::from(*last))
        })
    }),
    (b"PT", |number| exactly::<9>(number, |digits| mod_11(digits, &[9, 8, 7, 6, 5, 4, 3, 2], 10, 0))),
    (b"RO", romania),
    (b"SE", |number| {
        exactly::<12>(number, |digits| {
            digits.get(..10).is_some_and(luhn) && (1..=94).contains(&value(digits.get(10..)))
        })
    }),
    (b"SI", |number| exactly::<8>(number, |digits| mod_11(digits, &[8, 7, 6, 5, 4, 3, 2], 10, 99))),
    (b"SK", |number| exactly::<10>(number, |digits| value(Some(digits)).is_multiple_of(11))),
    (b"XI", united_kingdom),
];

/// The country, perhaps separators, the number.
pub(super) fn validate(text: &Text<'_>) -> Verdict {
    let compact: Vec<u8> =
        text.secret().iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    let holds = COUNTRIES.iter().any(|(country, check)| {
        compact.strip_prefix(*country).is_some_and(|number| {
            let digits: Vec<u8> = number.iter().filter(|byte| byte.is_ascii_digit()).copied().collect();
            !all_equal(&digits) && check(number)
        })
    });
    Verdict::plausible_if(holds)
}

/// The digits, if there is nothing else.
fn digits(number: &[u8]) -> Option<Vec<u8>> {
    number.iter().map(|byte| byte.is_ascii_digit().then(|| byte - b'0')).collect()
}

/// As many digits, and the check holds.
fn exactly<const COUNT: usize>(number: &[u8], check: impl Fn(&[u8]) -> bool) -> bool {
    digits(number).is_some_and(|digits| digits.len() == COUNT && check(&digits))
}

/// Of at most 19 digits.
fn value(digits: Option<&[u8]>) -> u64 {
    digits
        .unwrap_or_default()
        .iter()
        .fold(0, |value: u64, digit| value.wrapping_mul(10).wrapping_add(u64::from(*digit)))
}

/// The last digit is 11 minus the remainder by 11; where that is ten it is `ten`, where eleven `eleven`; a value over nine is
/// one that is never issued.
fn mod_11(digits: &[u8], weights: &[u32], ten: u32, eleven: u32) -> bool {
    let expected = match 11 - weighted(digits, weights) % 11 {
        10 if ten == 10 => 0,
        10 => ten,
        11 => eleven,
        other => other,
    };
    digits.get(weights.len()).is_some_and(|last| u32::from(*last) == expected)
}

/// ISO/IEC 7064 mod 11,10, check digit last.
fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, body)) = digits.split_last() else { return false };
    let product = body.iter().fold(10_u32, |product, digit| {
        let sum = (product + u32::from(*digit)) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(*check)
}

/// UID: `U`, seven digits, a Luhn-like digit less four.
fn austria(number: &[u8]) -> bool {
    let Some(digits) = number.strip_prefix(b"U").and_then(digits).filter(|digits| digits.len() == 8) else {
        return false;
    };
    let Some((check, body)) = digits.split_last() else { return false };
    let sum: u32 = body
        .iter()
        .enumerate()
        .map(|(index, digit)| {
            let doubled = u32::from(*digit) << (index & 1);
            doubled / 10 + doubled % 10
        })
        .sum();
    (96 - sum) % 10 == u32::from(*check)
}

fn belgium(number: &[u8]) -> bool {
    exactly::<10>(number, |digits| {
        digits.first().is_some_and(|first| *first < 2) && 97 - value(digits.get(..8)) % 97 == value(digits.get(8..))
    })
}

/// Companies nine digits, persons ten: a citizen's number, a foreigner's, or another.
fn bulgaria(number: &[u8]) -> bool {
    exactly::<9>(number, |digits| {
        let first = weighted(digits, &[1, 2, 3, 4, 5, 6, 7, 8]) % 11;
        let check = if first == 10 { weighted(digits, &[3, 4, 5, 6, 7, 8, 9, 10]) % 11 % 10 } else { first };
        digits.last().is_some_and(|last| u32::from(*last) == check)
    }) || exactly::<10>(number, |digits| {
        let last = digits.last().map(|last| u32::from(*last));
        Some(weighted(digits, &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10) == last
            || Some(weighted(digits, &[21, 19, 17, 13, 11, 9, 7, 3, 1]) % 10) == last
            || mod_11(digits, &[4, 3, 2, 7, 6, 5, 4, 3, 2], 99, 0)
    })
}

/// `CHE-123.456.788 MWST`. Swiss Federal Statistical Office, UID.
fn switzerland(number: &[u8]) -> bool {
    let bare = [b"MWST".as_slice(), b"TVA", b"IVA"].iter().find_map(|suffix| number.strip_suffix(*suffix));
    exactly::<9>(bare.unwrap_or(number), |digits| mod_11(digits, &[5, 4, 3, 2, 7, 6, 5, 4], 99, 0))
}

fn cyprus(number: &[u8]) -> bool {
    const ODD: [u32; 10] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
    let Some((letter, body)) = number.split_last() else { return false };
    exactly::<8>(body, |digits| {
        let sum: u32 = digits
            .iter()
            .enumerate()
            .map(|(index, digit)| {
                if index & 1 == 0 {
                    ODD.get(usize::from(*digit)).copied().unwrap_or_default()
                } else {
                    u32::from(*digit)
                }
            })
            .sum();
        u32::from(*letter) == u32::from(b'A') + sum % 26
    })
}

/// Companies eight digits, persons their number of birth.
fn czechia(number: &[u8]) -> bool {
    exactly::<8>(number, |digits| {
        digits.first().is_some_and(|first| *first < 9) && mod_11(digits, &[8, 7, 6, 5, 4, 3, 2], 10, 1)
    }) || exactly::<10>(number, |digits| value(Some(digits)).is_multiple_of(11))
}

fn greece(number: &[u8]) -> bool {
    exactly::<9>(number, |digits| {
        let check = weighted(digits, &[256, 128, 64, 32, 16, 8, 4, 2]) % 11 % 10;
        digits.last().is_some_and(|last| u32::from(*last) == check)
    })
}

/// A person's number with its letter, or a company's: a letter, seven digits, a digit or a letter.
fn spain(number: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let (Some((first, rest)), Some((last, front))) = (number.split_first(), number.split_last()) else { return false };
    let letter_of = |digits: &[u8]| LETTERS.get((value(Some(digits)) % 23) as usize);
    if first.is_ascii_digit() {
        return digits(front).is_some_and(|digits| digits.len() == 8 && letter_of(&digits) == Some(last));
    }
    let Some(body) = rest.split_last().and_then(|(_, body)| digits(body)).filter(|body| body.len() == 7) else {
        return false;
    };
    if let Some(foreigner) = b"XYZ".iter().position(|one| one == first) {
        let mut digits = vec![u8::try_from(foreigner).unwrap_or_default()];
        digits.extend_from_slice(&body);
        return letter_of(&digits) == Some(last);
    }
    let sum: u32 = body
        .iter()
        .enumerate()
        .map(|(index, digit)| {
            let doubled = u32::from(*digit) << (1 - (index & 1));
            doubled / 10 + doubled % 10
        })
        .sum();
    let check = (100 - sum) % 10;
    let as_letter = b"JABCDEFGHI".get(check as usize);
    first.is_ascii_uppercase() && (u32::from(*last) == u32::from(b'0') + check || as_letter == Some(last))
}

/// Two characters of a key, then the SIREN.
fn france(number: &[u8]) -> bool {
    let Some((key, siren)) = number.split_at_checked(2) else { return false };
    exactly::<9>(siren, |siren| {
        let expected = (12 + 3 * (value(Some(siren)) % 97)) % 97;
        luhn(siren) && digits(key).is_none_or(|key| value(Some(&key)) == expected)
    })
}

/// Nine digits, perhaps three of a branch; two ways to check, by the age of the number. HMRC.
fn united_kingdom(number: &[u8]) -> bool {
    let main = if number.len() == 12 { number.get(..9).unwrap_or_default() } else { number };
    exactly::<9>(main, |digits| {
        let sum = u64::from(weighted(digits, &[8, 7, 6, 5, 4, 3, 2])) + value(digits.get(7..));
        sum.is_multiple_of(97) || (sum + 55).is_multiple_of(97)
    })
}

/// Seven digits and one or two letters. Revenue Commissioners.
fn ireland(number: &[u8]) -> bool {
    let Some((body, letters)) = number.split_at_checked(7) else { return false };
    let extra = match letters {
        [_] | [_, b'W'] => 0,
        [_, second @ b'A'..=b'I'] => u32::from(second - b'@') * 9,
        _ => return false,
    };
    exactly::<7>(body, |digits| {
        let rest = (weighted(digits, &[8, 7, 6, 5, 4, 3, 2]) + extra) % 23;
        letters.first().is_some_and(|letter| u32::from(*letter) == if rest == 0 { 87 } else { 64 + rest })
    })
}

fn lithuania(number: &[u8]) -> bool {
    let check = |digits: &[u8], first: &[u32], second: &[u32]| {
        let rest = weighted(digits, first) % 11;
        let rest = if rest == 10 { weighted(digits, second) % 11 % 10 } else { rest };
        digits.last().is_some_and(|last| u32::from(*last) == rest)
    };
    exactly::<9>(number, |digits| check(digits, &[1, 2, 3, 4, 5, 6, 7, 8], &[3, 4, 5, 6, 7, 8, 9, 1]))
        || exactly::<12>(number, |digits| {
            check(digits, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2], &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4])
        })
}

/// Companies; the numbers of persons are dates of birth and none of ours.
fn latvia(number: &[u8]) -> bool {
    exactly::<11>(number, |digits| {
        digits.first().is_some_and(|first| *first > 3)
            && weighted(digits, &[9, 1, 4, 8, 3, 10, 2, 5, 7, 6, 1]) % 11 == 3
    })
}

/// Nine digits, `B`, two digits: the number of a person is checked by eleven, since 2020 the whole by 97. Belastingdienst.
fn netherlands(number: &[u8]) -> bool {
    let Some((front, back)) = number.split_at_checked(9) else { return false };
    let tail = back.strip_prefix(b"B").and_then(digits).filter(|tail| tail.len() == 2);
    tail.is_some()
        && exactly::<9>(front, |digits| {
            let sum = weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2]);
            digits.last().is_some_and(|last| sum % 11 == u32::from(*last))
                || mod_97(b"NL".iter().chain(number)) == Some(1)
        })
}

fn romania(number: &[u8]) -> bool {
    const WEIGHTS: [u32; 9] = [7, 5, 3, 2, 1, 7, 5, 3, 2];
    let Some(digits) = digits(number).filter(|digits| (4..=10).contains(&digits.len())) else { return false };
    let Some((check, body)) = digits.split_last() else { return false };
    let weights = WEIGHTS.get(WEIGHTS.len() - body.len()..).unwrap_or_default();
    weighted(body, weights) * 10 % 11 % 10 == u32::from(*check)
}

#[cfg(test)]
mod tests {
    use super::{super::super::verdict, *};

    #[test]
    fn every_country_checks_its_own() {
        let good = [
            "ATU13585627",
            "BE0428759497",
            "BE 0428.759.497",
            "BG175074752",
            "BG7523169263",
            "CHE-100.155.212 MWST",
            "CY10259033P",
            "CZ25123891",
            "DE136695976",
            "DE 136 695 976",
            "DK13585628",
            "EE100931558",
            "EL023456780",
            "ESA13585625",
            "ES54362315K",
            "ESX2482300W",
            "FI20774740",
            "FR40303265045",
            "GB980780684",
            "HR33392005961",
            "HU12892312",
            "IE6433435F",
            "IE6433435OA",
            "IT00743110157",
            "LT119511515",
            "LT100001919017",
            "LU15027442",
            "LV40003521600",
            "MT11679112",
            "NL004495445B01",
            "NO995525828MVA",
            "PL8567346215",
            "PT501964843",
            "RO18547290",
            "SE123456789701",
            "SI50223054",
            "SK2022749619",
        ];
        for text in good {
            assert_eq!(verdict(validate, text), Verdict::Plausible, "{text}");
        }
        // One digit off is no number of that country.
        for text in good {
            let at = text.rfind(|character: char| character.is_ascii_digit()).unwrap();
            let digit = text.as_bytes()[at] - b'0';
            let bad = format!("{}{}{}", &text[..at], (digit + 1) % 10, &text[at + 1..]);
            let branch = text.starts_with("SE") || text.starts_with("NL");
            assert!(branch || verdict(validate, &bad) == Verdict::Refused, "{bad}");
        }
        for bad in ["SE123456789801", "NL004495446B01", "US136695976", "DE1366959", "DE000000000", "DE", "IE6433435FZ"]
        {
            assert_eq!(verdict(validate, bad), Verdict::Refused, "{bad}");
        }
    }
}
