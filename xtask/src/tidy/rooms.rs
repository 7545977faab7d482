//! The law of the river: who may use whom. Enters: the paths that a file of the agent names. Leaves: those that break the law.

use super::source::Path;

/// The rooms on the river, in the order in which data flows.
const RIVER: [&str; 7] = ["sources", "assembly", "exchange", "detectors", "findings", "store", "sinks"];

/// Rooms that do no I/O, know no async runtime and read no clock.
const DRY: [&str; 4] = ["assembly", "exchange", "detectors", "findings"];

/// Modules that any room may use, and that use nothing of the river themselves.
const COMMON: [&str; 4] = ["lru", "rules", "spare", "units"];

/// Paths that a dry room must not name, and what to do instead.
const WET: [(&[&str], &str); 8] = [
    (&["tokio"], "no async runtime in a dry room"),
    (&["crossbeam_channel"], "channels belong to engine"),
    (&["std", "fs"], "no files in a dry room: bytes arrive inside Input"),
    (&["std", "net"], "no network in a dry room: bytes arrive inside Input"),
    (&["std", "thread"], "threads belong to engine"),
    (&["std", "process"], "processes belong to sources and cli"),
    (&["std", "env"], "settings arrive as values"),
    (&["std", "time"], "time arrives inside Input; only Duration and UNIX_EPOCH are plain values"),
];

/// What is a plain value there: it reads nothing and reaches nothing.
const PLAIN: [&[&str]; 5] = [
    &["std", "time", "Duration"],
    &["std", "time", "UNIX_EPOCH"],
    &["std", "net", "IpAddr"],
    &["std", "net", "Ipv4Addr"],
    &["std", "net", "Ipv6Addr"],
];

/// Macros that print.
const PRINTING: [&str; 5] = ["println", "eprintln", "print", "eprint", "dbg"];

/// The room that a file below `agent/src` belongs to: `exchange/mod.rs` and `exchange.rs` are both `exchange`.
pub(super) fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// Is this file in a room that does no I/O?
pub(super) fn is_dry(file: &str) -> bool {
    DRY.contains(&room(file))
}

/// What is wrong with naming `path` in `file` (below `agent/src`).
pub(super) fn broken(file: &str, path: &Path) -> Option<String> {
    let own = room(file);
    if let Some(other) = target(file, &path.segments) {
        return (!may_use(own, &other)).then(|| format!("`{own}` must not use `{other}`: {}", law(own)));
    }
    if !is_dry(file) {
        return None;
    }
    let segments: Vec<_> = path.segments.iter().map(String::as_str).collect();
    let is_value = PLAIN.iter().any(|plain| segments.starts_with(plain));
    let wet = WET.iter().find(|(wet, _)| segments.starts_with(wet) && !is_value)?;
    Some(format!("`{}`: {}", path.segments.join("::"), wet.1))
}

/// Does this macro print?
pub(super) fn prints(name: &str) -> bool {
    PRINTING.contains(&name)
}

/// The top-level module that a path leads to, when it starts at the crate's root: `crate::x`, or enough `super`s.
fn target(file: &str, segments: &[String]) -> Option<String> {
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    let first = match segments.first()?.as_str() {
        "crate" | "outflow" => 1,
        "super" if supers == depth(file) => supers,
        _ => return None,
    };
    segments.get(first).cloned()
}

/// How many `super`s lead from the file's module to the crate's root.
fn depth(file: &str) -> usize {
    let names = file.split('/').count();
    match file.rsplit('/').next() {
        Some("mod.rs" | "lib.rs" | "main.rs") => names - 1,
        _ => names,
    }
}

