//! Beside the river: what `outflow.toml` says. Enters: the file's text. Leaves: a [`Config`] in which every value is in its
//! range, or all that is wrong with the file, each with line, column and key. It never opens what the file names, except the
//! rules, whose ids it needs to know what may be disabled.
//!
//! The doc comments of the keys are the text of `docs/CONFIG.md`; their forms, bounds and defaults come from the types.

use std::{
    fmt, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod allowed;
mod amounts;
mod attribution;
mod budget;
mod check;
mod enforce;
mod fleet;
mod leaf;
mod logs;
mod names;
mod places;
mod prices;
mod read;
mod reference;
mod retrieval;
mod rules;
mod silence;
mod sinks;
mod tap;

/// The known name that was most likely meant by another.
pub(crate) use self::read::meant as closest;
pub use self::{
    allowed::{FileGlob, FingerprintValue, Reason, TextPattern},
    amounts::{Count, Period, Size, Tokens, Usd, UsdPerMillion},
    attribution::{Attribution, FeatureSource},
    budget::{Budget, WarnAt},
    enforce::Breaker,
    fleet::Fleet,
    logs::{JournalSince, Journald, LogFiles, Logs},
    names::{AbsolutePath, Listen, NameGlob, PathGlob, RuleId, ServiceName, VendorHost},
    places::{Broker, CloudName, Endpoint, HostName, SinkName, SyslogAddress, Topic},
    prices::{Price, Prices},
    reference::reference,
    retrieval::RetrievalAge,
    rules::{RuleAllow, RuleOverride, Rules},
    silence::{FindingId, Moment, Silence, SilenceFile},
    sinks::{
        Cloud, FileCompression, FileSink, FindingMatch, Flow, KafkaSink, OtlpCompression, OtlpProtocol, OtlpSink,
        PartitionBy, RecordFormat, Setting, SettingError, Sinks, SyslogFacility, SyslogSink, WebhookBody, WebhookSink,
    },
    tap::{Scope, Tap},
};
use crate::{
    detectors::{budget::Budgets, request_limit::RequestLimit, retrieval::MaxAge},
    exchange::PriceRule,
};
use amounts::{DAY, GIB, HOUR, MIB, MINUTE, SECOND, TIB};

/// No config file is larger; a wrong path must not read a disk into memory.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What `outflow run` does. An empty file is a good one: it watches nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the agent keeps between two runs.
    pub state: State,
    /// What the agent itself may do. Taken up at start.
    pub process: Process,
    /// The kernel tap: what processes send to LLM vendors through their TLS library. Taken up at start.
    pub tap: Tap,
    /// Log files that are followed and scanned. Taken up at start.
    pub logs: Logs,
    /// What is looked for. SIGHUP takes up a change of these.
    pub rules: Rules,
    /// The store: findings, spend and how far each log was read, in one SQLite file of the state folder. Taken up at start.
    pub store: Store,
    /// Where findings go. Each sink has a cursor of its own in the store, by its name: it goes on where it was, also after a restart, and
    /// a sink with a new name begins with the first finding of the store. What a receiver does not take now waits in the store, and
    /// goes out when it does, at least once and with the same id; what it will never take is named by `outflow findings deliveries`.
    /// Taken up at start.
    pub sinks: Sinks,
    /// Findings that no sink is told of for a while; `[[silence]]` may be given many times. They are stored and counted all the same. What
    /// is seen when the silence is over is told again; what was seen in it only, never. SIGHUP takes up a change of these.
    pub silence: Vec<Silence>,
    /// The page for probes and monitoring: `/healthz`, `/readyz` and `/metrics`. Taken up at start.
    pub admin: Admin,
    /// What money is spent on, besides the service that spends it. SIGHUP takes up a change of these.
    pub attribution: Attribution,
    /// What may be spent, per service, feature, model, key or host; `[[budget]]` may be given many times. Of the budgets without a
    /// name that are for the same (such as `service`), one counts for a call: that which names it exactly, else the first one in
    /// the file whose patterns fit. Budgets with a name count besides, so that a service can have one for the day and one for 30
    /// days. A call that none fits has no budget. SIGHUP takes up a change of these.
    pub budget: Vec<Budget>,
    /// The circuit breaker: what happens when a budget with `enforce = true` is exhausted. See [BREAKER.md](BREAKER.md) for what it
    /// can do and what it cannot. Taken up at start.
    pub breaker: Breaker,
    /// Where the totals of budgets with `fleet = true` are, which all hosts have together. [FLEET.md](FLEET.md) says how they get there. Taken
    /// up at start.
    pub fleet: Fleet,
    /// Where prices come from. What the vendor itself reports comes first, then `[[price]]`, then the catalogue. SIGHUP takes up a
    /// change of these.
    pub prices: Prices,
    /// What tokens cost by contract, at home, or behind a name that the catalogue does not know; `[[price]]` may be given many
    /// times, and the first that fits a call counts. SIGHUP takes up a change of these.
    pub price: Vec<Price>,
    /// How old an index of a vector store may be; `[[retrieval]]` may be given once for each. Of several that fit an index the first
    /// counts. Taken up at start.
    pub retrieval: Vec<RetrievalAge>,
}

