//! What no single key can know: keys that need or exclude each other. Enters: a config whose values are all in range. Leaves: what
//! does not go together, with the key to look at.

use std::collections::{HashMap, HashSet};

use super::{
    AbsolutePath, Config, Endpoint, Scope, Setting, SyslogAddress,
    leaf::Leaf as _,
    read::{Step, meant},
    sinks::{is_secret, is_secret_header},
};
use crate::detectors::call_scope::By;

/// A key and what is wrong with it.
type Wrong = (Vec<Step>, String);

/// Control groups that are tapped at most; each has its own programs in the kernel.
const CGROUPS_MAX: usize = 8;
/// Processes that are tapped at most.
const PIDS_MAX: usize = 64;

/// Everything that does not go together.
pub(super) fn check(config: &Config) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    tap(config, &mut wrong);
    logs(config, &mut wrong);
    rules(config, &mut wrong);
    budgets(config, &mut wrong);
    fleet(config, &mut wrong);
    prices(config, &mut wrong);
    sinks(config, &mut wrong);
    silences(config, &mut wrong);
    wrong
}

fn key(names: &[&str]) -> Vec<Step> {
    names.iter().map(|name| Step::Key((*name).to_owned())).collect()
}

fn item(names: &[&str], index: usize, rest: &[&str]) -> Vec<Step> {
    let mut steps = key(names);
    steps.push(Step::Index(index));
    steps.extend(key(rest));
    steps
}

fn tap(config: &Config, wrong: &mut Vec<Wrong>) {
    let tap = &config.tap;
    if tap.enabled && tap.scope.is_none() {
        let message = "this key is missing: say whose calls are read, \"cgroup\", \"processes\" or \"host\"";
        wrong.push((key(&["tap", "scope"]), message.to_owned()));
    }
    for (name, needs, is_empty) in
        [("cgroups", Scope::Cgroup, tap.cgroups.is_empty()), ("pids", Scope::Processes, tap.pids.is_empty())]
    {
        let word = if needs == Scope::Cgroup { "cgroup" } else { "processes" };
        if tap.scope == Some(needs) && is_empty {
            wrong.push((key(&["tap", name]), format!("scope \"{word}\" needs at least one")));
        } else if tap.scope.is_some_and(|scope| scope != needs) && !is_empty {
            wrong.push((key(&["tap", name]), format!("has no effect: only scope \"{word}\" looks at it")));
        }
    }
    if tap.cgroups.len() > CGROUPS_MAX {
        wrong.push((key(&["tap", "cgroups"]), format!("at most {CGROUPS_MAX}: name the group above them instead")));
    }
    for (index, group) in tap.discover.iter().enumerate() {
        if !tap.cgroups.contains(group) {
            let message = "is not among `cgroups`: write the same path there, with scope = \"cgroup\"".to_owned();
            wrong.push((item(&["tap", "discover"], index, &[]), message));
        }
    }
    for (index, group) in tap.cgroups.iter().enumerate() {
        let outer = tap.cgroups.iter().enumerate().find(|(other, outer)| {
            *other != index && group.get().starts_with(outer.get()) && (group != *outer || *other < index)
        });
        if let Some((_, outer)) = outer {
            let message = format!("\"{outer}\" stands in the list already and includes it");
            wrong.push((item(&["tap", "cgroups"], index, &[]), message));
        }
    }
    if tap.pids.len() > PIDS_MAX {
        wrong.push((key(&["tap", "pids"]), format!("at most {PIDS_MAX}: use scope \"cgroup\" for more")));
    }
    for (index, pid) in tap.pids.iter().enumerate() {
        if *pid == 0 || tap.pids.iter().take(index).any(|other| other == pid) {
            let why = if *pid == 0 { "0 is no process" } else { "stands in the list already" };
            wrong.push((item(&["tap", "pids"], index, &[]), why.to_owned()));
        }
    }
    if !tap.ring_bytes.bytes().is_power_of_two() {
        let message = format!("\"{}\" must be a power of two, such as \"16 MiB\"", tap.ring_bytes);
        wrong.push((key(&["tap", "ring_bytes"]), message));
    }
}

