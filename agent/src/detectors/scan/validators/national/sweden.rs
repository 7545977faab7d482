//! Sweden, personnummer and samordningsnummer (day plus 60): birthday, serial, Luhn over the last ten digits. Source:
//! Skatteverket, SKV 704 and SKV 707.

use super::{
    super::{Text, Verdict, checksums::luhn},
    number::{Number, is_date, is_short_date},
};

/// See the module. Ten digits, or twelve with the century.
pub(super) fn personal_number(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[10, 12]).is_some_and(|number| holds(&number)))
}

/// As [`personal_number`], but of twelve digits none of this decade: `20261123-0113` is a time.
pub(super) fn unlabelled(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[10, 12]).is_some_and(|number| {
        let recent = number.count() == 12 && number.part(0..4) >= 2020;
        !recent && holds(&number)
    }))
}

fn holds(number: &Number) -> bool {
    let from = number.count().saturating_sub(10);
    let (year, month) = (number.part(from..from + 2), number.part(from + 2..from + 4));
    let day = match number.part(from + 4..from + 6) {
        day @ 61..=91 => day - 60,
        day => day,
    };
    let born = if from == 0 {
        is_short_date(year, month, day)
    } else {
        matches!(number.part(0..2), 18..=21) && is_date(number.part(0..4), month, day)
    };
    born && number.digits().get(from..).is_some_and(luhn)
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(unlabelled, &["640823-3234", "19640823-3234"], &["20231123-4567", "640823-3235"]);
        check(
            personal_number,
            &["640823-3234", "19640823-3234", "8801168157", "5201083762"],
            &["5405370159", "6207301409"],
        );
    }
}
