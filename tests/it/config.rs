//! `outflow.toml` as a person meets it: what a good file comes to, what each mistake is answered with, and that the written
//! reference and example are true. `INSTA_UPDATE=always` takes new snapshots, `OUTFLOW_BLESS=1` writes docs/CONFIG.md.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use outflow::{
    cli::config::effective,
    config::{Config, ConfigError, Scope, reference},
    units::NanoUsd,
};

fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn load(text: &str) -> Config {
    Config::parse("outflow.toml", text).unwrap_or_else(|error| panic!("{error}"))
}

/// What a text is answered with.
fn refusal(text: &str) -> String {
    match Config::parse("outflow.toml", text) {
        Ok(_) => "it was taken".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_reference_is_the_generated_one() {
    let generated = reference();
    if std::env::var_os("OUTFLOW_BLESS").is_some() {
        fs::write(docs("CONFIG.md"), &generated).unwrap();
    }
    let committed = fs::read_to_string(docs("CONFIG.md")).unwrap_or_default();
    assert!(committed == generated, "docs/CONFIG.md is out of date: run this test with OUTFLOW_BLESS=1");
}

#[test]
fn every_key_is_explained() {
    let text = reference();
    let entries: Vec<&str> = text.split("\n### `").skip(1).collect();
    assert!(entries.len() > 25, "{} keys", entries.len());
    for entry in entries {
        let (key, rest) = entry.split_once('`').unwrap();
        let about = rest.trim_start().lines().next().unwrap_or_default();
        assert!(about.len() > 30 && about.ends_with('.'), "{key} has no explanation: {about:?}");
        assert!(rest.contains("Default: ") || rest.contains("No default") || rest.contains("Required"), "{key}");
    }
}

#[test]
fn the_example_is_complete_and_says_the_truth_about_defaults() {
    let text = fs::read_to_string(docs("outflow.example.toml")).unwrap();
    let config = load(&text);
    let is_default = |line: &&str| line.ends_with("# default");
    let without: Vec<&str> = text.lines().filter(|line| !is_default(line)).collect();
    assert_eq!(load(&without.join("\n")), config, "a line says `# default` and is none");
    assert!(text.lines().filter(is_default).count() > 10);
    for entry in reference().split("\n### `").skip(1) {
        let key = entry.split('`').next().unwrap().rsplit('.').next().unwrap();
        let stands = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
        assert!(stands, "{key} does not stand in the example");
    }
}

#[test]
fn what_is_shown_is_read_as_the_same() {
    let example = fs::read_to_string(docs("outflow.example.toml")).unwrap();
    for text in ["", &example, "[tap]\nenabled = true\nscope = \"host\"\n[admin]\nlisten = \"off\"\n"] {
        let config = effective(load(text));
        assert_eq!(load(&config.to_toml()), config, "{text}");
    }
}

#[test]
fn an_empty_file_watches_nothing() {
    let config = load("");
    assert!(config.watches_nothing() && !config.tap.enabled && config.tap.scope.is_none());
    assert_eq!(config, Config::default());
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9464");
}

#[test]
fn values_are_what_was_written() {
    let config = load(
        "[tap]\nenabled = true\nscope = \"host\"\ninclude = [\"py*\", \"shop\"]\nexclude = [\"pytest\"]\n\
         [logs]\nscan_interval = \"250ms\"\n[[logs.files]]\nglobs = [\"/a/*.log\"]\n\
         [[budget]]\nservice = \"s\"\nlimit_usd = 0.1\nwindow = \"90m\"\n[[budget]]\nservice = \"t\"\nlimit_usd = \"12.000000001\"\n",
    );
    assert_eq!(config.tap.scope, Some(Scope::Host));
    for (service, program, wanted) in
        [("shop", "node", true), ("x", "python3", true), ("x", "node", false), ("pytest", "python3", false)]
    {
        assert_eq!(config.tap.wants(service, program), wanted, "{service} {program}");
    }
    assert_eq!(config.logs.scan_interval.get().as_millis(), 250);
    let limits: Vec<NanoUsd> = config.budget.iter().filter_map(|budget| Some(budget.limit_usd?.get())).collect();
    assert_eq!(limits, [NanoUsd(100_000_000), NanoUsd(12_000_000_001)]);
    assert_eq!(config.budget[0].window.nanos(), 90 * 60 * 1_000_000_000);
    assert_eq!(config.budget[0].warn_at_percent.percents(), [50, 80, 100]);
}

#[test]
fn only_rules_and_budgets_are_taken_up_while_it_runs() {
    let old = load("");
    let rules = load("[rules]\ndisable = [\"pii.email\"]\n[[budget]]\nservice = \"*\"\nlimit_usd = 1\n");
    assert_eq!(old.needs_restart(&rules), [""; 0]);
    let more = load("[logs]\nscan_interval = \"2s\"\n[store]\nmax_bytes = \"2 GiB\"\n");
    assert_eq!(old.needs_restart(&more), ["logs", "store"]);
}

/// Every kind of mistake, each with the file that makes it.
const MISTAKES: [(&str, &str); 47] = [
    ("a cloud of nobody", "[sinks.cloud]\nregion = \"eu-central-1\"\n"),
    ("no name of a cloud", "[sinks.cloud]\nprovider = \"Amazon Web Services\"\n"),
    ("no TOML", "[logs\nscan_interval = \"1s\"\n"),
    ("two syntax errors", "[logs]\nscan_interval = 1s\nline_bytes = = 4\n"),
    ("a key twice", "[store]\nmax_bytes = \"1 GiB\"\nmax_bytes = \"2 GiB\"\n"),
    ("an unknown section", "[log]\nscan_interval = \"1s\"\n"),
    ("an unknown key, nearly right", "[logs]\nscan_intervall = \"1s\"\n"),
    ("an unknown key, far off", "[admin]\npassword = \"x\"\n"),
    ("a key that breaks lines", "[admin]\n\"a\\nb\" = 1\n"),
    ("a section that is no table", "logs = 5\n"),
    ("a table where a list belongs", "[budget]\nservice = \"*\"\nlimit_usd = 1\n"),
    ("a truth value as text", "[tap]\nenabled = \"yes\"\n"),
    (
        "a budget of a fleet that nobody can know",
        "[[budget]]\nservice = \"*\"\nrequest_usd = 1\nfleet = true\n[fleet]\nstate_topic = \"a\"\nusage_topic = \"a\"\nsettings = { \"sasl.password\" = \"x\", acks = 1 }\n",
    ),
    ("a duration without a unit", "[logs]\nscan_interval = 5\n"),
    ("a duration that is none", "[logs]\nscan_interval = \"soon\"\n"),
    ("a duration out of its bounds", "[logs]\nscan_interval = \"10ms\"\n"),
    ("a size without a unit", "[store]\nmax_bytes = \"1073741824\"\n"),
    ("a size out of its bounds", "[store]\nmax_bytes = \"1 MiB\"\n"),
    ("numbers out of their bounds", "[store]\ncommit_rows = 0\nqueue_batches = \"256\"\n"),
    ("a relative folder", "[state]\ndirectory = \"state\"\n"),
    ("a relative glob", "[[logs.files]]\nglobs = [\"*.log\"]\n"),
    ("a glob that is none", "[[logs.files]]\nglobs = [\"/var/log/[a.log\"]\n"),
    ("files without globs", "[[logs.files]]\nglobs = []\n\n[[logs.files]]\nservice = \"a\"\n"),
    ("a glob of two services", "[[logs.files]]\nglobs = [\"/a\"]\n[[logs.files]]\nglobs = [\"/b\", \"/a\"]\n"),
    ("a line longer than a block", "[logs]\nline_bytes = \"2 MiB\"\n"),
    ("a tap without a scope", "[tap]\nenabled = true\n"),
    ("a scope that is none", "[tap]\nenabled = true\nscope = \"hosts\"\n"),
    ("a scope without its list", "[tap]\nenabled = true\nscope = \"cgroup\"\n"),
    ("a list without its scope", "[tap]\nenabled = true\nscope = \"host\"\npids = [7]\n"),
    ("groups within groups", "[tap]\nscope = \"cgroup\"\ncgroups = [\"/sys/fs/cgroup/a/b\", \"/sys/fs/cgroup/a\"]\n"),
    ("processes that are none", "[tap]\nscope = \"processes\"\npids = [0, 7, 7, 5000000000]\n"),
    ("a host that is none", "[tap]\nhosts = [\"ok.example.com\", \"https://llm.example.com/v1\"]\n"),
    ("a ring of an odd size", "[tap]\nring_bytes = \"17 MiB\"\n"),
    ("rules that do not exist", "[rules]\ndisable = [\"pii.email\", \"pii.emial\", \"x\"]\n"),
    ("a folder of rules that is none", "[rules]\ndirectory = \"/no/such/folder\"\n"),
    (
        "amounts that are none",
        "[[budget]]\nservice = \"a\"\nlimit_usd = -5\n[[budget]]\nservice = \"b\"\nlimit_usd = \"5 EUR\"\n",
    ),
    (
        "budgets that do not work",
        "[[budget]]\nservice = \"a\"\nlimit_usd = 1\nwarn_at_percent = [100, 80]\n[[budget]]\nservice = \"a\"\nlimit_usd = 2\n\
         [[budget]]\nlimit_usd = 3\nwindow = \"1s\"\n",
    ),
    (
        "budgets that enforce nothing",
        "[tap]\nenabled = true\nscope = \"host\"\n[[budget]]\nservice = \"a\"\nlimit_usd = 1\nenforce = true\n\
         [[budget]]\nservice = \"b\"\nlimit_usd = 1\ncgroups = [\"/g\"]\n",
    ),
    (
        "a budget that enforces what nobody sees, and a group twice",
        "[[budget]]\nservice = \"a\"\nlimit_usd = 1\nenforce = true\ncgroups = [\"/g\", \"/g\"]\n",
    ),
    ("networks that are none", "[breaker]\nnetworks = [\"10.0.0.0/8\", \"10.0.0.1/8\", \"api.openai.com\"]\n"),
    ("a webhook that is none, and a policy", "[breaker]\nunreadable = \"block\"\nwebhook = \"hooks.example.com\"\n"),
    (
        "files that are read and written",
        "[[logs.files]]\nglobs = [\"/var/log/*.log\", \"/var/log/f.jsonl*\"]\nexclude = [\"/var/log/mine.log*\"]\n\
         [[sinks.file]]\npath = \"/var/log/mine.log\"\n[[sinks.file]]\nname = \"b\"\npath = \"/var/log/f.jsonl\"\n\
         [[sinks.file]]\nname = \"c\"\npath = \"/var/log/f.jsonl\"\n",
    ),
    (
        "rules of a sink that mean nothing",
        "[[sinks.file]]\npath = \"/f\"\nmax_per_minute = 0\nonly = [{}, { rules = [\"a\"], group = \"x\" }]\nexcept = [{}]\n\
         [[sinks.file]]\npath = \"/g\"\nonly = [{ severity = \"grave\", categories = [\"leaks\"] }]\n",
    ),
    (
        "a webhook whose secrets stand in the file",
        "[[sinks.webhook]]\nurl = \"https://me:pw@hooks.example.com/?key=1\"\nsecret = \"whsec_FAKE\"\nbody = \"all\"\n\
         headers = { authorization = \"Bearer FAKE\", \"X-Team\" = \"a\", content-type = \"text/plain\" }\n\
         [[sinks.webhook]]\nsecret = { env = \"S\" }\n[[sinks.webhook]]\nname = \"w\"\nurl = \"http://h/\"\nca_file = \"/ca.pem\"\n",
    ),
    (
        "syslog to nowhere",
        "[[sinks.syslog]]\naddress = \"udp://a:514\"\n[[sinks.syslog]]\nname = \"b\"\naddress = \"unix:/dev/log\"\n\
         facility = \"kern\"\ncert_file = \"/c.pem\"\n[[sinks.syslog]]\nname = \"c\"\naddress = \"logs.example.com\"\n",
    ),
    (
        "silences without an end or a meaning",
        "[[silence]]\nreason = \"r\"\nuntil = \"tomorrow\"\nrules = [\"a\"]\n[[silence]]\nuntil = \"2026-12-03T18:00:00Z\"\nfindings = [\"4f1d\"]\n\
         [[silence]]\nreason = \"r\"\nuntil = \"2026-12-03T18:00:00Z\"\n",
    ),
    ("a page for everybody", "[admin]\nlisten = \"0.0.0.0:9464\"\n"),
];

#[test]
fn each_mistake_is_told_with_file_line_column_and_key() {
    let mut all = String::new();
    for (what, text) in MISTAKES {
        writeln!(all, "# {what}\n{}\n", refusal(text)).unwrap();
    }
    shown("config_mistakes", &all);
    // A snapshot can be taken wrong; this cannot.
    for (what, text) in MISTAKES {
        let error = Config::parse("outflow.toml", text).err().unwrap_or_else(|| panic!("{what}: it was taken"));
        let ConfigError::Invalid { problems, .. } = error else { panic!("{what}: {error}") };
        for problem in problems {
            assert!(problem.line >= 1 && problem.line <= text.lines().count() + 1, "{what}: {problem:?}");
            assert!(problem.message.len() > 5 && !problem.message.contains('\n'), "{what}: {problem:?}");
        }
    }
}

#[test]
fn all_errors_of_a_file_are_told_at_once() {
    let together = MISTAKES.iter().filter(|(_, text)| text.starts_with('[') && !text.contains("[[")).count();
    assert!(together > 10);
    let text = "[tap]\nenabled = 1\nscope = \"hosts\"\nhost = []\n[logs]\nscan_interval = 5\n[store]\nmax_bytes = \"1\"\n\
                [admin]\nlisten = \"*\"\n[[budget]]\nservice = \"\"\nlimit_usd = \"x\"\n[rules]\ndisable = [\"no\"]\n";
    assert_eq!(refusal(text).lines().count(), 9, "{}", refusal(text));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Config::load(&folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read ") && error.contains("none.toml"), "{error}");
    fs::write(folder.path().join("big.toml"), "# x\n".repeat(300_000)).unwrap();
    let error = Config::load(&folder.path().join("big.toml")).unwrap_err().to_string();
    assert!(error.contains("no config file"), "{error}");
}

fn shown(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/it/snapshots"), prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, text);
    });
}

/// Runs `outflow` in `folder`; gives the command line, exit code and both outputs in one text.
fn run(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
    command.args(arguments).current_dir(folder).env("STATE_DIRECTORY", "/state");
    command.env("OUTFLOW_CLOUD_REGION", "elsewhere").env("OUTFLOW_CLOUD_ZONE", "eu-central-1a");
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let line = arguments.join(" ");
    format!(
        "$ outflow {line}\nexit {}\n-- stdout\n{}-- stderr\n{}\n",
        status.code().unwrap(),
        text(&stdout),
        text(&stderr)
    )
}

#[test]
fn the_command_says_what_a_file_is_worth() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("good.toml", "[[logs.files]]\nglobs = [\"/var/log/*.log\"]\n[[budget]]\nservice = \"*\"\nlimit_usd = 0.5\n");
    write("bad.toml", "[logs]\nscan_intervall = \"1s\"\n[store]\nmax_bytes = 7\n");
    write("one.toml", "[admin]\nlisten = \"0.0.0.0:80\"\n");
    // The zone is the environment's, the region is not.
    write("cloud.toml", "[sinks.cloud]\nprovider = \"aws\"\nregion = \"eu-central-1\"\n");
    let mut all = String::new();
    for arguments in [
        &["config", "--help"][..],
        &["config", "check", "--help"],
        &["config", "show", "--help"],
        &["config", "check", "good.toml"],
        &["config", "check", "bad.toml"],
        &["config", "check", "one.toml"],
        &["config", "check", "bad.toml", "--format", "jsonl"],
        &["config", "check", "none.toml"],
        &["config", "check"],
        &["config", "show", "good.toml"],
        &["config", "show", "--effective", "good.toml"],
        &["config", "show", "--effective", "cloud.toml"],
        &["config", "show", "--effective", "bad.toml"],
        &["config", "show", "--effective"],
    ] {
        all.push_str(&run(folder.path(), arguments));
    }
    shown("config_commands", &all);
}
