//! A real file in a real folder: what stands in it after rotations, crashes, other people's hands and a full disk. A power cut cannot be
//! made here; what was not written then is what `torn` stands for.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    log::{Log, Settings, Trouble},
    *,
};
use crate::{
    config::{Config, FileCompression},
    sinks::{
        Sinks,
        tests::{Place, drained},
    },
};

const LIMIT: Duration = Duration::from_mins(1);

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("findings.jsonl")
    }

    fn settings(&self) -> Settings {
        Settings { path: self.path(), max_bytes: 100, max_age_ns: None, keep: 3, compression: FileCompression::None }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        let mut text = String::new();
        match path.extension().and_then(|end| end.to_str()) {
            Some("gz") => {
                flate2::read::GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
            }
            // Read by another library than the one that wrote it.
            Some("zst") => {
                let file = fs::File::open(path).unwrap();
                ruzstd::decoding::StreamingDecoder::new(file).unwrap().read_to_string(&mut text).unwrap();
            }
            _ => text = fs::read_to_string(path).unwrap(),
        }
        text
    }
}

/// A line of 40 bytes.
fn line(number: usize) -> String {
    format!("{{\"n\":\"{number:031}\"}}\n")
}

fn lines(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(line).collect()
}

fn start(place: &Place, config: &str) -> Sinks {
    let config = Config::parse("outflow.toml", config).unwrap_or_else(|error| panic!("{error}"));
    Sinks::start(&config.sinks, &place.store, &Host::default(), Arc::new(|_| {})).unwrap()
}

fn record_ids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let id =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["record_id"].as_str().unwrap().to_owned();
    text.lines().map(id).collect()
}

#[test]
fn each_record_is_a_line_for_its_owner_alone() {
    let (place, folder) = (Place::new(), Folder::new());
    place.find((0..10).map(|number| format!("model-{number}")));
    let config = format!("[[sinks.file]]\npath = {:?}\n", folder.path());
    let sinks = start(&place, &config);
    drained(&place, &sinks);
    place.find((10..14).map(|number| format!("model-{number}")));
    sinks.finish(LIMIT).unwrap();
    assert_eq!(record_ids(&folder.path()), place.record_ids());
    assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let payloads = place.reader().outbox_rows_after(0, 1).unwrap();
    assert!(fs::read_to_string(folder.path()).unwrap().starts_with(&payloads[0].payload.clone().unwrap()));

    // The next run goes on behind them, and so does one that lost its last line in a crash: it is told again under the same id.
    place.find(["model-14".to_owned()]);
    start(&place, &config).finish(LIMIT).unwrap();
    assert_eq!(record_ids(&folder.path()), place.record_ids());
}

#[test]
fn a_line_in_ocsf_is_an_event() {
    let (place, folder) = (Place::new(), Folder::new());
    place.find(["model-1".to_owned()]);
    start(&place, &format!("[[sinks.file]]\npath = {:?}\nformat = \"ocsf\"\n", folder.path())).finish(LIMIT).unwrap();
    let event: serde_json::Value = serde_json::from_str(&fs::read_to_string(folder.path()).unwrap()).unwrap();
    assert_eq!(event["metadata"]["version"], "1.8.0");
}

#[test]
fn what_is_no_longer_what_was_written_goes_to_nobody() {
    let (place, folder) = (Place::new(), Folder::new());
    place.find((0..3).map(|number| format!("model-{number}")));
    let ids = place.record_ids();
    let db = rusqlite::Connection::open(place.path()).unwrap();
    // Still JSON, and still a finding.
    let change = "UPDATE outbox SET payload = replace(payload, 'model-1', 'model-9') WHERE seq = 2";
    db.execute_batch(&format!("DROP TRIGGER outbox_keeps; DROP TRIGGER outbox_stays; {change}")).unwrap();
    start(&place, &format!("[[sinks.file]]\npath = {:?}\n", folder.path())).finish(LIMIT).unwrap();
    assert_eq!(record_ids(&folder.path()), [&ids[0], &ids[2]].map(String::as_str));
    let letters = place.reader().dead_letters(10).unwrap();
    let [(_, letter)] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.record_id.as_str(), letter.reason.as_str()), (ids[1].as_str(), "damaged"));
}

