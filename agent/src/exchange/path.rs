//! JSON paths as they are shown (`$.messages[0].content`). Enters: keys and indexes. Leaves: text, at most
//! [`MAX_PATH_BYTES`] of it, whatever the keys of a hostile body are.

use super::key;

/// Longest path; what lies deeper shares the path that was reached.
const MAX_PATH_BYTES: usize = 512;
/// Room made at once behind the root.
const USUAL_BYTES: usize = 64;

/// A path that grows and shrinks as a reader goes in and out.
#[derive(Clone, Debug)]
pub(super) struct Path(String);

impl Path {
    /// A path that starts as `root`.
    pub(super) fn new(root: &str) -> Self {
        let usual = if root.is_empty() { 0 } else { root.len() + USUAL_BYTES };
        Self::within(String::with_capacity(usual), root)
    }

    /// A path that starts as `root` and grows in `space`, whatever that held.
    pub(super) fn within(mut space: String, root: &str) -> Self {
        space.clear();
        space.push_str(root);
        Self(space)
    }

    /// The room, to be used again.
    pub(super) fn into_room(self) -> String {
        self.0
    }

    /// The path as text.
    #[inline]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// To be given to [`Path::truncate`] later.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Back to a former length.
    #[inline]
    pub(super) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// Into an element.
    #[inline]
    pub(super) fn index(&mut self, index: usize) {
        if self.0.len() >= MAX_PATH_BYTES {
            return;
        }
        self.0.push('[');
        // Nearly all indexes are short; what formats numbers of any kind takes longer than all else here.
        let mut scale = 1;
        while index / scale >= 10 {
            scale *= 10;
        }
        while scale > 0 {
            self.0.push(char::from(b'0' + (index / scale % 10) as u8));
            scale /= 10;
        }
        self.0.push(']');
    }

    /// From a member to its name.
    pub(super) fn name(&mut self) {
        self.0.push('~');
    }

    /// Into a member: `.key`, or `['a key']` (RFC 9535) when it is not a plain name.
    pub(super) fn key(&mut self, key: &str) {
        self.member(key, key::is_plain(key));
    }

    /// The same, when it is known whether the name is plain.
    #[inline]
    pub(super) fn member(&mut self, key: &str, is_plain: bool) {
        if self.0.len() >= MAX_PATH_BYTES {
            return;
        }
        if is_plain {
            self.0.push('.');
            self.0.push_str(key);
            return;
        }
        self.0.push_str("['");
        for (count, letter) in key.chars().enumerate() {
            match letter {
                _ if count == key::MAX_SHOWN_CHARS => {
                    self.0.push('…');
                    break;
                }
                '\'' | '\\' => self.0.extend(['\\', letter]),
                _ if letter.is_control() => self.0.push(' '),
                _ => self.0.push(letter),
            }
        }
        self.0.push_str("']");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for (key, shown) in [
            ("content", "$.content"),
            ("x-y_2", "$.x-y_2"),
            ("2x", "$['2x']"),
            ("", "$['']"),
            ("it's", "$['it\\'s']"),
            ("a\nb", "$['a b']"),
        ] {
            let mut path = Path::new("$");
            path.key(key);
            assert_eq!(path.as_str(), shown);
        }
        let mut path = Path::new("$");
        path.key(&"k".repeat(1000));
        assert!(path.len() < 100);
        for _ in 0..1000 {
            path.key("deeper");
            path.index(7);
        }
        assert!(path.len() < 600);
    }
}
