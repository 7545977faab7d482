//! What no single key can know: keys that need or exclude each other. Enters: a config whose values are all in range. Leaves: what
//! does not go together, with the key to look at.

use std::collections::HashMap;

use super::{
    Config, Scope,
    read::{Step, meant},
};

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

fn rules(config: &Config, wrong: &mut Vec<Wrong>) {
    if config.rules.directory.is_none() && config.rules.disable.is_empty() {
        return;
    }
    let ids = match config.rules.ids() {
        Ok(ids) => ids,
        Err(error) => return wrong.push((key(&["rules", "directory"]), error.to_string())),
    };
    let known: Vec<&str> = ids.iter().map(String::as_str).collect();
    for (index, id) in config.rules.disable.iter().enumerate() {
        if !known.contains(&id.as_str()) {
            let meant = meant(id.as_str(), &known).map(|id| format!("; did you mean \"{id}\"?")).unwrap_or_default();
            let message = format!("there is no rule \"{id}\"{meant}");
            wrong.push((item(&["rules", "disable"], index, &[]), message));
        }
    }
}

fn budgets(config: &Config, wrong: &mut Vec<Wrong>) {
    let mut seen = HashMap::new();
    for (index, budget) in config.budget.iter().enumerate() {
        if let Some(earlier) = seen.insert(budget.service.as_str(), index) {
            let message = format!("\"{}\" has a budget already, budget[{earlier}]", budget.service);
            wrong.push((item(&["budget"], index, &["service"]), message));
        }
    }
}