fn logs(config: &Config, wrong: &mut Vec<Wrong>) {
    let logs = &config.logs;
    if logs.line_bytes.bytes() > logs.block_bytes.bytes() {
        let message = format!("\"{}\" must be at most block_bytes, \"{}\"", logs.line_bytes, logs.block_bytes);
        wrong.push((key(&["logs", "line_bytes"]), message));
    }
    let mut seen = HashMap::new();
    for (group, files) in logs.files.iter().enumerate() {
        if files.globs.is_empty() {
            wrong.push((item(&["logs", "files"], group, &["globs"]), "needs at least one glob".to_owned()));
        }
        for (index, glob) in files.globs.iter().enumerate() {
            if let Some(earlier) = seen.insert(glob.as_str(), group) {
                let mut steps = item(&["logs", "files"], group, &["globs"]);
                steps.push(Step::Index(index));
                wrong.push((steps, format!("\"{glob}\" stands in logs.files[{earlier}] already")));
            }
        }
    }
}

/// Entries of the allow-list; each hit is compared with all of them.
const ALLOW_MAX: usize = 1000;

fn rules(config: &Config, wrong: &mut Vec<Wrong>) {
    let rules = &config.rules;
    if rules.allow.len() > ALLOW_MAX {
        wrong.push((key(&["rules", "allow"]), format!("at most {ALLOW_MAX}: use patterns, or a baseline for a scan")));
    }
    for (index, allow) in rules.allow.iter().enumerate().filter(|(_, allow)| !allow.names_something()) {
        let message = if allow.rules.is_empty() {
            "needs at least one of `fingerprints`, `paths`, `services` and `patterns`"
        } else {
            "allows all that these rules find: put their ids into `disable`, or add `fingerprints`, `paths`, `services` or `patterns`"
        };
        wrong.push((item(&["rules", "allow"], index, &[]), message.to_owned()));
    }
    if rules.directory.is_none() && rules.add.is_empty() && rules.disable.is_empty() && rules.overrides.is_empty() {
        return;
    }
    let ids = match rules.ids() {
        Ok(ids) => ids,
        Err(error) => {
            let at = if rules.add.is_empty() { "directory" } else { "add" };
            return wrong.push((key(&["rules", at]), error.to_string()));
        }
    };
    let known: Vec<&str> = ids.iter().map(String::as_str).collect();
    let unknown = |id: &str| {
        let meant = meant(id, &known).map(|id| format!("; did you mean \"{id}\"?")).unwrap_or_default();
        (!known.contains(&id)).then(|| format!("there is no rule \"{id}\"{meant}"))
    };
    for (index, id) in rules.disable.iter().enumerate() {
        wrong.extend(unknown(id.as_str()).map(|message| (item(&["rules", "disable"], index, &[]), message)));
    }
    let mut seen = HashMap::new();
    for (index, change) in rules.overrides.iter().enumerate() {
        let id = change.id.as_str();
        let mut add = |name: &str, message: String| wrong.push((item(&["rules", "override"], index, &[name]), message));
        if let Some(message) = unknown(id) {
            add("id", message);
        }
        if let Some(earlier) = seen.insert(id, index) {
            add("id", format!("\"{id}\" stands in rules.override[{earlier}] already"));
        }
        if change.confidence.is_some_and(|confidence| confidence > 100) {
            add("confidence", "must be a whole number from 0 to 100".to_owned());
        }
        if change.remedy.as_ref().is_some_and(|remedy| remedy.trim().is_empty()) {
            add("remedy", "must say what to do; without the key the rule's own remedy stands".to_owned());
        }
    }
}

