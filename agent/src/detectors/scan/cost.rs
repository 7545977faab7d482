//! What rules cost. Enters: a rule set, and text to try it on. Leaves: for each rule how much of the text it makes stage 2 look at, and
//! how long scanning takes with it and without it. It reads no clock: the caller lends one.
//!
//! No pattern can make stage 1 slow, because stage 1 looks for a short piece of it with a literal (`factor.rs`), and none can run away in
//! stage 2, because `regex` takes linear time. What a bad rule can do is to send stage 2 to every line, and that can be counted.

use std::{fmt::Write as _, sync::Arc};

use super::{Backend, Lines, RuleSet, ScanError, Scanner};
use crate::rules::{RuleError, scan::Key};

/// A rule that makes stage 2 look at more than this part of ordinary text is refused. Of the shipped rules none comes near.
pub const MAX_BUSY: f64 = 0.5;
/// So much text tells.
const BUSY_BYTES: usize = 64 * 1024;
/// Of the rounds of one measurement the fastest counts.
const ROUNDS: usize = 3;

/// How long scanning a text takes with a rule and without it.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Index of the rule.
    pub rule: usize,
    /// With all rules.
    pub with_ns: u64,
    /// Without this one.
    pub without_ns: u64,
}

impl Cost {
    /// The part of the time that goes when the rule goes; below zero when the measurement is noise.
    pub fn share(&self) -> f64 {
        1.0 - self.without_ns as f64 / (self.with_ns.max(1)) as f64
    }
}

/// Leaves out each of the rules `which` in turn. `time` runs what it is given and says how many nanoseconds of CPU that took. Each rule is
/// another database to build, some tenths of a second for a few hundred rules, and the C++ backend keeps it: for a command that ends.
pub fn leave_one_out(
    rules: &Arc<RuleSet>,
    which: &[usize],
    backend: Backend,
    text: &[u8],
    time: &mut dyn FnMut(&mut dyn FnMut()) -> u64,
) -> Result<Vec<Cost>, ScanError> {
    let mut all = Scanner::untested(Arc::clone(rules), backend)?;
    let mut costs = Vec::new();
    for rule in which {
        let mut others = Scanner::untested(rules.without(|index| index == *rule), backend)?;
        let mut cost = Cost { rule: *rule, with_ns: u64::MAX, without_ns: u64::MAX };
        // In turns, so that a machine that gets slower does so for both.
        for _ in 0..ROUNDS {
            cost.with_ns = cost.with_ns.min(once(&mut all, text, time)?);
            cost.without_ns = cost.without_ns.min(once(&mut others, text, time)?);
        }
        costs.push(cost);
    }
    Ok(costs)
}

fn once(scanner: &mut Scanner, text: &[u8], time: &mut dyn FnMut(&mut dyn FnMut()) -> u64) -> Result<u64, ScanError> {
    let mut result = Ok(());
    let took_ns = time(&mut || result = scanner.scan(text, &Lines(text)).map(|_| ()));
    result.map(|()| took_ns)
}

/// By rule: the part of a text that it makes stage 2 look at, 0 to 1. Takes no time into account, so it is the same everywhere.
pub fn busy(rules: &Arc<RuleSet>, text: &[u8]) -> Result<Vec<f64>, ScanError> {
    let mut scanner = Scanner::untested(Arc::clone(rules), Backend::Pure)?;
    let looked_at = scanner.looked_at(text, &Lines(text))?;
    Ok(looked_at.into_iter().map(|bytes| bytes as f64 / (text.len().max(1)) as f64).collect())
}

/// What is to be said to whoever wrote a rule that is too busy on ordinary text. `None`: it is not.
pub fn complaint(busy: f64) -> Option<String> {
    (busy > MAX_BUSY).then(|| {
        format!(
            "makes the scanner look twice at {:.0} % of ordinary text, at most {:.0} % are allowed: begin the pattern with a \
             literal that is rarer, or name one in `keywords`",
            busy * 100.0,
            MAX_BUSY * 100.0
        )
    })
}

