//! Argentina, CUIT and CUIL: kind of holder, eight digits, check digit mod 11. Sources: AFIP/ARCA, Resolución General 10/97;
//! Wikipedia, "Clave Única de Identificación Tributaria"; python-stdnum's description of `ar.cuit`.

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// Kinds of holders: persons 20, 23, 24, 27; companies 30, 33, 34; foreigners 50, 51, 55.
const KINDS: [u64; 10] = [20, 23, 24, 27, 30, 33, 34, 50, 51, 55];

/// See the module.
pub(super) fn cuit(text: &Text<'_>) -> Verdict {
    Verdict::proven_if(Number::of(text, &[11]).is_some_and(|number| {
        let rest = number.sum(&[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        let check = match 11 - rest {
            11 => 0,
            10 => 9,
            check => check,
        };
        KINDS.contains(&number.part(0..2)) && check == number.at(10)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(cuit, &["20502353209", "20265849661"], &["27220007963", "20050872698"]);
    }
}