fn sinks(config: &Config, wrong: &mut Vec<Wrong>) {
    let mut seen = HashMap::new();
    for (kind, index, name) in config.sinks.names() {
        if let Some((kind_before, before)) = seen.insert(name, (kind, index)) {
            let message = format!(
                "sinks.{kind_before}[{before}] is called \"{name}\" already: give each sink a `name` of its own"
            );
            wrong.push((item(&["sinks", kind], index, &["name"]), message));
        }
    }
    for (kind, index, flow) in config.sinks.flows() {
        for (list, number) in flow.nameless() {
            let mut steps = item(&["sinks", kind], index, &[list]);
            steps.push(Step::Index(number));
            let message = "needs at least one of `severity`, `categories`, `groups`, `rules` and `services`: an empty one \
                           fits every finding";
            wrong.push((steps, message.to_owned()));
        }
    }
    files(config, wrong);
    if config.sinks.stream_calls() && config.sinks.max_call_bytes.bytes() > config.store.max_bytes.bytes() / 2 {
        let message = format!(
            "\"{}\" must be at most half of [store] max_bytes, \"{}\": findings need room as well",
            config.sinks.max_call_bytes, config.store.max_bytes
        );
        wrong.push((key(&["sinks", "max_call_bytes"]), message));
    }
    for (index, sink) in config.sinks.kafka.iter().enumerate() {
        if sink.brokers.is_empty() {
            wrong.push((item(&["sinks", "kafka"], index, &["brokers"]), "needs at least one".to_owned()));
        }
        let classes = crate::sinks::ocsf::FINDING_CLASSES.map(|class| class.to_string());
        for class in sink.topics.keys().filter(|class| !classes.contains(class)) {
            let message = format!("is no class of findings: one of \"{}\"", classes.join("\", \""));
            wrong.push((item(&["sinks", "kafka"], index, &["topics", class]), message));
        }
        for (name, setting) in &sink.settings {
            if let Some(why) = secret(is_secret(name), setting).or_else(|| refusal(name, setting)) {
                wrong.push((item(&["sinks", "kafka"], index, &["settings", name]), why));
            }
        }
    }
    for (index, sink) in config.sinks.otlp.iter().enumerate() {
        for (name, setting) in sink.headers.iter().flatten() {
            let is_header = hyper::header::HeaderName::from_lowercase(name.as_bytes()).is_ok();
            let no_header = || (!is_header).then(|| "is no name of a header in lower case".to_owned());
            if let Some(why) = secret(is_secret_header(name), setting).or_else(no_header) {
                wrong.push((item(&["sinks", "otlp"], index, &["headers", name]), why));
            }
        }
        let is_open = sink.endpoint.as_ref().is_some_and(|endpoint| endpoint.as_str().starts_with("http://"));
        let files = [&sink.ca_file, &sink.cert_file, &sink.key_file];
        certificates(files, is_open, &item(&["sinks", "otlp"], index, &[]), "endpoint", wrong);
    }
    webhooks(config, wrong);
    for (index, sink) in config.sinks.syslog.iter().enumerate() {
        let is_open = !matches!(sink.address, SyslogAddress::Tls { .. });
        let files = [&sink.ca_file, &sink.cert_file, &sink.key_file];
        certificates(files, is_open, &item(&["sinks", "syslog"], index, &[]), "address", wrong);
    }
}

/// The certificates of a sink. `is_open`: it is not encrypted; `address`: the key that says so.
fn certificates(
    [ca, cert, key]: [&Option<AbsolutePath>; 3],
    is_open: bool,
    sink: &[Step],
    address: &str,
    wrong: &mut Vec<Wrong>,
) {
    let at = |name: &str| [sink, &[Step::Key(name.to_owned())]].concat();
    let missing = match (cert, key) {
        (Some(_), None) => Some(("cert_file", "key_file")),
        (None, Some(_)) => Some(("key_file", "cert_file")),
        _ => None,
    };
    if let Some((there, missing)) = missing {
        wrong.push((at(there), format!("needs `{missing}` beside it")));
    }
    if is_open && (ca.is_some() || cert.is_some()) {
        let message = match address {
            "address" => "certificates have no effect: the address does not begin with tls".to_owned(),
            _ => format!("certificates have no effect: the {address} begins with http, not with https"),
        };
        wrong.push((at(address), message));
    }
}

/// Header fields of a webhook that belong to the sink.
const OURS: [&str; 6] =
    ["connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"];

fn webhooks(config: &Config, wrong: &mut Vec<Wrong>) {
    for (index, sink) in config.sinks.webhook.iter().enumerate() {
        let at = |rest: &[&str]| item(&["sinks", "webhook"], index, rest);
        let open = if let Setting::Text(address) = &sink.url { Some(address.as_str()) } else { None };
        if let Some(address) = open
            && Endpoint::parse(address).is_err()
        {
            let message =
                "must be an address with http or https and without a user or a query; or { file = \"/path\" }";
            wrong.push((at(&["url"]), message.to_owned()));
        }
        if let Some(setting) = &sink.secret {
            wrong.extend(secret(true, setting).map(|why| (at(&["secret"]), why)));
        }
        for (name, setting) in &sink.headers {
            let is_header = hyper::header::HeaderName::from_lowercase(name.as_bytes()).is_ok();
            let no_header = || (!is_header).then(|| "is no name of a header in lower case".to_owned());
            let is_ours = OURS.contains(&name.as_str()) || name.starts_with("webhook-");
            let ours = || is_ours.then(|| "is set by the sink itself".to_owned());
            if let Some(why) = secret(is_secret_header(name), setting).or_else(no_header).or_else(ours) {
                wrong.push((at(&["headers", name]), why));
            }
        }
        let is_open = open.is_some_and(|address| address.starts_with("http://"));
        certificates([&sink.ca_file, &sink.cert_file, &sink.key_file], is_open, &at(&[]), "url", wrong);
    }
}

