//! What is known of the replies at one place. Enters: one form after another. Leaves: [`Break`]s with the structure of those before,
//! once they are so many that it is no chance. State: at most [`MAX_PATHS`] paths, with names of at most [`MAX_NAMES_BYTES`] in all;
//! what has no room is not compared. No values.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smallvec::SmallVec;

use crate::{
    detectors::{
        json_shape::{Node, Shape, Types},
        jump::{Count, Jump, Limits, Rate, Verdict},
    },
    exchange::Form,
    units::Timestamp,
};

/// Paths that are compared.
pub(super) const MAX_PATHS: usize = 34;
/// Bytes of all their names, and of one.
pub(super) const MAX_NAMES_BYTES: usize = 512;
pub(super) const MAX_NAME_BYTES: usize = 64;
/// New paths that a break names.
const MAX_NEW: usize = 4;
/// The form that at least so many percent of the baseline had is the form.
const FORM_PERCENT: u32 = 90;
/// A member is required when it was missing in at most so many percent of the baseline.
const OPTIONAL_PERCENT: u32 = 2;

/// What counts as a jump (anchors-llm §7.4: a baseline of 50). Five, because a program sends a reply that it cannot read again
/// two or three times.
pub(super) const LIMITS: Limits = Limits { baseline: 50, block: 32, events: 5, percent: 10, prior: 50 };

/// Forms, as they are counted.
const OBJECT: usize = 0;
const ARRAY: usize = 1;
const FENCED: usize = 2;
const PROSE: usize = 3;
const BROKEN: usize = 4;
pub(super) const FORMS: [&str; 5] =
    ["a JSON object", "a JSON array", "JSON in a Markdown fence", "words", "broken JSON"];

/// One place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Site {
    /// Digest of the schema that the request gave; zero: none.
    #[serde(rename = "d")]
    pub(super) schema: u64,
    #[serde(rename = "n")]
    pub(super) replies: u32,
    /// How many of the baseline had each of [`FORMS`].
    #[serde(rename = "f")]
    pub(super) forms: [u16; FORMS.len()],
    /// How many had not the usual form.
    #[serde(rename = "r")]
    pub(super) form: Rate,
    #[serde(rename = "p")]
    pub(super) paths: Vec<Path>,
    /// When the first of the present breaks came; zero: there is none.
    #[serde(rename = "s")]
    pub(super) since_ns: u64,
}

/// One path of the baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Record", into = "Record")]
pub(super) struct Path {
    pub(super) hash: u32,
    /// Empty when there was no room for it.
    pub(super) name: Box<str>,
    /// The path that it is below, by its place in the list; the root is below itself.
    pub(super) parent: u8,
    pub(super) types: u8,
    /// It can be missing: a member, no element.
    pub(super) is_member: bool,
    pub(super) is_required: bool,
    /// In how many replies of the baseline it was an object.
    pub(super) objects: u16,
    pub(super) rate: Rate,
}

/// A path as it is kept: without names of fields there are half as many bytes.
type Record = (u32, Box<str>, u8, u8, bool, bool, u16, Rate);

impl From<Record> for Path {
    fn from((hash, name, parent, types, is_member, is_required, objects, rate): Record) -> Self {
        Self { hash, name, parent, types, is_member, is_required, objects, rate }
    }
}

impl From<Path> for Record {
    fn from(path: Path) -> Self {
        let Path { hash, name, parent, types, is_member, is_required, objects, rate } = path;
        (hash, name, parent, types, is_member, is_required, objects, rate)
    }
}

/// A break with the structure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Break {
    kind: Kind,
    jump: Jump,
    /// When the first of the present breaks came.
    pub(super) since: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// From one of [`FORMS`] to another.
    Form(&'static str, &'static str),
    /// A required member is missing; the new ones may have taken its place.
    Missing { path: String, new: Vec<String> },
    /// It has a type that it never had.
    Type { path: String, before: Types, now: Types },
}

impl Break {
    /// `$.price is missing in 5 of 6 (0 of 50 before)`
    pub(super) fn words(&self) -> String {
        let Jump { before, now } = self.jump;
        // Of a jump that was told in a block before, the present block may have none yet.
        let rate = if now.of == 0 {
            String::new()
        } else {
            format!(" in {} of the last {} (before: {} of {})", now.events, now.of, before.events, before.of)
        };
        match &self.kind {
            Kind::Form(before, now) => format!("{now} instead of {before}{rate}"),
            Kind::Missing { path, .. } => format!("`{path}` is missing{rate}"),
            Kind::Type { path, before, now } => {
                format!("`{path}` is {} instead of {}{rate}", now.words(), before.words())
            }
        }
    }

