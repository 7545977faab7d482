//! Places: where somebody lives, and where somebody is. Sources: Royal Mail, "PAF programmers' guide" (grammar of postcodes); WGS 84
//! (degrees of latitude and longitude).

use super::super::{Text, Verdict, labels};

/// Letters that begin no postcode's area, and areas of one letter.
const ONE_LETTER_AREAS: &[u8] = b"BEGLMNSW";
/// What the last two letters never are: they look like others.
const NOT_INWARD: &[u8] = b"CIKMOV";
/// Words in front of a number and a name that make it something else than an address.
const OTHERS: &[&str] =
    &["chapter", "section", "figure", "table", "page", "step", "line", "version", "rule", "article", "error"];

/// `SW1A 1AA`, `M1 1AE`, `EC1A1BB`.
pub(super) fn uk_postcode(text: &Text<'_>) -> Verdict {
    let compact: Vec<u8> =
        text.secret().iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    let Some((outward, [digit, inward @ ..])) = compact.split_last_chunk::<3>() else { return Verdict::Refused };
    let letters = outward.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let district = outward.get(letters..).unwrap_or_default();
    let area = match letters {
        1 => outward.first().is_some_and(|letter| ONE_LETTER_AREAS.contains(letter)),
        2 => {
            outward.first().is_some_and(|letter| !b"QVX".contains(letter))
                && outward.get(1).is_some_and(|letter| !b"IJZ".contains(letter))
        }
        _ => false,
    };
    let number = match district {
        [a] => a.is_ascii_digit(),
        [a, b] => a.is_ascii_digit() && b.is_ascii_alphanumeric(),
        _ => false,
    };
    let end = digit.is_ascii_digit()
        && inward.iter().all(|letter| letter.is_ascii_uppercase() && !NOT_INWARD.contains(letter));
    Verdict::plausible_if(area && number && end)
}

/// A house number and a street.
pub(super) fn street(text: &Text<'_>) -> Verdict {
    let piece = matches!(text.before().last(), Some(b'.' | b'-' | b'/' | b':' | b'#' | b'$' | b'_'));
    let zeros = text.secret().first() == Some(&b'0');
    Verdict::plausible_if(!piece && !zeros && !labels::named(text.before(), OTHERS))
}

/// Words that end like a street and are none: `Hinweg 3`, `Arbeitsplatz 12`.
const NO_STREETS: &[&[u8]] = &[
    b"hinweg",
    b"umweg",
    b"ausweg",
    b"rechtsweg",
    b"arbeitsplatz",
    b"parkplatz",
    b"sitzplatz",
    b"stellplatz",
    b"speicherplatz",
    b"platz",
    b"weg",
    b"dienstweg",
    b"lehrgasse",
    b"sackgasse",
    b"strecke",
];

/// A street in one word and a house number.
pub(super) fn street_compound(text: &Text<'_>) -> Verdict {
    let lower = text.secret().to_ascii_lowercase();
    let word = lower.split(|byte| matches!(byte, b' ' | b'.')).next().unwrap_or_default();
    if NO_STREETS.contains(&word) { Verdict::Refused } else { street(text) }
}

/// A latitude and a longitude, with so many decimals that they are a place and not a ratio.
pub(super) fn coordinates(text: &Text<'_>) -> Verdict {
    let numbers: Vec<f64> = text
        .secret()
        .split(|byte| !(byte.is_ascii_digit() || matches!(byte, b'.' | b'-')))
        .filter_map(|part| std::str::from_utf8(part).ok()?.parse().ok())
        .collect();
    let [latitude, longitude] = numbers.as_slice() else { return Verdict::Refused };
    let zero = latitude.abs() < f64::EPSILON && longitude.abs() < f64::EPSILON;
    let piece = matches!(text.before().last(), Some(b'.' | b'-'))
        || matches!(text.after(), [b'.', digit, ..] if digit.is_ascii_digit());
    Verdict::plausible_if(latitude.abs() <= 90.0 && longitude.abs() <= 180.0 && !zero && !piece)
}

/// One of the two, beside its name.
pub(super) fn degrees(text: &Text<'_>) -> Verdict {
    let value: Option<f64> = std::str::from_utf8(text.secret()).ok().and_then(|text| text.parse().ok());
    Verdict::plausible_if(value.is_some_and(|value| value.abs() <= 180.0 && value.abs() > f64::EPSILON))
}

#[cfg(test)]
mod tests {
    use super::{super::super::check_as, *};

    #[test]
    fn postcodes_streets_and_positions() {
        check_as(
            uk_postcode,
            Verdict::Plausible,
            &["SW1A 1AA", "M1 1AE", "EC1A1BB", "cr2 6xh", "DN55 1PT"],
            &["QW1A 1AA", "SW1A 1CA", "SWAA 1AA", "A1 1AA", "1AA", ""],
        );
        check_as(
            coordinates,
            Verdict::Plausible,
            &["52.520008, 13.404954", "-33.8688,151.2093"],
            &["152.520008, 13.404954", "0.0000, 0.0000", "52.52", "1.2.3, 4"],
        );
        check_as(degrees, Verdict::Plausible, &["52.520008", "-151.2093"], &["252.520008", "0.000", "x"]);
        check_as(
            street_compound,
            Verdict::Plausible,
            &["Fakestraße 17", "Goethefakestr. 4b"],
            &["Hinweg 7", "Parkplatz 12"],
        );
        check_as(street, Verdict::Plausible, &["90 Whitchurch Road"], &["00 Whitchurch Road"]);
        assert_eq!(street(&Text { haystack: b"Section 5 Main Street", span: 8..21 }), Verdict::Refused);
    }
}
