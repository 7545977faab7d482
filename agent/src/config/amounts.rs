//! Values with a unit: durations, sizes, money. Enters: text with a unit. Leaves: integers (milliseconds, bytes, nano-USD)
//! inside the bounds that stand in their type. What is written out can be read in again and is the same value.

use std::{fmt, time::Duration};

use super::leaf::{Leaf, Written, leaf};
use crate::units::NanoUsd;

/// Milliseconds of a second, for the bounds of a [`Period`].
pub(super) const SECOND: u64 = 1000;
/// Milliseconds of a minute.
pub(super) const MINUTE: u64 = 60 * SECOND;
/// Milliseconds of an hour.
pub(super) const HOUR: u64 = 60 * MINUTE;
/// Milliseconds of a day.
pub(super) const DAY: u64 = 24 * HOUR;

/// Bytes of a KiB, for the bounds of a [`Size`].
pub(super) const KIB: u64 = 1 << 10;
/// Bytes of a MiB.
pub(super) const MIB: u64 = 1 << 20;
/// Bytes of a GiB.
pub(super) const GIB: u64 = 1 << 30;
/// Bytes of a TiB.
pub(super) const TIB: u64 = 1 << 40;

/// A duration from `MIN` to `MAX` milliseconds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Period<MIN, MAX> {
    /// So many milliseconds, brought into the bounds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis < MIN {
            MIN
        } else if millis > MAX {
            MAX
        } else {
            millis
        })
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// In nanoseconds, as [`Timestamp`](crate::units::Timestamp) counts.
    pub const fn nanos(self) -> u64 {
        self.0.saturating_mul(1_000_000)
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Period<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        whole(f, self.0, &[(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"), (1, "ms")])
    }
}

impl<const MIN: u64, const MAX: u64> Leaf for Period<MIN, MAX> {
    fn form() -> String {
        format!("a duration with its unit (ms, s, m, h, d) from \"{}\" to \"{}\"", Self(MIN), Self(MAX))
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let duration = humantime::parse_duration(text).map_err(|_| None)?;
        let millis = u64::try_from(duration.as_millis()).map_err(|_| None)?;
        if Duration::from_millis(millis) != duration {
            return Err(Some("is finer than a millisecond".to_owned()));
        }
        if (MIN..=MAX).contains(&millis) { Ok(Self(millis)) } else { Err(None) }
    }
}

leaf!(Period<MIN, MAX>, const MIN: u64, const MAX: u64);

/// A number of bytes from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// So many bytes, brought into the bounds.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(if bytes < MIN {
            MIN
        } else if bytes > MAX {
            MAX
        } else {
            bytes
        })
    }

    /// Bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Bytes, for what is held in memory.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        whole(f, self.0, &[(TIB, " TiB"), (GIB, " GiB"), (MIB, " MiB"), (KIB, " KiB"), (1, " B")])
    }
}

impl<const MIN: u64, const MAX: u64> Leaf for Size<MIN, MAX> {
    fn form() -> String {
        format!("a size with its unit (B, KiB, MiB, GiB; KB, MB, GB) from \"{}\" to \"{}\"", Self(MIN), Self(MAX))
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        if text.trim_end().ends_with(|last: char| last.is_ascii_digit()) {
            return Err(Some("has no unit".to_owned()));
        }
        let bytes = text.parse::<bytesize::ByteSize>().map_err(|_| None)?.as_u64();
        if (MIN..=MAX).contains(&bytes) { Ok(Self(bytes)) } else { Err(None) }
    }
}

leaf!(Size<MIN, MAX>, const MIN: u64, const MAX: u64);

/// A whole number from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Count<MIN, MAX> {
    /// The number, brought into the bounds.
    pub const fn from_number(number: u32) -> Self {
        Self(if number < MIN {
            MIN
        } else if number > MAX {
            MAX
        } else {
            number
        })
    }

    /// The number.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl<const MIN: u32, const MAX: u32> fmt::Display for Count<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u32, const MAX: u32> Leaf for Count<MIN, MAX> {
    fn form() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn parse(_text: &str) -> Result<Self, Option<String>> {
        Err(Some("stands in quotes".to_owned()))
    }

    fn parse_number(text: &str) -> Option<Result<Self, Option<String>>> {
        let number = text.parse().ok().filter(|number| (MIN..=MAX).contains(number));
        Some(number.map(Self).ok_or(None))
    }

    fn written(&self) -> Written<'_> {
        Written::Number(self.0)
    }
}

leaf!(Count<MIN, MAX>, const MIN: u32, const MAX: u32);

/// The value in the largest unit that leaves no rest, so that nothing is rounded.
fn whole(f: &mut fmt::Formatter<'_>, value: u64, units: &[(u64, &str)]) -> fmt::Result {
    let unit = units.iter().find(|(unit, _)| value >= *unit && value.is_multiple_of(*unit)).or(units.last());
    unit.map_or(Ok(()), |(unit, name)| write!(f, "{}{name}", value / unit))
}

/// Most dollars that a budget can have; far below where nano-USD in 64 bits end (18.4 thousand million).
const USD_MAX: u64 = 1_000_000_000;
/// Nano-USD of a dollar.
const NANO: u64 = 1_000_000_000;

/// An amount of money above zero, exact to the nano-USD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(NanoUsd);

impl Usd {
    /// The amount.
    pub const fn get(self) -> NanoUsd {
        self.0
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NanoUsd(nano) = self.0;
        let (dollars, rest) = (nano / NANO, nano % NANO);
        if rest == 0 {
            return write!(f, "{dollars}");
        }
        let rest = format!("{rest:09}");
        write!(f, "{dollars}.{:0<2}", rest.trim_end_matches('0'))
    }
}

