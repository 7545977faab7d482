//! What a finding says about where a leak stands. Enters: a [`Place`] and the secret itself. Leaves: words and a [`Location`] in
//! which the secret is masked too: a JSON key or a file's name may be one.

use std::{borrow::Cow, ops::Range};

use super::{
    finding::{HalfName, Location},
    host, json_place, mask, shown,
};
use crate::{
    detectors::{Place, Side},
    sources::journal,
};

/// The place of one leak.
pub(super) struct Placed {
    /// Goes on after what leaked: `sent to api.openai.com`, `in app.log`.
    pub(super) way: String,
    pub(super) location: Location,
}

/// What of the place is the same for all repeats; goes into the finding's id.
pub(super) fn call_site<'a>(place: Place<'a>, secret: &[u8]) -> Cow<'a, str> {
    match place {
        Place::Exchange { side, path, .. } => {
            format!("{} {}", way_of(side).1, without_indices(&mask::without_secret(path, secret))).into()
        }
        Place::Log { block, .. } => block.file.path.as_str().into(),
    }
}

fn way_of(side: Side) -> (HalfName, &'static str) {
    match side {
        Side::Request => (HalfName::Request, "sent to"),
        Side::Response => (HalfName::Response, "came back from"),
    }
}

/// `span` is the secret's in the haystack.
pub(super) fn placed(place: Place<'_>, haystack: &[u8], span: &Range<usize>) -> Placed {
    let secret = haystack.get(span.clone()).unwrap_or_default();
    let (start, end) = (span.start as u64, span.end.max(span.start) as u64);
    match place {
        Place::Exchange { exchange, side, path } => {
            let (side, way) = way_of(side);
            let path = Some(mask::without_secret(&shown::json_path(path), secret));
            let location = Location { side: Some(side), path, file: None, line: None, byte_offset: None, start, end };
            Placed { way: format!("{way} {}", host(&exchange.host)), location }
        }
        Place::Log { block, line, column, offset, .. } => {
            // Whoever runs the host named the file; that it shares a word with a secret gives nothing away.
            let text = String::from_utf8_lossy(secret);
            let path = if text.is_empty() { block.file.path.clone() } else { block.file.path.replace(&*text, "…") };
            let name = path.rsplit('/').next().unwrap_or_default();
            let way = format!("in {}", mask::bounded(name, MAX_NAME_CHARS));
            let json_path = json_place::path_at(haystack, span.start);
            let is_journal = block.file.path == journal::NAME;
            let location = Location {
                side: None,
                path: json_path.map(|path| mask::without_secret(&shown::json_path(&path), secret)),
                file: Some(mask::bounded(&path, MAX_PATH_CHARS)),
                // What journalctl writes is no file: an entry is found by its cursor.
                line: (!is_journal).then_some(line),
                byte_offset: (!is_journal).then_some(offset),
                start: column,
                end: column + (end - start),
            };
            Placed { way, location }
        }
    }
}

/// Longest file name in a title, characters.
const MAX_NAME_CHARS: usize = 64;
/// Longest path, characters: PATH_MAX of linux/limits.h.
const MAX_PATH_CHARS: usize = 4096;

/// `$.messages[12].content` is the same place as `$.messages[14].content`: a conversation moves its history along.
fn without_indices(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for (position, part) in path.split('[').enumerate() {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let index = position > 0 && digits > 0 && part.as_bytes().get(digits) == Some(&b']');
        if position > 0 {
            out.push('[');
        }
        out.push_str(if index { part.get(digits..).unwrap_or_default() } else { part });
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{
        sources::log::{LogBlock, LogFile},
        units::Timestamp,
    };

    #[test]
    fn a_secret_in_a_file_name_is_masked_too() {
        let file = LogFile { path: "/home/jane@example.com/jane@example.com.log".into(), ..LogFile::default() };
        let block = LogBlock::whole(Arc::new(file), Bytes::new(), Timestamp(0));
        let haystack = b"from jane@example.com";
        let place = Place::Log { block: &block, origin: &block.file.origin, line: 7, column: 2, offset: 40 };
        let Placed { way, location } = placed(place, haystack, &(5..21));
        assert!(!way.contains("jane") && !location.file.as_ref().unwrap().contains("jane"), "{way} {location:?}");
        assert_eq!((location.line, location.start, location.end), (Some(7), 2, 18));
        assert_eq!(call_site(place, b"jane@example.com"), block.file.path, "it is only hashed");
    }

    #[test]
    fn indices_of_lists_are_no_place() {
        assert_eq!(without_indices("$.a[3].b[x][12][1]c["), "$.a[].b[x][][]c[");
    }
}
