//! Who gets the strings of a JSON document. Enters: each of them with its path and its key, in order. Leaves: nothing, but room
//! for those that are to be decoded. It reads no JSON.

use super::key::Class;

/// Gets every string: path, object key it stands under (empty for others), text. Keys that are text themselves come under
/// the path of their member with `~` behind it.
pub(super) trait Strings {
    /// Whether there is anybody who wants them.
    const ARE_WANTED: bool = true;

    /// A string value. `path` is valid for this call only.
    fn string(&mut self, path: &str, key: &str, class: Class, text: &str);

    /// What is known of a key.
    fn class(&mut self, key: &str) -> Class {
        Class::of(key)
    }

    /// Where a string that is to be decoded can be put at once, behind what is there. `first`: its first byte as it stands in
    /// the input.
    fn room(&mut self, _class: Class, _first: u8) -> Option<&mut String> {
        None
    }

    /// What is in that room from `start` on is a string value, which is given back.
    fn placed(&mut self, _path: &str, _start: usize) -> Option<&str> {
        None
    }
}

impl<F: FnMut(&str, &str, &str)> Strings for F {
    fn string(&mut self, path: &str, key: &str, _: Class, text: &str) {
        self(path, key, text);
    }
}

/// Nobody wants strings.
pub(super) struct Unwanted;

impl Strings for Unwanted {
    const ARE_WANTED: bool = false;

    fn string(&mut self, _: &str, _: &str, _: Class, _: &str) {}
}
