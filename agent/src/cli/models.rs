//! `outflow models`: how a model id is classed, priced and compared; without an id the models that a store has seen, or what the rules
//! know. Enters: rules, the price catalogue, a store to read. Leaves: text or JSON lines on standard output. It asks no vendor;
//! `fetch` asks for prices, of whoever publishes them.

use std::{process::ExitCode, sync::Arc};

use super::{
    Format, RuleArgs,
    findings::{StoreFile, permission, write},
    shown,
    since::Since,
};
use crate::{
    clock,
    exchange::{Api, Catalogue, Exchange, Prices as _, Usage},
    rules::{
        ModelRules, VendorTable,
        vendors::{self, HostPattern},
    },
    sources::{Origin, StreamId},
    store::StoreError,
    units::{NanoUsd, Timestamp},
};

mod explain;
#[cfg(feature = "otlp")]
mod fetch;
mod known;
mod seen;

/// Explains how a model id is classed and priced, or lists the models that were seen
///
/// With an id: how firmly it names a model and which rule says so, when it is shut down, what it costs, and how it is compared with the
/// id that answers. Without one: the models in the store, or, where there is none, the vendors and how much the rules know about them.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  outflow models gpt-4o\n  outflow models --vendor azure my-deployment\n  outflow models us.anthropic.claude-sonnet-4-5-20250929-v1:0 --format jsonl\n  outflow models --store /var/lib/outflow/outflow.db"
)]
pub struct Args {
    /// The id as a request names it, with or without a client library's prefix (`azure/x`)
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Only at this vendor: an id of rules/vendors, such as `openai` or `aws_bedrock`
    #[arg(long, value_name = "VENDOR")]
    vendor: Option<String>,
    /// As of then: 2026-11-23 or 2026-11-23T08:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Since>,
    /// How to write [default: text on a terminal, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    store: StoreFile,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[cfg(feature = "otlp")]
    Fetch(fetch::Fetch),
}

/// What all answers are made from.
struct Facts {
    models: ModelRules,
    vendors: VendorTable,
    prices: Catalogue,
    at: Timestamp,
}

/// Prices of one model at one vendor, per million tokens; what has no price is zero here.
#[derive(Debug, Default, PartialEq, Eq)]
struct PriceList {
    input: NanoUsd,
    cache_read: NanoUsd,
    cache_write: NanoUsd,
    output: NanoUsd,
    catalogue: String,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        #[cfg(feature = "otlp")]
        Some(Command::Fetch(fetch)) => return fetch::run(fetch),
        #[cfg(not(feature = "otlp"))]
        Some(none) => match *none {},
        None => {}
    }
    let source = args.rules.source()?;
    let facts = Facts {
        models: ModelRules::load(&source)?,
        vendors: VendorTable::load(&source)?,
        prices: Catalogue::bundled(),
        at: args.at.map_or_else(clock::now, Since::at),
    };
    if let Some(vendor) = &args.vendor
        && !facts.vendors.vendors().iter().any(|known| *known.id == **vendor)
    {
        let known: Vec<&str> = facts.vendors.vendors().iter().map(|vendor| &*vendor.id).collect();
        let meant =
            crate::config::closest(vendor, &known).map(|id| format!("; did you mean {id}?")).unwrap_or_default();
        anyhow::bail!("there is no vendor {vendor:?}{meant} `outflow models` lists all");
    }
    let (vendor, format) = (args.vendor.as_deref(), shown::format(args.format));
    if let Some(id) = &args.id {
        return write(&explain::told(&facts, id, vendor, format));
    }
    let usage = match args.store.open() {
        Ok(reader) => reader.usage(0)?,
        Err(error) if args.store.is_named() => return permission(error),
        Err(error)
            if error.downcast_ref::<StoreError>().is_none_or(|error| matches!(error, StoreError::Missing(_))) =>
        {
            return write(&known::told(&facts, vendor, format));
        }
        Err(error) => return permission(error),
    };
    write(&seen::told(&facts, &usage, vendor, format))
}

impl Facts {
    /// What a million tokens of each kind cost at the vendor; `None` when the catalogue has no price.
    fn price(&self, vendor: &vendors::Vendor, model: &str) -> Option<PriceList> {
        const TOKENS: u64 = 1000; // So few that no price for long prompts counts.
        let host = match vendor.hosts().first() {
            Some(HostPattern::Exact(host)) => host.clone(),
            Some(HostPattern::Suffix(suffix)) => format!("any.{suffix}"),
            None => String::new(),
        };
        let origin = Arc::new(Origin::default());
        let call = |usage| Exchange {
            vendor: Some(Arc::clone(&vendor.id)),
            priced_as: vendor.prices.as_deref().map(Into::into),
            api: Api::ChatCompletions,
            request_model: Some(model.to_owned()),
            usage,
            ..Exchange::unknown(StreamId(0), Arc::clone(&origin), host.clone(), self.at)
        };
        let none = Usage { input_tokens: Some(0), output_tokens: Some(0), ..Usage::default() };
        let input = Usage { input_tokens: Some(TOKENS), ..none };
        let of = |usage| {
            let cost = self.prices.price(&call(usage))?;
            Some((NanoUsd(cost.nano_usd.0.saturating_mul(1_000_000 / TOKENS)), cost.catalogue))
        };
        let amount = |usage| of(usage).map(|(amount, _)| amount).unwrap_or_default();
        let (plain, catalogue) = of(input)?;
        Some(PriceList {
            input: plain,
            cache_read: amount(Usage { cache_read_tokens: Some(TOKENS), ..input }),
            cache_write: amount(Usage { cache_write_tokens: Some(TOKENS), ..input }),
            output: amount(Usage { output_tokens: Some(TOKENS), ..none }),
            catalogue,
        })
    }
}