fn silences(config: &Config, wrong: &mut Vec<Wrong>) {
    for (index, _) in config.silence.iter().enumerate().filter(|(_, silence)| !silence.names_something()) {
        let message = "needs at least one of `findings`, `fingerprints`, `rules` and `services`";
        wrong.push((item(&["silence"], index, &[]), message.to_owned()));
    }
}

/// What the agent writes it must not read: each finding in it would be found again.
fn files(config: &Config, wrong: &mut Vec<Wrong>) {
    let mut seen = HashMap::new();
    for (index, sink) in config.sinks.file.iter().enumerate() {
        let at = item(&["sinks", "file"], index, &["path"]);
        let path = sink.path.get();
        if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            wrong.push((at.clone(), format!("\"{}\" is a folder: name a file in it", sink.path)));
        }
        if let Some(earlier) = seen.insert(path, index) {
            wrong.push((at.clone(), format!("sinks.file[{earlier}] writes to \"{}\" already", sink.path)));
        }
        if config.breaker.file.as_ref() == Some(&sink.path) {
            wrong.push((at.clone(), "[breaker] writes to this file: give each its own".to_owned()));
        }
        for (group, number) in config.logs.follow(path) {
            let message = format!(
                "logs.files[{group}].globs[{number}] follows this file or its rotated names, so each finding would be found \
                 again: put \"{}*\" into `exclude` there, or write elsewhere",
                sink.path
            );
            wrong.push((at.clone(), message));
        }
    }
}

/// A secret in the file would be read over shoulders, and end in backups and in `config show`. Its value is not repeated.
fn secret(is_secret: bool, setting: &Setting) -> Option<String> {
    let is_bare = matches!(setting, Setting::Text(_)) && is_secret;
    is_bare.then(|| "is a secret: write { file = \"/path\" } or { env = \"NAME\" } instead of its value".to_owned())
}

#[cfg(feature = "kafka")]
fn refusal(name: &str, setting: &Setting) -> Option<String> {
    let value = if let Setting::Text(value) = setting { Some(value.as_str()) } else { None };
    crate::sinks::kafka::refusal(name, value)
}

/// A build without Kafka refuses the sink when it starts.
#[cfg(not(feature = "kafka"))]
fn refusal(_name: &str, _setting: &Setting) -> Option<String> {
    None
}

fn budgets(config: &Config, wrong: &mut Vec<Wrong>) {
    let (mut seen, mut named) = (HashMap::new(), HashMap::new());
    for (index, budget) in config.budget.iter().enumerate() {
        let mut add = |name: &str, message: String| wrong.push((item(&["budget"], index, &[name]), message));
        let patterns: Vec<(By, &str)> = budget.patterns().into_iter().map(|(by, glob)| (by, glob.as_str())).collect();
        let Some((first, text)) = patterns.first() else {
            add(
                "service",
                "is missing, and so are `feature`, `model`, `key` and `host`: whose budget is it?".to_owned(),
            );
            continue;
        };
        let limits = [budget.limit_usd.is_some(), budget.limit_tokens.is_some()];
        let is_limited = limits.contains(&true) || budget.request_usd.is_some() || budget.request_tokens.is_some();
        if !is_limited {
            let others = "`limit_tokens`, `request_usd` and `request_tokens`";
            add("limit_usd", format!("is missing, and so are {others}: what is the limit?"));
        }
        if let Some(name) = &budget.name {
            if let Some(earlier) = named.insert(name.as_str(), index) {
                add("name", format!("budget[{earlier}] is called \"{name}\" already"));
            }
        } else if let Some(earlier) = seen.insert((patterns.clone(), limits, budget.shared), index) {
            let message = format!(
                "\"{text}\" has a budget already, budget[{earlier}]; give one of them a `name`, and both count"
            );
            add(first.as_str(), message);
        }
    }
}

