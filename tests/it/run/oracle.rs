//! What must be in the store. Enters: the lines that were written. Leaves: nothing when each was stored once, else what is wrong.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use outflow::{
    findings::{Finding, FingerprintKey},
    store::{Filter, Verdict},
};

use super::{log::Line, place::Place};

/// Every line is stored, once, under its number; nothing else is, no gap either; and the chain verifies, for the program too.
pub(super) fn check(place: &Place, written: &[Line]) {
    let findings = place.reader().findings(&Filter::default()).unwrap();
    let mut missed = expected(place.state(), written);
    let mut wrong = Vec::new();
    for finding in &findings {
        let line = finding.fingerprint.as_ref().and_then(|print| missed.remove(&print.value));
        let number = finding.location.as_ref().and_then(|location| location.line);
        match line {
            Some(line) if finding.count == 1 && number == Some(line.number) => {}
            line => wrong.push(format!("{line:?}: {}", told(finding))),
        }
    }
    let (found, all) = (findings.len(), written.len());
    assert!(
        missed.is_empty() && wrong.is_empty(),
        "{found} findings of {all} lines\nmissed: {:#?}\nnot once, not there, or no line of ours: {wrong:#?}",
        missed.values().collect::<Vec<_>>()
    );
    verify(place);
}

/// All that is in the store is a line that was written, and none is there twice.
pub(super) fn check_so_far(place: &Place, written: &[Line]) -> usize {
    let mut open = expected(place.state(), written);
    let findings = place.reader().findings(&Filter::default()).unwrap();
    for finding in &findings {
        let line = finding.fingerprint.as_ref().and_then(|print| open.remove(&print.value));
        assert!(line.is_some() && finding.count == 1, "{line:?}: {}", told(finding));
    }
    verify(place);
    findings.len()
}

/// The chain verifies.
pub(super) fn verify(place: &Place) {
    let Verdict::Whole(whole) = place.reader().verify().unwrap() else { panic!("{:?}", place.reader().verify()) };
    assert!(whole.revisions >= place.stored(), "{whole:?}");
    let said = outflow(place, &["verify", "--format", "jsonl"]);
    assert!(said.contains("\"verdict\":\"whole\""), "{said}");
}

/// Runs a command of the program on the store; it must succeed.
pub(super) fn outflow(place: &Place, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outflow"));
    let output = command.args(arguments).arg("--store").arg(place.store()).output().unwrap();
    assert!(output.status.success(), "{} {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Lines by the fingerprint of what they hold.
fn expected<'a>(state: &Path, written: &'a [Line]) -> BTreeMap<String, &'a Line> {
    let key = fs::read_to_string(state.join("fingerprint.key")).unwrap();
    let key = FingerprintKey::parse(&key).unwrap();
    written.iter().map(|line| (key.fingerprint("EMAIL_ADDRESS", line.secret.as_bytes()).value, line)).collect()
}

fn told(finding: &Finding) -> String {
    format!("count {} of {} {:?}, {:?}", finding.count, finding.rule.id, finding.location, finding.attributes)
}