/// The first of some rules that is too busy on ordinary text, as an error at its pattern. Takes milliseconds for a few rules.
pub fn too_busy(rules: &Arc<RuleSet>) -> Result<Option<RuleError>, ScanError> {
    let busy = busy(rules, ordinary_text(BUSY_BYTES).as_bytes())?;
    let errors = rules.loaded().zip(busy).map(|(loaded, busy)| Some(loaded.invalid(Key::Pattern, complaint(busy)?)));
    Ok(errors.flatten().next())
}

/// Ordinary text to try rules on, about so many bytes: log lines, JSON, prose, headers, paths, numbers; no secret.
pub fn ordinary_text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 1024);
    let mut number = 7_u64;
    while text.len() < bytes {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [a, b, c] = [number >> 40, number >> 20 & 0xffff, number >> 50];
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "2026-11-23T10:{:02}:{:02}.{:03}Z INFO checkout trace_id={number:016x} duration_ms={c} status=200 \
             msg=\"the user asked for the token of the order, and the key of the page was reset\"\n\
             {{\"id\":\"chatcmpl-{number:x}\",\"created\":17953{b:05},\"model\":\"gpt-fake\",\"usage\":{{\"total_tokens\":{a}}},\
             \"content\":\"Thank you for your question about the password policy and the API of the service.\"}}\n\
             10.0.{}.{} - - [23/Nov/2026:10:12:13 +0000] \"GET /api/v2/items/{a}?page={c} HTTP/1.1\" 200 {b} \
             \"https://shop.fake.invalid/cart\" \"Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0.0.0 Safari/537.36\"\n\
             \x20   at com.acme.orders.CartService.handle(CartService.java:{c}) ~[orders-2.{}.jar:?]",
            a % 60,
            b % 60,
            c % 1000,
            a % 256,
            b % 256,
            c % 10,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{RuleFile, RuleSource, scan::parse};

    fn with(pattern: &str) -> Arc<RuleSet> {
        let text = format!(
            "[[rule]]\nid = \"secret.x\"\nentity = \"X\"\ntitle = \"X\"\nseverity = \"low\"\nconfidence = 1\nremedy = \"x\"\n\
             references = [\"x\"]\nexamples = [\"a\", \"b\", \"c\"]\ncounter_examples = [\"a\", \"b\", \"c\"]\n\
             pattern = '{pattern}'\n"
        );
        RuleSet::compile(parse(&RuleFile { path: "secrets/x.toml".into(), text }).unwrap()).unwrap()
    }

    #[test]
    fn a_rule_that_looks_at_every_line_is_complained_of() {
        let text = ordinary_text(32 * 1024);
        let busy_of = |pattern: &str| busy(&with(pattern), text.as_bytes()).unwrap()[0];
        let bad = busy_of(r"(?:the|and)[^\n]{1,200}");
        assert!(complaint(bad).is_some_and(|said| said.contains("keywords")), "{bad}");
        let refused = too_busy(&with(r"(?:the|and)[^\n]{1,200}")).unwrap().unwrap().to_string();
        assert!(refused.starts_with("secrets/x.toml:11: pattern: rule secret.x: makes the scanner"), "{refused}");
        assert!(too_busy(&with(r"fake_[0-9a-z]{20}")).unwrap().is_none());
        let good = busy_of(r"fake_[0-9a-z]{20}");
        assert!(complaint(good).is_none() && good.abs() < 1e-9, "{good}");
    }

    #[test]
    fn no_shipped_rule_is_busy() {
        let rules = RuleSet::load(&RuleSource::Embedded).unwrap();
        let busy = busy(&rules, ordinary_text(64 * 1024).as_bytes()).unwrap();
        for (rule, busy) in rules.loaded().zip(busy) {
            assert!(complaint(busy).is_none(), "{} {busy}", rule.rule.id);
        }
    }

    #[test]
    fn the_time_without_a_rule_is_taken_in_turns() {
        let rules = RuleSet::load(&RuleSource::Embedded).unwrap();
        let mut calls = 0;
        let costs = leave_one_out(&rules, &[0, 3], Backend::Pure, b"nothing here", &mut |work| {
            work();
            calls += 1;
            if calls % 2 == 1 { 100 } else { 75 }
        })
        .unwrap();
        assert_eq!(costs.iter().map(|cost| cost.rule).collect::<Vec<_>>(), [0, 3]);
        assert!(costs.iter().all(|cost| (cost.share() - 0.25).abs() < 1e-9));
    }
}
