//! Thailand, identity number: kind of person 1 to 8, office, serial, check digit mod 11. Source: Wikipedia, "Thai identity card".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module. A 0 in front is a company's.
pub(super) fn identity(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[13]).is_some_and(|number| {
        let check = (11 - number.sum(&[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 10;
        number.at(0) <= 8 && number.at(1) != 0 && check == number.at(12)
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(identity, &["1-2345-67890-12-1", "4623744455600", "2915937923730"], &["1805542003383", "2779559837623"]);
    }
}
