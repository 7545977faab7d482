//! Large buffers that were used before. Enters: a buffer that is not needed any more. Leaves: room. To take megabytes from the
//! system for each body and to give them back costs as much as to read what is in them. Never holds more than
//! [`MAX_HELD_BYTES`]; what was in a buffer is never seen again.

use std::sync::{Mutex, PoisonError};

/// Smaller ones are the allocator's business.
const MIN_BYTES: usize = 64 << 10;
/// Held in all.
const MAX_HELD_BYTES: usize = 8 << 20;
/// Held at once.
const MAX_HELD: usize = 8;

static HELD: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty buffer with room for so many bytes.
pub(crate) fn take(bytes: usize) -> Vec<u8> {
    if bytes < MIN_BYTES {
        return Vec::with_capacity(bytes);
    }
    again(bytes).unwrap_or_else(|| Vec::with_capacity(bytes))
}

/// The same for so many bytes that somebody only says will come: what is held can be taken, but no more than `most` is made.
pub(crate) fn take_announced(bytes: usize, most: usize) -> Vec<u8> {
    let held = if bytes > most { again(bytes) } else { None };
    held.unwrap_or_else(|| take(bytes.min(most)))
}

/// The smallest of those held that is large enough.
fn again(bytes: usize) -> Option<Vec<u8>> {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = held.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= bytes);
    let index = fits.min_by_key(|(_, buffer)| buffer.capacity()).map(|(index, _)| index)?;
    Some(held.swap_remove(index))
}

/// Takes back a buffer, which need not be one of [`take`].
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if !(MIN_BYTES..=MAX_HELD_BYTES / 2).contains(&buffer.capacity()) {
        return;
    }
    buffer.clear();
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.push(buffer);
    // The large ones are dear.
    while held.len() > MAX_HELD || held.iter().map(Vec::capacity).sum::<usize>() > MAX_HELD_BYTES {
        let smallest = held.iter().enumerate().min_by_key(|(_, buffer)| buffer.capacity()).map(|(index, _)| index);
        held.swap_remove(smallest.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_taken_again_up_to_the_bound() {
        let mut buffer = take(3 << 20);
        buffer.extend_from_slice(b"text");
        give_back(buffer);
        let again = take(1 << 20);
        assert!(again.is_empty() && again.capacity() >= 1 << 20);
        assert!(take_announced(4 << 20, 1 << 20).capacity() >= 1 << 20);
        assert!(
            take_announced(usize::MAX, 1 << 20).capacity() <= MAX_HELD_BYTES,
            "no more than is held or may be made"
        );
        for _ in 0..100 {
            give_back(Vec::with_capacity(MIN_BYTES));
            give_back(Vec::with_capacity(1 << 20));
            give_back(Vec::with_capacity(64 << 20));
            give_back(Vec::new());
        }
        let held = HELD.lock().unwrap();
        assert!(held.len() <= MAX_HELD, "{} buffers", held.len());
        assert!(held.iter().map(Vec::capacity).sum::<usize>() <= MAX_HELD_BYTES);
        assert!(held.iter().all(|buffer| buffer.is_empty() && buffer.capacity() >= MIN_BYTES));
    }
}