#[test]
fn a_full_file_is_rotated_and_the_oldest_go() {
    let folder = Folder::new();
    let mut log = Log::new(folder.settings());
    log.append(&lines(0..9)).unwrap();
    // Two lines a file; a fifth file would be one too many.
    assert_eq!(folder.names(), ["findings.jsonl", "findings.jsonl.1", "findings.jsonl.2", "findings.jsonl.3"]);
    assert_eq!(folder.read("findings.jsonl"), line(8));
    assert_eq!(folder.read("findings.jsonl.1"), lines(6..8).concat());
    assert_eq!(folder.read("findings.jsonl.3"), lines(2..4).concat());
    // A line that is longer than a file may be has one of its own.
    let wide = format!("{{\"n\":\"{}\"}}\n", "x".repeat(200));
    log.append(&[wide.clone(), line(9)]).unwrap();
    assert_eq!((folder.read("findings.jsonl"), folder.read("findings.jsonl.1")), (line(9), wide));

    drop(log);
    let mut log = Log::new(Settings { keep: 1, ..folder.settings() });
    log.append(&lines(10..12)).unwrap();
    assert_eq!(folder.names(), ["findings.jsonl", "findings.jsonl.1"]);
    drop(log);
    let mut log = Log::new(Settings { keep: 0, ..folder.settings() });
    log.append(&lines(12..15)).unwrap();
    assert_eq!(folder.names().first().map(String::as_str), Some("findings.jsonl"));
    assert_eq!(folder.read("findings.jsonl"), lines(13..15).concat());
}

#[test]
fn an_old_file_is_rotated_when_something_comes() {
    let folder = Folder::new();
    let mut log = Log::new(Settings { max_age_ns: Some(0), max_bytes: 1 << 20, ..folder.settings() });
    log.append(&lines(0..2)).unwrap();
    log.append(&lines(2..3)).unwrap();
    assert_eq!((folder.read("findings.jsonl.1"), folder.read("findings.jsonl")), (lines(0..2).concat(), line(2)));
    drop(log);
    let mut log = Log::new(Settings { max_age_ns: Some(u64::MAX), max_bytes: 1 << 20, ..folder.settings() });
    log.append(&lines(3..4)).unwrap();
    assert_eq!(folder.read("findings.jsonl"), lines(2..4).concat());
}

