//! Finds functions by how they look, where symbols are gone. Enters: a file, the signatures of `rules/tls`. Leaves: one address a
//! function. Never guesses: each function must be at exactly one place, and the calls that signatures name must agree.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use regex_automata::{MatchKind, Span, util::prefilter::Prefilter};

use super::{super::placement::Function, Binary};
use crate::rules::{
    RuleError, RuleSource, TlsRules,
    tls::{DISPLACEMENT_BYTES, Signature},
};

/// Places that are told about when there are too many.
const PLACES_MAX: usize = 4;
/// Bytes of a function whose end is not known that may be looked at: no more than its first pushes. Where it returns is then
/// not asked of its code.
const PROLOGUE_BYTES: usize = 16;

/// The signatures that the program was built with. Whoever attaches has rights: it takes no others from anybody.
static BUILT_IN: LazyLock<Result<TlsRules, RuleError>> = LazyLock::new(|| TlsRules::load(&RuleSource::Embedded));

/// A function that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located<'a> {
    /// Which was asked for.
    pub name: &'a str,
    /// Its place, and its code: all of it where the signature covers it, else its beginning.
    pub function: Function<'a>,
    /// By which signature.
    pub signature: &'a str,
}

/// Finds functions of a stack with the built-in signatures; in the order asked for, or why not, for people.
pub(super) fn locate<'a>(
    binary: &Binary<'a>,
    stack: &'a str,
    functions: &[&'a str],
) -> Result<Vec<Located<'a>>, String> {
    let rules = BUILT_IN.as_ref().map_err(ToString::to_string)?;
    let segments: Vec<_> = binary.executable_segments().collect();
    locate_in(&segments, rules, stack, functions)
}

fn locate_in<'a>(
    segments: &[(u64, &'a [u8])],
    rules: &'a TlsRules,
    stack: &'a str,
    functions: &[&'a str],
) -> Result<Vec<Located<'a>>, String> {
    let wanted: Vec<&Signature> = functions.iter().flat_map(|function| rules.of(stack, function)).collect();
    let mut places = places(segments, &wanted)?;
    let mut callees = HashMap::new();
    let mut located = Vec::new();
    for &name in functions {
        let found = only_place(name, rules.of(stack, name).count(), places.remove(name).unwrap_or_default())?;
        agree(segments, found, &mut callees)?;
        let Place { address, code, signature } = found;
        let known = if signature.whole { signature.pattern.len() } else { PROLOGUE_BYTES.min(signature.pattern.len()) };
        let code = code.get(..known).unwrap_or(code);
        located.push(Located { name, function: Function { address, code }, signature: &signature.id });
    }
    Ok(located)
}

#[derive(Clone, Copy)]
struct Place<'a> {
    address: u64,
    code: &'a [u8],
    signature: &'a Signature,
}

/// Places by their address.
type Places<'a> = BTreeMap<u64, Place<'a>>;

fn only_place<'a>(function: &str, tried: usize, mut places: Places<'a>) -> Result<Place<'a>, String> {
    let count = places.len();
    match places.pop_first() {
        None => Err(format!("none of the {tried} signatures of {function} in rules/tls fits this build")),
        Some((_, place)) if count == 1 => Ok(place),
        Some((_, place)) => {
            let many = if count >= PLACES_MAX { " or more" } else { "" };
            let id = &place.signature.id;
            Err(format!("signatures of {function} (such as {id}) fit at {count}{many} places, not one"))
        }
    }
}

/// Every place that a signature fits, by function. The longest row of bytes of each signature is searched for, of all at once: a program
/// may have 100 MB of code, and whoever runs it does not wait. Where a row is, the rest is compared.
fn places<'a>(segments: &[(u64, &'a [u8])], wanted: &[&'a Signature]) -> Result<HashMap<&'a str, Places<'a>>, String> {
    let runs: Vec<(usize, Vec<u8>)> = wanted.iter().map(|signature| signature.pattern.run()).collect();
    let rows: Vec<&[u8]> = runs.iter().map(|(_, row)| row.as_slice()).collect();
    let Some(search) = Prefilter::new(MatchKind::LeftmostFirst, &rows) else {
        return Err("rules/tls has no signature of it".to_owned());
    };
    let mut found: HashMap<&str, Places<'_>> = HashMap::new();
    for (base, bytes) in segments {
        let mut from = 0;
        while let Some(row) = search.find(bytes, Span::from(from..bytes.len())) {
            from = row.start + 1;
            for (signature, (before, _)) in wanted.iter().zip(&runs) {
                let place = row.start.checked_sub(*before).and_then(|start| place_at(*base, bytes, start, signature));
                let places = found.entry(&signature.function).or_default();
                if let Some(place) = place.filter(|_| places.len() < PLACES_MAX) {
                    places.insert(place.address, place);
                }
            }
        }
    }
    Ok(found)
}

fn place_at<'a>(base: u64, bytes: &'a [u8], start: usize, signature: &'a Signature) -> Option<Place<'a>> {
    let code = bytes.get(start..)?.get(..signature.pattern.len())?;
    let address = base.checked_add(start as u64)?;
    signature.pattern.matches(code).then_some(Place { address, code, signature })
}

