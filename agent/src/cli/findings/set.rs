//! `outflow findings set`: what is to become of a finding. Enters: an id, and how long nobody is to be told of it. Leaves: a word to the running
//! agent, which remembers it. It changes nothing itself.

use std::{process::ExitCode, str::FromStr};

use anyhow::{Context as _, bail};

use super::{unique, write};
use crate::{
    cli::{
        budget::Which,
        run::control::{Ask, Say},
        since::Since,
    },
    clock,
    store::{STORE_FILE, StoreReader},
    units::Timestamp,
};

/// Longest reason, as in `[[silence]]`.
const REASON_BYTES_MAX: usize = 256;

/// Tells no sink of a finding for a while; it is stored and counted all the same
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The running agent remembers it, also after a restart. What is seen when the silence is over is sent again.\n\nExamples:\n  outflow findings set 4f1d9a --silence 7d --reason 'the vendor mends it on Thursday'\n  outflow findings set 4f1d9a --silence 2026-12-24T18:00:00Z --reason holidays --config /etc/outflow/outflow.toml\n  outflow findings set 4f1d9a --silence off"
)]
pub(super) struct Set {
    /// Its id, or so much of the beginning that only one fits
    id: String,
    /// For how long: 90m, 24h, 7d, or until 2026-12-24 or 2026-12-24T18:00:00Z; `off` ends a silence
    #[arg(long, value_name = "TIME")]
    silence: Span,
    /// Why, for the next who looks
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    which: Which,
}

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    /// No longer.
    Off,
    /// So many seconds.
    For(u64),
    /// Up to then.
    Until(Timestamp),
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match text.parse() {
            Ok(Since::Ago(seconds)) => Ok(Self::For(seconds)),
            Ok(Since::At(at)) => Ok(Self::Until(at)),
            Err(_) => Err("write a span (90m, 24h, 7d), a day (2026-12-24), RFC 3339 (2026-12-24T18:00:00Z), or `off`"),
        }
    }
}

impl Span {
    /// When it ends; `None`: at once.
    fn end(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Off => None,
            Self::For(seconds) => Some(Timestamp(now.0.saturating_add(seconds.saturating_mul(1_000_000_000)))),
            Self::Until(at) => Some(at),
        }
    }
}

impl Set {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let folder = self.which.folder()?;
        let reader = StoreReader::open(&folder.join(STORE_FILE))?;
        let finding = unique(&reader, &self.id)?;
        let now = clock::now();
        let until = self.silence.end(now);
        let reason = match (until, self.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty())) {
            (Some(until), _) if until <= now => bail!("{} is over already", until.rfc3339()),
            (Some(_), None) => bail!("give a --reason: the next who looks will ask why nobody was told"),
            (Some(_), Some(reason)) if reason.len() > REASON_BYTES_MAX => {
                bail!("a --reason has at most {REASON_BYTES_MAX} bytes")
            }
            (_, reason) => reason.map(str::to_owned),
        };
        let ask = Ask::Silence { finding, until: until.map(Timestamp::rfc3339), reason };
        match self.which.ask(&ask).context("only a running agent can be told")? {
            Say::Done { what } => write(&(what + "\n")),
            Say::Refused { why } => bail!(why),
            Say::Budgets { .. } => bail!("the agent answers something else: is it of another version?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_has_an_end() {
        let now = Timestamp(1_000_000_000);
        for (text, end) in [
            ("off", Some(None)),
            ("90s", Some(Some(Timestamp(91_000_000_000)))),
            ("1970-01-02", Some(Some(Timestamp(86_400_000_000_000)))),
            ("1970-01-02T00:00:00+01:00", Some(Some(Timestamp(82_800_000_000_000)))),
            ("18446744073709551615s", Some(Some(Timestamp(u64::MAX)))),
            ("for ever", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Span>().ok().map(|span| span.end(now)), end, "{text}");
        }
    }
}