fn may_use(own: &str, other: &str) -> bool {
    if own == other {
        return true;
    }
    let position = |name: &str| RIVER.iter().position(|room| *room == name);
    let earlier = position(own).zip(position(other)).is_some_and(|(own, other)| other < own);
    match own {
        "lib" | "main" | "cli" | "fuzz" => other != "*",
        "engine" => !matches!(other, "cli" | "*"),
        "config" => !matches!(other, "cli" | "engine" | "*"),
        "units" | "lru" | "spare" | "child" => false,
        "rules" | "clock" => other == "units",
        "enforce" => COMMON.contains(&other) || matches!(other, "sources" | "sinks" | "config" | "child"),
        "fleet" => COMMON.contains(&other) || matches!(other, "clock" | "config" | "detectors" | "sinks"),
        "telemetry" => matches!(other, "units" | "clock" | "config"),
        _ if DRY.contains(&own) => earlier || COMMON.contains(&other),
        _ if position(own).is_some() => {
            earlier || COMMON.contains(&other) || matches!(other, "clock" | "config" | "telemetry" | "child")
        }
        _ => COMMON.contains(&other),
    }
}

fn law(own: &str) -> &'static str {
    match own {
        "units" | "lru" | "spare" | "child" => "it may use nothing of the crate",
        "rules" | "clock" => "it may use units alone",
        "telemetry" => "it may use units, clock and config",
        _ if DRY.contains(&own) => "a dry room may use earlier rooms, rules, units, lru and spare",
        _ if RIVER.contains(&own) => {
            "a room may use earlier rooms, rules, units, lru, spare, child, clock, config and telemetry"
        }
        _ => "say in xtask/src/tidy/rooms.rs where it stands",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, path: &str) -> Option<String> {
        broken(file, &Path { segments: path.split("::").map(str::to_owned).collect(), line: 1 })
    }

    #[test]
    fn data_flows_one_way() {
        for (file, path, lawful) in [
            ("exchange/usage.rs", "crate::assembly::Message", true),
            ("exchange/usage.rs", "crate::detectors::Hit", false),
            ("exchange/usage.rs", "super::Exchange", true),
            ("exchange/usage.rs", "super::super::detectors::Hit", false),
            ("exchange/mod.rs", "super::detectors::Hit", false),
            ("exchange/vendors/openai.rs", "super::super::super::findings::Finding", false),
            ("detectors/scan/mod.rs", "crate::rules::ScanRule", true),
            ("detectors/scan/mod.rs", "crate::telemetry::Counter", false),
            ("detectors/scan/mod.rs", "crate::clock::now", false),
            ("sources/tap/ffi.rs", "crate::clock::now", true),
            ("sources/replay.rs", "crate::assembly::Message", false),
            ("sources/replay.rs", "crate::engine::Engine", false),
            ("sinks/otlp.rs", "crate::store::Row", true),
            ("store/mod.rs", "crate::sinks::Sink", false),
            ("rules/mod.rs", "crate::units::Severity", true),
            ("rules/mod.rs", "crate::detectors::Hit", false),
            ("units.rs", "crate::rules::ScanRule", false),
            ("engine/mod.rs", "crate::sinks::Sink", true),
            ("engine/mod.rs", "crate::cli::exit", false),
            ("cli/tap.rs", "crate::engine::Engine", true),
            ("findings/mod.rs", "crate::*", false),
            ("findings/mod.rs", "crate::lru::Lru", true),
            ("findings/mod.rs", "crate::new_room::Thing", false),
            ("new_room.rs", "crate::sources::Input", false),
            ("findings/mod.rs", "outflow::cli::main", false),
            ("findings/mod.rs", "self::redact::mask", true),
        ] {
            assert_eq!(check(file, path).is_none(), lawful, "{file} uses {path}");
        }
    }

    #[test]
    fn dry_rooms_stay_dry() {
        for (path, lawful) in [
            ("std::fs::read", false),
            ("tokio::spawn", false),
            ("std::time::Instant", false),
            ("std::time::SystemTime::now", false),
            ("std::time", false),
            ("std::time::Duration", true),
            ("std::time::UNIX_EPOCH", true),
            ("std::thread::spawn", false),
            ("std::net::TcpStream", false),
            ("std::net::IpAddr", true),
            ("std::net::ToSocketAddrs", false),
            ("std::io::Read", true),
            ("std::collections::BTreeMap", true),
        ] {
            assert_eq!(check("assembly/http1.rs", path).is_none(), lawful, "{path}");
            assert!(check("sources/replay.rs", path).is_none(), "{path}");
        }
    }
}
