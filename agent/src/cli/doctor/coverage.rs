//! The part of `outflow doctor` about processes. Enters: which processes, and whether names may be looked up. Leaves: a line a process,
//! with `--verbose` a line a probe site. Names are looked up only when somebody asks for it, and nothing else is asked or sent.

use std::{
    collections::HashMap,
    io::{self, Write},
    net::{IpAddr, ToSocketAddrs as _},
    time::Duration,
};

use crossbeam_channel::bounded;
use serde::Serialize;

use crate::{
    cli::{Format, output::wrapped},
    clock,
    findings::{host, mask::bounded as cut},
    rules::{VendorTable, vendors::HostPattern},
    sources::{
        coverage::{How, KnownBy, Seen, TlsFile},
        tap::coverage::survey::{Connection, Probed, Survey, Surveyed},
    },
};

/// Names that are looked up side by side.
const LOOK_UPS: usize = 16;
/// How long all of them may take; what has not come by then is not waited for.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(10);

// Columns of the table.
const PID: usize = 8;
const SERVICE: usize = 20;
const HOST: usize = 26;
const HOW: usize = 8;
/// Where the text of a line begins that belongs to a process.
const INDENT: usize = PID + SERVICE + HOST + HOW + 4;
const WIDTH: usize = 100;

/// Which processes, and how much about them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct CoverageArgs {
    /// Say how the TLS of this process is seen (may be given more than once) [default: of all that are connected to a vendor]
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    /// Look up the addresses of the listed hosts, to know who is connected to them; without it only hosts files are read
    #[arg(long)]
    resolve: bool,
    /// Say for every probe site what was chosen and why
    #[arg(long)]
    verbose: bool,
}

/// A process, for programs.
#[derive(Serialize)]
struct Row<'a> {
    coverage: &'static str,
    pid: u32,
    process: &'a str,
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
    executable: &'a str,
    seen: Seen,
    files: &'a [TlsFile],
    connections: Vec<To>,
}

#[derive(Serialize)]
struct To {
    address: String,
    hosts: Vec<String>,
    known_by: KnownBy,
}

/// A tapped file, for programs.
#[derive(Serialize)]
struct ProbedFile<'a> {
    coverage: &'static str,
    file: String,
    stack: &'a str,
    sites: &'a [String],
}

/// Writes the table.
pub(super) fn write(
    args: &CoverageArgs,
    vendors: &VendorTable,
    format: Format,
    out: &mut impl Write,
) -> io::Result<()> {
    let resolved = if args.resolve { resolve(vendors) } else { HashMap::new() };
    let mut survey = Survey::new(vendors, &resolved);
    let mut gone = Vec::new();
    let processes = if args.pid.is_empty() {
        survey.connected()
    } else {
        let mut found = Vec::new();
        for pid in &args.pid {
            match survey.process(*pid) {
                Some(surveyed) => found.push(surveyed),
                None => gone.push(*pid),
            }
        }
        found
    };
    match format {
        Format::Jsonl => {
            for process in &processes {
                writeln!(out, "{}", serde_json::to_string(&row(process))?)?;
            }
            for probed in survey.probed().iter().filter(|_| args.verbose) {
                writeln!(out, "{}", serde_json::to_string(&sites(probed))?)?;
            }
        }
        Format::Text => {
            text(out, &processes, &args.pid, args.resolve)?;
            for probed in survey.probed().iter().filter(|_| args.verbose) {
                writeln!(out, "\n{} in {}", probed.stack, probed.file.display())?;
                probed.sites.iter().try_for_each(|site| writeln!(out, "  {site}"))?;
            }
        }
    }
    for pid in gone {
        anstream::eprintln!("outflow: process {pid} is gone, or this user must not look at it");
    }
    Ok(())
}

fn row(surveyed: &Surveyed) -> Row<'_> {
    let look = &surveyed.look;
    let to = |connection: &Connection| To {
        address: connection.to.to_string(),
        hosts: connection.hosts.clone(),
        known_by: connection.known_by,
    };
    Row {
        coverage: "process",
        pid: look.origin.pid,
        process: &look.origin.process,
        service: &look.origin.service,
        container: look.origin.container.as_deref(),
        executable: &look.executable,
        seen: look.seen(),
        files: &look.files,
        connections: surveyed.connections.iter().map(to).collect(),
    }
}