#[test]
fn rotated_files_are_compressed_also_those_that_a_crash_left() {
    for (compression, end) in [(FileCompression::Gzip, "gz"), (FileCompression::Zstd, "zst")] {
        if cfg!(not(feature = "zstd")) && compression == FileCompression::Zstd {
            continue;
        }
        let folder = Folder::new();
        // Left by a run that compressed nothing, and by one that died while it did.
        Log::new(folder.settings()).append(&lines(0..4)).unwrap();
        fs::write(folder.0.path().join("findings.jsonl.1.half"), "half").unwrap();
        let mut log = Log::new(Settings { compression, ..folder.settings() });
        log.open().unwrap();
        let packed = |number: usize| format!("findings.jsonl.{number}.{end}");
        assert_eq!(folder.names(), ["findings.jsonl".to_owned(), packed(1)]);
        log.append(&lines(4..6)).unwrap();
        assert_eq!(folder.names(), ["findings.jsonl".to_owned(), packed(1), packed(2)]);
        assert_eq!(folder.read(&packed(2)), lines(0..2).concat());
        assert_eq!(folder.read(&packed(1)), lines(2..4).concat());
        let mode = fs::metadata(folder.0.path().join(packed(1))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A crash between the packed file's name and the end of the plain one.
        fs::write(folder.0.path().join("findings.jsonl.1"), lines(2..4).concat()).unwrap();
        log.open().unwrap();
        assert_eq!(folder.names(), ["findings.jsonl".to_owned(), packed(1), packed(2)]);
        assert_eq!(folder.read(&packed(1)), lines(2..4).concat());
    }
}

#[test]
fn a_file_that_somebody_takes_away_is_made_anew() {
    let folder = Folder::new();
    let mut log = Log::new(Settings { max_bytes: 1 << 20, ..folder.settings() });
    log.append(&lines(0..1)).unwrap();
    fs::rename(folder.path(), folder.0.path().join("elsewhere")).unwrap();
    log.append(&lines(1..2)).unwrap();
    assert_eq!((folder.read("elsewhere"), folder.read("findings.jsonl")), (line(0), line(1)));
    fs::remove_file(folder.path()).unwrap();
    log.append(&lines(2..3)).unwrap();
    assert_eq!(folder.read("findings.jsonl"), line(2));
    // logrotate's copytruncate.
    fs::File::options().write(true).open(folder.path()).unwrap().set_len(0).unwrap();
    log.append(&lines(3..4)).unwrap();
    assert_eq!(folder.read("findings.jsonl"), line(3));
    // A folder that goes, and comes back.
    fs::rename(folder.0.path(), folder.0.path().with_extension("away")).unwrap();
    let said = log.append(&lines(4..5)).unwrap_err().to_string();
    assert!(said.contains("make its folder"), "{said}");
    fs::rename(folder.0.path().with_extension("away"), folder.0.path()).unwrap();
    log.append(&lines(4..5)).unwrap();
    assert_eq!(folder.read("findings.jsonl"), lines(3..5).concat());
}

#[test]
fn a_torn_last_line_is_mended() {
    let whole = line(1);
    let torn = |text: &str| {
        let folder = Folder::new();
        fs::write(folder.path(), text).unwrap();
        Log::new(Settings { max_bytes: 1 << 30, ..folder.settings() }).append(&lines(2..3)).unwrap();
        folder.read("findings.jsonl")
    };
    for end in [&whole[..10], "{", "\0\0\0"] {
        assert_eq!(torn(&format!("{whole}{end}")), lines(1..3).concat(), "{end:?}");
        assert_eq!(torn(end), line(2), "{end:?}");
    }
    // Longer than what is read at a time.
    assert_eq!(torn(&format!("{whole}{{\"n\":\"{}", "x".repeat(200_000))), lines(1..3).concat());
    // A whole line lacks only its end; what is not ours is left.
    assert_eq!(torn(whole.trim_end()), lines(1..3).concat());
    assert_eq!(torn("notes of mine"), format!("notes of mine\n{}", line(2)));
    assert_eq!(torn(""), line(2));
}

#[test]
fn only_a_file_of_ones_own_is_written_to() {
    let folder = Folder::new();
    let said = |path: &Path| {
        let mut log = Log::new(Settings { path: path.to_owned(), ..folder.settings() });
        log.append(&lines(0..1)).unwrap_err().to_string()
    };
    assert!(said(folder.0.path()).contains("is a folder"), "{}", said(folder.0.path()));
    assert!(said(&folder.0.path().join("no/file")).contains("make its folder"));
    assert!(said(Path::new("/dev/null")).contains("no regular file"));
    let (target, link) = (folder.0.path().join("target"), folder.0.path().join("link"));
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(said(&link).contains("symbolic link"), "{}", said(&link));
    let pipe = folder.0.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(said(&pipe).contains("no regular file"), "{}", said(&pipe));

    let mut first = Log::new(folder.settings());
    first.append(&lines(0..1)).unwrap();
    assert!(said(&folder.path()).contains("another process writes"));
    drop(first);
    Log::new(folder.settings()).append(&lines(1..2)).unwrap();
}

#[test]
fn no_room_is_no_loss() {
    // A device that is always full takes the place of a disk; that it is no file is looked over here alone.
    let mut full = fs::File::options().write(true).open("/dev/full").unwrap();
    let why = full.write_all(b"x").unwrap_err();
    let trouble = Trouble::new("write", Path::new("/var/log/f"), why);
    assert!(trouble.is_room() && trouble.to_string().ends_with("it goes on when there is room"), "{trouble}");

    // A limit on the size of files is met in the middle of a line, as the end of a disk is.
    let folder = Folder::new();
    let Some(small) = SmallDisk::new() else {
        eprintln!("skipped: cannot mount a tmpfs here");
        return;
    };
    let path = small.0.path().join("f.jsonl");
    let mut log = Log::new(Settings { path: path.clone(), max_bytes: 1 << 30, ..folder.settings() });
    let many = lines(0..1000);
    log.append(&many[..500]).unwrap();
    let ballast = small.0.path().join("ballast");
    while fs::File::options().append(true).create(true).open(&ballast).unwrap().write_all(&[7; 4096]).is_ok() {}
    let mut written = 500;
    let trouble = loop {
        match log.append(&many[written..written + 100]) {
            Ok(()) => written += 100,
            Err(trouble) => break trouble,
        }
    };
    assert!(trouble.is_room(), "{trouble}");
    // Nobody who reads it meanwhile sees half a line.
    assert_eq!(fs::read_to_string(&path).unwrap(), many[..written].concat());
    fs::remove_file(&ballast).unwrap();
    log.append(&many[written..]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), many.concat());
    assert!(fs::metadata(&path).unwrap().size() > 0);
}

/// A disk of 64 KiB.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("outflow-test", folder.path(), "tmpfs", flags, c"size=64k").ok()?;
        Some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::empty());
    }
}
