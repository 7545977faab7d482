//! Small value types that every room shares. Nothing enters or leaves; no I/O, no clock.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in time, in nanoseconds since the Unix epoch. Sources stamp it; rooms 2 to 5 only carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Nanoseconds from `earlier` to `self`, zero when the clock stepped back.
    pub fn since_ns(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339, as [`rfc3339`](Self::rfc3339) writes it or with another offset. `None`: it is none, or before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok().map(Self)
    }

    /// RFC 3339 in UTC with milliseconds, as every output writes times.
    pub fn rfc3339(self) -> String {
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        format!("{time:.3}")
    }
}

/// Money in integer nano-USD (1 USD = 1,000,000,000). Floats never carry money here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// From dollars as the price catalogue gives them; negative and non-finite amounts become zero.
    pub fn from_usd(usd: f64) -> Self {
        let nano = (usd * 1e9).round();
        #[expect(clippy::cast_sign_loss, reason = "negative amounts were turned into zero by the test before")]
        if nano.is_finite() && nano > 0.0 { Self(nano as u64) } else { Self(0) }
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usd = self.0 as f64 / 1e9;
        if usd >= 0.01 || self.0 == 0 { write!(f, "${usd:.2}") } else { write!(f, "${usd:.6}") }
    }
}

/// How grave a finding is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Mend when convenient.
    Low,
    /// Mend soon.
    Medium,
    /// Mend now.
    High,
    /// Wake somebody.
    Critical,
}

impl Severity {
    /// The lower-case word that every output uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The first `digits` hexadecimal digits of some bytes.
pub(crate) fn hex(bytes: &[u8], digits: usize) -> String {
    let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
    let mut text = String::with_capacity(digits + 1);
    for byte in bytes.iter().take(digits.div_ceil(2)) {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_integer_and_never_negative() {
        assert_eq!(NanoUsd::from_usd(0.000_000_001), NanoUsd(1));
        assert_eq!(NanoUsd::from_usd(-1.0), NanoUsd(0));
        assert_eq!(NanoUsd::from_usd(f64::NAN), NanoUsd(0));
        assert_eq!(NanoUsd(12_340_000_000).to_string(), "$12.34");
        assert_eq!(NanoUsd(125_000).to_string(), "$0.000125");
    }

    #[test]
    fn times_are_rfc3339() {
        assert_eq!(Timestamp(1_795_392_000_123_456_789).rfc3339(), "2026-11-23T00:00:00.123Z");
        assert_eq!(Timestamp::parse("2026-11-23T02:00:00.123+02:00"), Some(Timestamp(1_795_392_000_123_000_000)));
        for no_time in ["", "2026-11-23", "1969-12-31T23:59:59Z"] {
            assert_eq!(Timestamp::parse(no_time), None, "{no_time}");
        }
    }
}
