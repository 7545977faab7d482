//! The hash of a server name, computed in the kernel as the name is read and on the host for the table of vendors. Enters:
//! the bytes of a name from last to first. Leaves: a 64-bit hash. Reading backwards makes the hash of every suffix
//! (`openai.azure.com` of `x.openai.azure.com`) fall out on the way.

/// Start value: FNV-1a 64, <http://www.isthe.com/chongo/tech/comp/fnv/>.
pub const START: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Takes one more byte, ASCII letters in lower case.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a BPF program must not pay a call per byte")]
pub const fn step(hash: u64, byte: u8) -> u64 {
    let lower = if byte.wrapping_sub(b'A') < 26 { byte | 0x20 } else { byte };
    (hash ^ lower as u64).wrapping_mul(PRIME)
}

/// Hash of a whole name, for the table.
pub const fn name(bytes: &[u8]) -> u64 {
    let mut hash = START;
    let mut left = bytes.len();
    while left > 0 {
        left -= 1;
        hash = step(hash, bytes[left]);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffix_hash_falls_out_on_the_way() {
        let full = b"X.OpenAI.azure.com";
        let mut hash = START;
        let mut seen = [0; 3];
        let mut dots = 0;
        for &byte in full.iter().rev() {
            if byte == b'.' {
                seen[dots] = hash;
                dots += 1;
            }
            hash = step(hash, byte);
        }
        assert_eq!(seen[2], name(b"openai.azure.com"));
        assert_eq!(hash, name(b"x.openai.azure.com"));
        assert_ne!(name(b"api.openai.com"), name(b"api.openai.con"));
    }
}
