//! Türkiye, identity number: eleven digits, two of them checks. Source: Wikipedia, "Turkish Identification Number"; Nüfus ve
//! Vatandaşlık İşleri.

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module.
pub(super) fn identity(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[11]).is_some_and(|number| {
        // Seven times the odd places minus the even ones; nine is minus one.
        let tenth = number.sum(&[7, 9, 7, 9, 7, 9, 7, 9, 7]) % 10;
        let eleventh = number.sum(&[1; 10]) % 10;
        number.at(0) != 0 && tenth == number.at(9) && eleventh == number.at(10)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(identity, &["17291716060", "37079593058", "84654745968"], &["91946682114", "81958992836"]);
    }
}