impl Leaf for Usd {
    fn form() -> String {
        format!("an amount in US dollars above 0 and at most {USD_MAX}, such as \"12.50\", with at most 9 decimals")
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let (dollars, rest) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(dollars) || !is_number(rest) || rest.len() > 9 {
            return Err(None);
        }
        let dollars: u64 = dollars.parse().map_err(|_| None)?;
        let rest: u64 = format!("{rest:0<9}").parse().map_err(|_| None)?;
        let nano = dollars.checked_mul(NANO).and_then(|nano| nano.checked_add(rest)).ok_or(None)?;
        if (1..=USD_MAX * NANO).contains(&nano) { Ok(Self(NanoUsd(nano))) } else { Err(None) }
    }

    fn parse_number(text: &str) -> Option<Result<Self, Option<String>>> {
        Some(Self::parse(text))
    }
}

leaf!(Usd);

/// A price in US dollars of a million tokens, exact to the nano-USD. It may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsdPerMillion(NanoUsd);

impl UsdPerMillion {
    /// Nano-USD of a million tokens.
    pub const fn get(self) -> u64 {
        self.0.0
    }
}

impl fmt::Display for UsdPerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Usd(self.0).fmt(f)
    }
}

impl Leaf for UsdPerMillion {
    fn form() -> String {
        "US dollars of a million tokens, from 0 to 1000000, such as \"2.50\", with at most 9 decimals".to_owned()
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        if text.trim_start_matches(['0', '.']).is_empty() && text.starts_with('0') {
            return Ok(Self(NanoUsd(0)));
        }
        let Usd(price) = Usd::parse(text).map_err(|_| None)?;
        if price.0 <= 1_000_000 * NANO { Ok(Self(price)) } else { Err(None) }
    }

    fn parse_number(text: &str) -> Option<Result<Self, Option<String>>> {
        Some(Self::parse(text))
    }
}

leaf!(UsdPerMillion);

/// Most tokens that a budget can have.
const TOKENS_MAX: u64 = 1_000_000_000_000_000;

/// A number of tokens above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tokens(u64);

impl Tokens {
    /// How many.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Leaf for Tokens {
    fn form() -> String {
        format!("a whole number of tokens from 1 to {TOKENS_MAX}")
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let number = text.parse().ok().filter(|number| (1..=TOKENS_MAX).contains(number));
        number.map(Self).ok_or(None)
    }

    fn parse_number(text: &str) -> Option<Result<Self, Option<String>>> {
        Some(Self::parse(text))
    }
}

leaf!(Tokens);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type AnyPeriod = Period<1, { 1000 * DAY }>;
    type AnySize = Size<1, { 1024 * TIB }>;

    #[test]
    fn durations_have_units_and_bounds() {
        type Short = Period<100, HOUR>;
        for (text, millis) in [
            ("100ms", Some(100)),
            ("1s", Some(1000)),
            ("1m 30s", Some(90_000)),
            ("1h", Some(HOUR)),
            ("99ms", None),
            ("61m", None),
            ("5", None),
            ("", None),
            ("-5s", None),
            ("1.5", None),
            ("1000000ns", None),
            ("500ms 1us", None),
            ("soon", None),
        ] {
            assert_eq!(Short::parse(text).ok().map(|period| period.0), millis, "{text}");
        }
        assert_eq!(Period::<1, { 31 * DAY }>::parse("1d").unwrap().nanos(), 86_400_000_000_000);
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        type Part = Size<KIB, GIB>;
        for (text, bytes) in [
            ("1KiB", Some(1024)),
            ("64 KiB", Some(65_536)),
            ("1MB", Some(1_000_000)),
            ("1 GiB", Some(GIB)),
            ("1.5 MiB", Some(3 * MIB / 2)),
            ("1023 B", None),
            ("2 GiB", None),
            ("4096", None),
            ("4 apples", None),
            ("-4 KiB", None),
            ("", None),
        ] {
            assert_eq!(Part::parse(text).ok().map(Size::bytes), bytes, "{text}");
        }
    }

    #[test]
    fn money_is_exact() {
        for (text, nano) in [
            ("10", Some(10 * NANO)),
            ("12.50", Some(12_500_000_000)),
            ("0.000000001", Some(1)),
            ("0.1", Some(100_000_000)),
            ("1000000000", Some(USD_MAX * NANO)),
            ("0", None),
            ("0.0000000001", None),
            ("1000000001", None),
            ("99999999999999999999", None),
            ("-1", None),
            ("1e3", None),
            (".5", None),
            ("5.", None),
            ("$5", None),
            ("", None),
        ] {
            assert_eq!(Usd::parse(text).ok().map(|usd| usd.get().0), nano, "{text}");
        }
        assert_eq!(Usd::parse("12.5").unwrap().to_string(), "12.50");
        for (text, nano) in [
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("2.5", Some(2_500_000_000)),
            ("0.000000001", Some(1)),
            ("1000001", None),
            (".0", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(UsdPerMillion::parse(text).ok().map(UsdPerMillion::get), nano, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(millis in 1..1000 * DAY, bytes in 1..1024 * TIB, nano in 1..=USD_MAX * NANO) {
            let period = AnyPeriod::from_millis(millis);
            prop_assert_eq!(AnyPeriod::parse(&period.to_string()), Ok(period));
            let size = AnySize::from_bytes(bytes);
            prop_assert_eq!(AnySize::parse(&size.to_string()), Ok(size));
            let usd = Usd(NanoUsd(nano));
            prop_assert_eq!(Usd::parse(&usd.to_string()), Ok(usd));
        }
    }
}
