//! Romania, CNP: sex and century, birthday, county, serial, check digit mod 11. Source: Legea 105/1996; Wikipedia, "Cod numeric
//! personal".

use super::{
    super::{Text, Verdict},
    number::{Number, is_date, is_short_date},
};

/// See the module. Sex digits 7 to 9 are foreigners, of any century.
pub(super) fn cnp(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[13]).is_some_and(|number| {
        let (year, month, day) = (number.part(1..3), number.part(3..5), number.part(5..7));
        let born = match number.at(0) {
            1 | 2 => is_date(1900 + year, month, day),
            3 | 4 => is_date(1800 + year, month, day),
            5 | 6 => is_date(2000 + year, month, day),
            7..=9 => is_short_date(year, month, day),
            _ => false,
        };
        let check = match number.sum(&[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11 {
            10 => 1,
            check => check,
        };
        born && matches!(number.part(7..9), 1..=48 | 51 | 52 | 70 | 80..=83) && check == number.at(12)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(cnp, &["2620724120814", "2870128274129"], &["2950102240722", "1861811124559"]);
    }
}
