//! A real journal: `systemd-journal-remote` writes it, `journalctl` reads it for the agent. Killed and started again, the agent has each
//! entry once, and names the unit that wrote it. Skips with the reason where one of the two programs is not.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use outflow::{findings::Finding, store::Filter};

use super::place::Place;

/// Where Debian's package of that name puts it.
const WRITER: &str = "/lib/systemd/systemd-journal-remote";

fn journal_or_skip() -> bool {
    let missing = [WRITER, "/usr/bin/journalctl"].into_iter().find(|program| !Path::new(program).exists());
    if let Some(program) = missing {
        println!("skipped: no {program} (apt-get install systemd-journal-remote)");
    }
    missing.is_none()
}

/// A folder with one journal.
struct Journal {
    folder: PathBuf,
    written: u64,
}

impl Journal {
    fn new(place: &Place) -> Self {
        let folder = place.logs().join("journal");
        fs::create_dir_all(&folder).unwrap();
        Self { folder, written: 0 }
    }

    /// Appends entries in the journal's export format (systemd.io/JOURNAL_EXPORT_FORMATS), each with an address of its own.
    fn write(&mut self, count: u64) {
        let mut export = String::new();
        for number in self.written..self.written + count {
            let time = 1_795_392_000_000_000 + number * 1000;
            let unit = ["shop", "mail"][usize::from(number % 2 == 1)];
            write!(
                export,
                "__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID=4d1fd6c3d3f44b7d9d6e2d0c0e0f1a2b\n\
                 _MACHINE_ID=0123456789abcdef0123456789abcdef\nPRIORITY=6\n_SYSTEMD_UNIT={unit}.service\n_PID={}\n\
                 MESSAGE=order {number} of user{number}@outflow-fake.org\n\n",
                1000 + number,
                100 + number,
            )
            .unwrap();
        }
        let file = self.folder.join("in.export");
        fs::write(&file, export).unwrap();
        let mut writer = Command::new(WRITER);
        writer.arg("--output").arg(self.folder.join("remote-test.journal")).arg(&file);
        let output = writer.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.written += count;
    }
}

fn found(place: &Place) -> Vec<Finding> {
    place.reader().findings(&Filter { rule: Some("pii.email".to_owned()), ..Filter::default() }).unwrap()
}

#[test]
fn a_journal_is_followed_and_each_entry_is_stored_once() {
    if !journal_or_skip() {
        return;
    }
    let place = Place::new();
    let mut journal = Journal::new(&place);
    journal.write(20);
    let files = format!(
        "globs = [\"{}\"]\n[logs.journald]\nenabled = true\nsince = \"start\"\ndirectory = \"{}\"\n",
        place.logs().join("*.log").display(),
        journal.folder.display(),
    );
    place.follow(&files, "");
    let mut agent = place.start().ready();
    agent.until("what was there", |_| place.stored() == 20);
    journal.write(5);
    agent.until("what was written meanwhile", |_| place.stored() == 25);
    agent.kill();
    journal.write(5);
    let mut agent = place.start().ready();
    agent.until("what was written while nobody looked", |_| place.stored() == 30);
    agent.terminate();

    let findings = found(&place);
    assert_eq!(findings.len(), 30);
    for finding in &findings {
        assert_eq!(finding.count, 1, "{finding:?}");
        assert!(matches!(finding.process.service.as_str(), "shop" | "mail"), "{:?}", finding.process);
        let location = finding.location.as_ref().unwrap();
        assert_eq!((location.file.as_deref(), location.line, location.byte_offset), (Some("journald"), None, None));
    }
    // The entry is found again by its cursor.
    let finding = findings.iter().find(|finding| finding.process.service == "mail").unwrap();
    let cursor = finding.attributes["journal.cursor"].as_str().unwrap();
    let mut again = Command::new("/usr/bin/journalctl");
    again.args(["-o", "cat", "-n", "1", "--cursor", cursor, "--directory"]).arg(&journal.folder);
    let text = String::from_utf8(again.output().unwrap().stdout).unwrap();
    assert!(text.starts_with("order ") && text.contains("@outflow-fake.org"), "{text}");
    let number: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(number % 2, 1, "an entry of mail.service: {text}");
}