/// Budgets that hosts have together, and how they hear of each other.
fn fleet(config: &Config, wrong: &mut Vec<Wrong>) {
    let fleet = &config.fleet;
    for (index, budget) in config.budget.iter().enumerate().filter(|(_, budget)| budget.fleet) {
        let mut add = |name: &str, message: &str| wrong.push((item(&["budget"], index, &[name]), message.to_owned()));
        if budget.name.is_none() {
            add("fleet", "needs a `name` beside it: by that hosts know that it is the same budget");
        }
        if budget.limit_usd.is_none() && budget.limit_tokens.is_none() {
            add("fleet", "needs `limit_usd` or `limit_tokens`: a limit of one call is no matter of other hosts");
        }
        if fleet.brokers.is_empty() {
            add("fleet", "needs `brokers` in [fleet]: from there the other hosts' spend is heard");
        }
        if config.sinks.kafka.iter().all(|sink| sink.usage_topic.is_none()) {
            add("fleet", "needs a [[sinks.kafka]] with `usage_topic`: else nobody hears what this host spends");
        }
    }
    if fleet.state_topic == fleet.usage_topic {
        wrong.push((key(&["fleet", "state_topic"]), "is `usage_topic` already: each needs its own".to_owned()));
    }
    for (name, setting) in &fleet.settings {
        if let Some(why) = secret(is_secret(name), setting).or_else(|| refusal(name, setting)) {
            wrong.push((key(&["fleet", "settings", name]), why));
        }
    }
}

fn prices(config: &Config, wrong: &mut Vec<Wrong>) {
    for (index, price) in config.price.iter().enumerate() {
        let mut add = |name: &str, message: &str| wrong.push((item(&["price"], index, &[name]), message.to_owned()));
        let own = [
            ("input", price.input),
            ("output", price.output),
            ("cache_read", price.cache_read),
            ("cache_write", price.cache_write),
        ];
        match (&price.as_model, price.input) {
            (None, None) => add("input", "is missing, and so is `as_model`: what is the price?"),
            (Some(_), _) => {
                for (name, _) in own.iter().filter(|(_, price)| price.is_some()) {
                    add(name, "has no effect beside `as_model`");
                }
            }
            (None, Some(_)) if price.as_vendor.is_some() => add("as_vendor", "has no effect without `as_model`"),
            (None, Some(_)) => {}
        }
    }
    enforcement(config, wrong);
}

/// Control groups that a circuit breaker is attached to at most; each has its own programs in the kernel.
const ENFORCED_MAX: usize = 32;

fn enforcement(config: &Config, wrong: &mut Vec<Wrong>) {
    let breaker = &config.breaker;
    let mut groups = HashSet::new();
    for (index, budget) in config.budget.iter().enumerate() {
        let at = |name: &str| item(&["budget"], index, &[name]);
        if budget.enforce && !config.tap.enabled {
            wrong.push((at("enforce"), "needs the [tap]: without it nobody knows what is spent".to_owned()));
        } else if budget.enforce && budget.cgroups.is_empty() && breaker.targets().is_empty() {
            let message = "needs `cgroups`, or in [breaker] a `file`, a `command` or a `webhook`: else nothing happens";
            wrong.push((at("enforce"), message.to_owned()));
        } else if !budget.enforce && !budget.cgroups.is_empty() {
            wrong.push((at("cgroups"), "has no effect without `enforce = true`".to_owned()));
        }
        for (number, folder) in budget.cgroups.iter().enumerate() {
            groups.insert(folder);
            if budget.cgroups.iter().take(number).any(|other| other == folder) {
                let mut steps = at("cgroups");
                steps.push(Step::Index(number));
                wrong.push((steps, "stands in the list already".to_owned()));
            }
        }
    }
    if groups.len() > ENFORCED_MAX {
        let message = format!("all budgets together have {} `cgroups`, at most {ENFORCED_MAX}", groups.len());
        wrong.push((key(&["budget"]), message));
    }
    if let Some(Setting::Text(address)) = &breaker.webhook
        && Endpoint::parse(address).is_err()
    {
        let message = "must be an address with http or https and without a user or a query; or { file = \"/path\" }";
        wrong.push((key(&["breaker", "webhook"]), message.to_owned()));
    }
}