/// Where the named calls of a place go must be where those of the same name went before, and that must be code.
fn agree<'a>(segments: &[(u64, &[u8])], place: Place<'a>, callees: &mut HashMap<&'a str, u64>) -> Result<(), String> {
    for (at, name) in place.signature.pattern.calls() {
        let id = &place.signature.id;
        let target = target_of(place, *at).filter(|target| {
            segments
                .iter()
                .any(|(base, bytes)| target.checked_sub(*base).is_some_and(|inside| inside < bytes.len() as u64))
        });
        let target =
            target.ok_or_else(|| format!("signature {id} fits, but its call of {name} leads out of the code"))?;
        if *callees.entry(name).or_insert(target) != target {
            return Err(format!("signature {id} fits, but calls another {name} than the signatures before it"));
        }
    }
    Ok(())
}

/// What the displacement at a position leads to: it counts from the end of the instruction, which is its own end.
fn target_of(place: Place<'_>, at: usize) -> Option<u64> {
    let displacement = place.code.get(at..at + DISPLACEMENT_BYTES)?.try_into().ok()?;
    let after = place.address.checked_add((at + DISPLACEMENT_BYTES) as u64)?;
    after.checked_add_signed(i64::from(i32::from_le_bytes(displacement)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two functions of 40 bytes that call the same third; one has two shapes.
    fn rules() -> TlsRules {
        let rest: Vec<_> = (0x10..0x2f).map(|byte| format!("{byte:02x}")).collect();
        let body = |first: &str| format!("{first} {}", rest.join(" "));
        let entry = |id: &str, function: &str, whole: bool, first: &str| {
            format!(
                "[[signature]]\nid = \"{id}\"\nfunction = \"{function}\"\nwhole = {whole}\nseen_in = [\"x\"]\nreferences = []\npattern = \"\"\"{} e8 {{raise}} ?? c3\"\"\"\n",
                body(first)
            )
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tls")).unwrap();
        let text = entry("s.read-1", "read", true, "51")
            + &entry("s.read-2", "read", false, "52")
            + &entry("s.write", "write", false, "53");
        std::fs::write(folder.path().join("tls/x.toml"), text).unwrap();
        TlsRules::load(&RuleSource::Folder(folder.path().to_owned())).unwrap()
    }

    const BASE: u64 = 0x40_0000;

    /// Code with functions at some places, each calling what is at `callee`.
    fn code(functions: &[(usize, u8)], callee: u64) -> Vec<u8> {
        let mut code = vec![0xcc; 0x1000];
        for (at, first) in functions {
            let after = BASE + *at as u64 + 37;
            let function: Vec<u8> = [*first]
                .into_iter()
                .chain(0x10..0x2f)
                .chain([0xe8])
                .chain((callee.wrapping_sub(after) as i32).to_le_bytes())
                .chain([*at as u8, 0xc3])
                .collect();
            code[*at..*at + function.len()].copy_from_slice(&function);
        }
        code
    }

    fn found(code: &[u8], functions: &[&'static str]) -> Result<Vec<(u64, usize, String)>, String> {
        let rules = rules();
        let located = locate_in(&[(BASE, code), (BASE << 4, &[])], &rules, "s", functions)?;
        Ok(located.iter().map(|at| (at.function.address, at.function.code.len(), at.signature.to_owned())).collect())
    }

    #[test]
    fn each_function_is_found_where_it_is_whichever_its_shape() {
        let both = code(&[(0x100, 0x51), (0x300, 0x53)], BASE + 0xf00);
        assert_eq!(
            found(&both, &["write", "read"]).unwrap(),
            [(BASE + 0x300, 16, "s.write".to_owned()), (BASE + 0x100, 39, "s.read-1".to_owned())]
        );
        // At both ends of the code, and in the other shape.
        let ends = code(&[(0, 0x53), (0x1000 - 39, 0x52)], BASE);
        assert_eq!(
            found(&ends, &["read", "write"]).unwrap(),
            [(BASE + 0x1000 - 39, 16, "s.read-2".to_owned()), (BASE, 16, "s.write".to_owned())]
        );
    }

    #[test]
    fn anything_but_one_place_is_refused_and_said() {
        let callee = BASE + 0xf00;
        let cut = code(&[(0x100, 0x51)], callee);
        for (code, function, part) in [
            (code(&[(0x100, 0x51)], callee), "write", "none of the 1 signatures of write in rules/tls fits"),
            (code(&[(0x100, 0x53), (0x200, 0x53)], callee), "write", "(such as s.write) fit at 2 places"),
            (code(&[(0x100, 0x51), (0x200, 0x52)], callee), "read", "(such as s.read-1) fit at 2 places"),
            (
                code(&[(0, 0x53), (80, 0x53), (160, 0x53), (240, 0x53), (320, 0x53)], callee),
                "write",
                "fit at 4 or more",
            ),
            (cut[..0x100 + 38].to_vec(), "read", "none of the 2 signatures"),
            (code(&[(0x100, 0x51)], BASE + 0x1000), "read", "its call of raise leads out of the code"),
            (code(&[(0x100, 0x51)], BASE - 1), "read", "leads out of the code"),
            (Vec::new(), "nothing", "no signature of it"),
        ] {
            let why = found(&code, &[function]).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn signatures_that_call_different_things_by_one_name_are_not_believed() {
        let mut two = code(&[(0x100, 0x51)], BASE + 0xf00);
        let other = code(&[(0x300, 0x53)], BASE + 0xe00);
        two[0x300..0x400].copy_from_slice(&other[0x300..0x400]);
        assert!(found(&two, &["read"]).is_ok() && found(&two, &["write"]).is_ok());
        let why = found(&two, &["read", "write"]).unwrap_err();
        assert_eq!(why, "signature s.write fits, but calls another raise than the signatures before it");
    }
}