/// What the agent keeps between two runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// Folder for the fingerprint key and the store. It is made with mode 0700 when it is missing. Without this key it is
    /// `$STATE_DIRECTORY` (systemd sets it), for root `/var/lib/outflow`, else `$XDG_STATE_HOME/outflow`, else
    /// `~/.local/state/outflow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<AbsolutePath>,
}

/// What the agent itself may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// User whom the agent becomes after its start: a name of `/etc/passwd`, a number, or `uid:gid`. Without it the agent stays who
    /// it is. It gives up all capabilities in either case, but for reading log files (CAP_DAC_READ_SEARCH) when it follows some;
    /// only the process that attaches the tap's probes keeps what it needs. The state folder must belong to this user; a new one
    /// is made so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// How large the store may grow on disk. Near it, what every sink has goes, the oldest first, before `retention` is over; when that
    /// is not enough, `when_full` says what happens. A finding takes about one KiB.
    pub max_bytes: Size<{ 16 * MIB }, { 4 * TIB }>,
    /// A finding that repeats is told anew at most this often, with its count. Shorter means fresher counts and more records.
    pub update_interval: Period<SECOND, DAY>,
    /// Longest that a commit goes on taking what waits; with nothing waiting it ends at once. A crash of the machine costs
    /// nothing that was committed; a crash of the agent costs nothing of log files, for they are read again. Longer means fewer
    /// and larger commits while there is a backlog.
    pub commit_interval: Period<1, { 10 * SECOND }>,
    /// Rows after which a commit is closed before its time.
    pub commit_rows: Count<1, 100_000>,
    /// Batches that may wait for the store. When as many wait, log files wait too, and what the tap sees is counted and dropped.
    pub queue_batches: Count<1, 65_536>,
    /// How large SQLite's write-ahead log may grow beside the store, on disk.
    pub wal_bytes: Size<MIB, { 4 * GIB }>,
    /// How long what is no longer needed is kept: records that every sink has (without sinks: all records), findings that were not
    /// seen again, usage and dead letters. Older ones go, some at a time; `outflow verify` then says from which record on the chain
    /// is there. What a sink does not have yet is kept however old it is.
    pub retention: Period<HOUR, { 3650 * DAY }>,
    /// What happens when the store is as large as `max_bytes`, and all that every sink has is gone from it.
    pub when_full: WhenFull,
}

/// What a full store does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Log files wait, and are read when there is room; what the tap sees is counted and dropped.
    #[default]
    Wait,
    /// The oldest findings go, delivered or not, so that new ones are always kept; a finding `coverage.store-full` counts them. A disk
    /// that is full is waited for all the same.
    DropOldest,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            max_bytes: Size::from_bytes(GIB),
            update_interval: Period::from_millis(MINUTE),
            commit_interval: Period::from_millis(50),
            commit_rows: Count::from_number(1000),
            queue_batches: Count::from_number(256),
            wal_bytes: Size::from_bytes(64 * MIB),
            retention: Period::from_millis(30 * DAY),
            when_full: WhenFull::default(),
        }
    }
}