    /// The same as data.
    pub(super) fn fact(&self) -> Value {
        let Jump { before, now } = self.jump;
        let mut fact = match &self.kind {
            Kind::Form(before, now) => json!({"kind": "form", "from": before, "to": now}),
            Kind::Missing { path, new } => json!({"kind": "missing", "path": path, "new_paths": new}),
            Kind::Type { path, before, now } => {
                json!({"kind": "type", "path": path, "from": before.words(), "to": now.words()})
            }
        };
        if let Some(map) = fact.as_object_mut() {
            map.insert("baseline".to_owned(), json!([before.events, before.of]));
            map.insert("recent".to_owned(), json!([now.events, now.of]));
        }
        fact
    }
}

fn form_of(form: &Form) -> usize {
    match form {
        Form::Json(Value::Array(_)) => ARRAY,
        Form::Json(_) => OBJECT,
        Form::Fenced(_) => FENCED,
        Form::Prose | Form::Unread => PROSE,
        Form::Broken => BROKEN,
    }
}

impl Site {
    /// Nothing seen yet.
    pub(super) fn new(schema: u64) -> Self {
        Self { schema, ..Self::default() }
    }

    /// Digest of the schema that the request gave.
    pub(super) fn schema(&self) -> u64 {
        self.schema
    }

    pub(super) fn replies(&self) -> u32 {
        self.replies
    }

    /// Takes one more.
    pub(super) fn see(&mut self, form: &Form, at: Timestamp) -> Vec<Break> {
        let is_learning = self.replies < u32::from(LIMITS.baseline);
        self.replies = self.replies.saturating_add(1);
        let mut found = Found { at, ..Found::default() };
        let now = form_of(form);
        if is_learning {
            if let Some(count) = self.forms.get_mut(now) {
                *count += 1;
            }
            if self.replies == u32::from(LIMITS.baseline) {
                self.form_is_learned();
            }
        } else {
            self.check_form(now, &mut found);
        }
        // A list in the place of an object has other paths: one break is enough.
        if found.is_calm()
            && let Some(value) = form.json()
        {
            self.check_paths(&Shape::of(value), is_learning, &mut found);
        }
        if found.is_settled {
            *self = Self::new(self.schema);
        } else if found.has_event && self.since_ns == 0 {
            self.since_ns = at.0;
        } else if !found.has_event && self.form.is_calm() && self.paths.iter().all(|path| path.rate.is_calm()) {
            self.since_ns = 0;
        }
        let since = Timestamp(if found.since_ns == 0 { at.0 } else { found.since_ns });
        found.breaks.into_iter().map(|(kind, jump)| Break { kind, jump, since }).collect()
    }

    fn usual_form(&self) -> Option<(usize, u16)> {
        self.forms.iter().copied().enumerate().max_by_key(|(form, count)| (*count, std::cmp::Reverse(*form)))
    }

    fn form_is_learned(&mut self) {
        let Some((_, count)) = self.usual_form() else { return };
        let of = self.forms.iter().sum::<u16>();
        self.form = Rate::learned(Count { events: of.saturating_sub(count), of });
    }

    fn check_form(&mut self, now: usize, found: &mut Found) {
        let Some((usual, count)) = self.usual_form() else { return };
        let of = self.forms.iter().sum::<u16>();
        if !matches!(usual, OBJECT | ARRAY | FENCED) || !(Count { events: count, of }).is_at_least(FORM_PERCENT) {
            return;
        }
        // Without its fence JSON is easier to read.
        let is_event = now != usual && !(usual == FENCED && matches!(now, OBJECT | ARRAY));
        let name = |form: usize| FORMS.get(form).copied().unwrap_or_default();
        let verdict = self.form.see(is_event, &LIMITS);
        found.take(verdict, is_event, self.since_ns, || Kind::Form(name(usual), name(now)));
        found.has_other_form = is_event && now != FENCED;
    }

