//! Israel, identity number (Mispar Zehut): nine digits, Luhn. Source: Wikipedia, "Israeli identity card".

use super::{
    super::{Text, Verdict},
    number::Number,
};

/// See the module.
pub(super) fn identity(text: &Text<'_>) -> Verdict {
    Verdict::plausible_if(Number::of(text, &[9]).is_some_and(|number| number.luhn() && number.part(0..8) >= 1000))
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn checks_and_parts() {
        check(identity, &["039337423", "293917720", "296304447"], &["000000018", "363994834", "893840411"]);
    }
}
