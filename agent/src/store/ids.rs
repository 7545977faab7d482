//! Which findings may have a row. Enters: ids, those in the file and those that come. Leaves: a sure no, or a perhaps. It forgets none: an id whose row
//! went costs one look into the file.
//!
//! Most findings are new, and to look for each in the file took a twelfth of the writer's time. A bit an id, at a place made of it: of a million findings
//! one new one in five is looked for in vain, of a hundred thousand one in forty.

use rusqlite::{Connection, types::ValueRef};

/// Places: half a megabyte.
const PLACES: usize = 1 << 22;

/// See the module.
#[derive(Debug)]
pub(super) struct Ids(Box<[u64]>);

impl Ids {
    /// Those in the file. The index has all that is needed of them.
    pub(super) fn stored(db: &Connection) -> rusqlite::Result<Self> {
        let mut ids = Self(vec![0; PLACES / 64].into_boxed_slice());
        let mut select = db.prepare("SELECT substr(id, 1, 8) FROM finding INDEXED BY finding_digits")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            match row.get_ref(0)? {
                ValueRef::Text(digits) | ValueRef::Blob(digits) => ids.set(digits),
                // The index is damaged. That is told when it is looked into.
                _ => ids.0.fill(u64::MAX),
            }
        }
        Ok(ids)
    }

    /// This one has a row from now on.
    pub(super) fn add(&mut self, id: &str) {
        self.set(id.as_bytes());
    }

    fn set(&mut self, id: &[u8]) {
        let place = place(id);
        if let Some(bits) = self.0.get_mut(place / 64) {
            *bits |= 1 << (place % 64);
        }
    }

    /// False: it has none.
    pub(super) fn may_have(&self, id: &str) -> bool {
        let place = place(id.as_bytes());
        self.0.get(place / 64).is_none_or(|bits| bits >> (place % 64) & 1 == 1)
    }
}

/// Of what the index has of an id. Ids are hashes, so any mixing of their digits will do.
fn place(id: &[u8]) -> usize {
    let fold = |hash: u64, digit: &u8| (hash ^ u64::from(*digit)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (id.iter().take(8).fold(0, fold) >> 40) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_may_be_there_and_most_of_the_rest_is_surely_not() {
        let mut ids = Ids(vec![0; PLACES / 64].into_boxed_slice());
        let id = |number: u64| format!("{:032x}", u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64);
        (0..10_000).for_each(|number| ids.add(&id(number)));
        assert!((0..10_000).all(|number| ids.may_have(&id(number))));
        let in_vain = (10_000..20_000).filter(|number| ids.may_have(&id(*number))).count();
        assert!(in_vain < 100, "{in_vain}");
        assert!(!ids.may_have(""));
    }
}