/// The page for probes and monitoring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where it listens: a loopback address with its port, or `"off"`. Loopback only, because the page has neither a password
    /// nor encryption; a scraper on another host needs a proxy that has.
    pub listen: Listen,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: Listen::At((std::net::Ipv4Addr::LOCALHOST, 9464).into()) }
    }
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Line, 1-based.
    pub line: usize,
    /// Column in characters, 1-based.
    pub column: usize,
    /// The key and all above it, `logs.files[0].globs[1]`; empty when the text is no TOML.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file says what it must not.
    #[error("{}", Listing { file, problems })]
    Invalid {
        /// The file, as it was named.
        file: String,
        /// All that was found, in the order of the file; at least one.
        problems: Vec<Problem>,
    },
}

/// One line a problem, in the form that editors jump to.
struct Listing<'a> {
    file: &'a str,
    problems: &'a [Problem],
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Problem { line, column, key, message }) in self.problems.iter().enumerate() {
            let feed = if number > 0 { "\n" } else { "" };
            let colon = if key.is_empty() { "" } else { ": " };
            write!(f, "{feed}{}:{line}:{column}: {key}{colon}{message}", self.file)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = fs::File::open(path).map_err(failed)?;
        let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if read as u64 > FILE_BYTES_MAX {
            let message = format!("it is larger than {FILE_BYTES_MAX} bytes, so it is no config file");
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, message)));
        }
        Self::parse(&path.display().to_string(), &text)
    }

    /// As [`load`](Self::load), from a text; `file` is its name in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        read::read(text).map_err(|problems| ConfigError::Invalid { file: file.to_owned(), problems })
    }

    /// All keys with their values, as a file that gives the same config again.
    pub fn to_toml(&self) -> String {
        // Every key is text and every value one that TOML has: there is nothing to fail.
        toml::to_string(self).unwrap_or_default()
    }

    /// The budgets as the detector takes them.
    pub fn budgets(&self) -> Budgets {
        Budgets::new(self.budget.iter().flat_map(Budget::watched).collect())
    }

    /// Some budget is the fleet's.
    pub fn has_fleet(&self) -> bool {
        self.budget.iter().any(|budget| budget.fleet)
    }

    /// What single calls may cost, as the detector takes it.
    pub fn request_limits(&self) -> Vec<RequestLimit> {
        self.budget.iter().flat_map(Budget::request_limits).collect()
    }

    /// The operator's prices, as room 3 takes them.
    pub fn price_rules(&self) -> Vec<PriceRule> {
        self.price.iter().filter_map(Price::rule).collect()
    }

    /// The budgets that enforce: their names, and the control groups that each of them stops.
    pub fn enforced(&self) -> Vec<(String, Vec<PathBuf>)> {
        let folders = |budget: &Budget| budget.cgroups.iter().map(|folder| folder.get().to_owned()).collect();
        let enforced = self.budget.iter().filter(|budget| budget.enforce);
        enforced.map(|budget| (budget.label(), folders(budget))).collect()
    }

    /// The ages of indexes as the detector takes them.
    pub fn max_ages(&self) -> Vec<MaxAge> {
        let taken = |age: &RetrievalAge| MaxAge {
            index: age.index.as_ref().map(|index| index.matcher().clone()),
            host: age.host.as_ref().map(|host| host.matcher().clone()),
            max_age_ns: age.max_age.nanos(),
        };
        self.retrieval.iter().map(taken).collect()
    }

    /// Neither logs nor a tap: there is nothing to do.
    pub fn watches_nothing(&self) -> bool {
        !self.tap.enabled && !self.logs.are_followed()
    }

    /// The sections that differ in `other` and that only a restart takes up; rules and budgets are not among them.
    pub fn needs_restart(&self, other: &Self) -> Vec<&'static str> {
        [
            ("state", self.state != other.state),
            ("process", self.process != other.process),
            ("tap", self.tap != other.tap),
            ("logs", self.logs != other.logs),
            ("retrieval", self.retrieval != other.retrieval),
            ("store", self.store != other.store),
            ("sinks", self.sinks != other.sinks),
            ("admin", self.admin != other.admin),
            ("breaker", self.breaker != other.breaker),
            ("fleet", self.fleet != other.fleet),
        ]
        .into_iter()
        .filter_map(|(section, differs)| differs.then_some(section))
        .collect()
    }
}