fn sites(probed: &Probed) -> ProbedFile<'_> {
    let file = probed.file.display().to_string();
    ProbedFile { coverage: "sites", file, stack: &probed.stack, sites: &probed.sites }
}

fn text(out: &mut impl Write, processes: &[Surveyed], asked: &[u32], resolved: bool) -> io::Result<()> {
    if processes.is_empty() && asked.is_empty() {
        let how = if resolved { "" } else { "; --resolve looks up where they are, hosts files alone were read" };
        return writeln!(out, "\nno process is known to be connected to a vendor now{how}");
    }
    if processes.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{:PID$} {:SERVICE$} {:HOST$} {:HOW$} through", "pid", "service", "vendor host", "tap")?;
    for Surveyed { look, connections } in processes {
        let name = if look.origin.service.is_empty() { &look.origin.process } else { &look.origin.service };
        let hosts: Vec<String> = connections.iter().flat_map(|to| &to.hosts).map(|name| host(name)).collect();
        let whom = match &hosts[..] {
            [] => "-".to_owned(),
            [one] => one.clone(),
            [first, more @ ..] => format!("{} +{}", cut(first, HOST - 5), more.len()),
        };
        let mut through = look.files.iter().map(through).flat_map(|text| wrapped(&text, WIDTH - INDENT));
        let first = through.next().unwrap_or_else(|| "no TLS library is known in it".to_owned());
        let (pid, name, whom) = (look.origin.pid, cut(name, SERVICE), cut(&whom, HOST));
        writeln!(out, "{pid:<PID$} {name:SERVICE$} {whom:HOST$} {:HOW$} {first}", word(look.seen()))?;
        through.try_for_each(|line| writeln!(out, "{:INDENT$}{line}", ""))?;
    }
    Ok(())
}

fn word(seen: Seen) -> &'static str {
    match seen {
        Seen::Attached => "yes",
        Seen::Refused => "REFUSED",
        Seen::NotSeen => "NO",
        Seen::InPart => "in part",
        Seen::Unknown => "unknown",
    }
}

fn through(file: &TlsFile) -> String {
    let name = file.file.rsplit('/').next().unwrap_or(&file.file);
    match &file.how {
        How::Attached { stack } => format!("{stack} in {name}"),
        How::Refused { stack, why } => format!("{stack} in {name}, refused: {why}"),
        How::NotSeen { stack } => format!("{name}: {stack}"),
    }
}

/// Addresses of the hosts that are listed by their whole name.
fn resolve(vendors: &VendorTable) -> HashMap<IpAddr, Vec<String>> {
    let names: Vec<String> = vendors
        .hosts()
        .filter_map(|pattern| match pattern {
            HostPattern::Exact(name) => Some(name.clone()),
            HostPattern::Suffix(_) => None,
        })
        .collect();
    let (ask, asked) = bounded(names.len().max(1));
    let (answer, answers) = bounded(names.len().max(1));
    let count = names.len();
    for name in names {
        // There is room for all of them, and both ends are here.
        let _ = ask.send(name);
    }
    drop(ask);
    for _ in 0..LOOK_UPS {
        let (asked, answer) = (asked.clone(), answer.clone());
        let look_up = move || {
            for name in asked {
                let found = (name.as_str(), 443).to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
                if answer.send((name, found)).is_err() {
                    return;
                }
            }
        };
        // Fewer threads only take longer.
        let _ = std::thread::Builder::new().name("outflow-resolve".to_owned()).spawn(look_up);
    }
    let end = clock::instant() + LOOK_UP_LIMIT;
    let mut known: HashMap<IpAddr, Vec<String>> = HashMap::new();
    for _ in 0..count {
        let Ok((name, found)) = answers.recv_deadline(end) else { break };
        for address in found {
            let hosts = known.entry(address.ip().to_canonical()).or_default();
            if !hosts.contains(&name) {
                hosts.push(name.clone());
            }
        }
    }
    for hosts in known.values_mut() {
        hosts.sort();
    }
    known
}