    fn check_paths(&mut self, shape: &Shape<'_>, is_learning: bool, found: &mut Found) {
        if is_learning {
            self.learn(shape);
        }
        let parents: SmallVec<[u32; MAX_PATHS]> =
            self.paths.iter().map(|path| shape.find(path.hash).map_or(0, |node| node.objects)).collect();
        let since_ns = self.since_ns;
        let mut new: Option<Vec<String>> = None;
        let known: SmallVec<[u32; MAX_PATHS]> = self.paths.iter().map(|path| path.hash).collect();
        for (place, path) in self.paths.iter_mut().enumerate() {
            let node = shape.find(path.hash);
            let holders = parents.get(usize::from(path.parent)).copied().unwrap_or(0);
            let is_root = place == 0;
            let seen = node.map_or(0, |node| node.seen);
            if !is_root && (if path.is_member { holders == 0 } else { seen == 0 }) {
                continue;
            }
            let missing = path.is_member && seen < holders && !shape.is_full();
            let types = node.map_or(Types(0), |node| node.types);
            if path.rate.is_learning(&LIMITS) {
                path.types = types.and(Types(path.types)).0;
                path.rate.see(missing, &LIMITS);
                if !path.rate.is_learning(&LIMITS) {
                    let base = path.rate.base();
                    path.is_required =
                        path.is_member && u32::from(base.events) * 100 <= OPTIONAL_PERCENT * u32::from(base.of);
                    if !path.is_required {
                        path.rate = Rate::learned(Count { events: 0, of: base.of });
                    }
                }
                continue;
            }
            let is_missing = path.is_required && missing;
            let other = types.without(Types(path.types));
            let is_event = is_missing || other != Types(0);
            let verdict = path.rate.see(is_event, &LIMITS);
            found.take(verdict, is_event, since_ns, || {
                let name =
                    if path.name.is_empty() { "a member without a short name".into() } else { path.name.to_string() };
                if is_missing {
                    let new = new.get_or_insert_with(|| new_paths(shape, &known)).clone();
                    Kind::Missing { path: name, new }
                } else {
                    Kind::Type { path: name, before: Types(path.types), now: other }
                }
            });
        }
    }

    /// Adds paths that were not there before.
    fn learn(&mut self, shape: &Shape<'_>) {
        if self.paths.is_empty() {
            self.paths.reserve_exact(MAX_PATHS);
        }
        let mut room = MAX_NAMES_BYTES.saturating_sub(self.paths.iter().map(|path| path.name.len()).sum());
        for (at, node) in shape.nodes().iter().enumerate() {
            if self.paths.len() >= MAX_PATHS {
                break;
            }
            if self.paths.iter().any(|path| path.hash == node.hash) {
                continue;
            }
            let above = shape.nodes().get(node.parent).map_or(node.hash, |parent| parent.hash);
            let Some(parent) = (if at == 0 { Some(0) } else { self.paths.iter().position(|path| path.hash == above) })
            else {
                continue; // there was no room for what it is below
            };
            let name = Some(shape.name(node)).filter(|name| name.len() <= MAX_NAME_BYTES.min(room)).unwrap_or_default();
            room -= name.len();
            // Where its object was before, it was missing.
            let before = self.paths.get(parent).filter(|_| at > 0).map_or(0, |parent| parent.objects);
            self.paths.push(Path {
                hash: node.hash,
                name: name.into(),
                parent: u8::try_from(parent).unwrap_or(0),
                types: 0,
                is_member: node.is_member(),
                is_required: false,
                objects: 0,
                rate: Rate::learned(Count { events: before, of: before }),
            });
        }
        for path in &mut self.paths {
            let is_object = shape.find(path.hash).is_some_and(|node| node.objects > 0);
            path.objects = path.objects.saturating_add(u16::from(is_object));
        }
    }
}

/// Members that the baseline does not have.
fn new_paths(shape: &Shape<'_>, known: &[u32]) -> Vec<String> {
    let is_new = |node: &&Node<'_>| node.is_member() && !known.contains(&node.hash);
    let names = shape.nodes().iter().filter(is_new).map(|node| shape.name(node));
    names.filter(|name| name.len() <= MAX_NAME_BYTES).take(MAX_NEW).collect()
}

/// What one reply turned out to be.
#[derive(Default)]
struct Found {
    at: Timestamp,
    breaks: Vec<(Kind, Jump)>,
    since_ns: u64,
    has_event: bool,
    is_settled: bool,
    has_other_form: bool,
}

impl Found {
    fn is_calm(&self) -> bool {
        !self.has_other_form && !self.is_settled
    }

    fn take(&mut self, verdict: Verdict, is_event: bool, since_ns: u64, kind: impl FnOnce() -> Kind) {
        self.has_event |= is_event;
        match verdict {
            Verdict::Jumped(jump) => {
                self.since_ns = if since_ns == 0 { self.at.0 } else { since_ns };
                self.breaks.push((kind(), jump));
            }
            Verdict::Settled(jump) => {
                self.is_settled = true;
                if is_event {
                    self.breaks.push((kind(), jump));
                }
            }
            Verdict::Usual => {}
        }
    }
}
