//! Addresses of wallets. Sources: Bitcoin wiki, "Base58Check encoding" and "List of address prefixes"; BIP-173 and BIP-350
//! (bech32, bech32m); EIP-55 (letters of an Ethereum address carry a checksum); Monero, "Standard address" in the Monero docs
//! (blocks of base58, Keccak-256).

use sha2::{Digest, Sha256};
use sha3::Keccak256;

use super::super::{Text, Verdict, labels};

/// Version bytes of Bitcoin addresses: to a key, to a script.
const BITCOIN_VERSIONS: [u8; 2] = [0x00, 0x05];
/// Network bytes of Monero addresses: standard, integrated, subaddress.
const MONERO_NETWORKS: [u8; 3] = [18, 19, 42];
const CHECK_BYTES: usize = 4;
const BITCOIN_BYTES: usize = 1 + 20 + CHECK_BYTES;
const ETHEREUM_DIGITS: usize = 40;
/// Eleven characters of Monero's base58 are eight bytes.
const MONERO_BLOCK_CHARACTERS: usize = 11;
const MONERO_BLOCK_BYTES: usize = 8;
/// By bytes of a block: its characters.
const MONERO_CHARACTERS: [usize; MONERO_BLOCK_BYTES + 1] = [0, 2, 3, 5, 6, 7, 9, 10, 11];
const BASE_58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// `1…` and `3…`: version, hash, and the first four bytes of SHA-256 of SHA-256.
pub(super) fn bitcoin_legacy(text: &Text<'_>) -> Verdict {
    let mut bytes = [0_u8; BITCOIN_BYTES];
    let length = bs58::decode(text.secret()).onto(&mut bytes).unwrap_or_default();
    let Some((body, check)) = bytes.split_last_chunk::<CHECK_BYTES>() else { return Verdict::Refused };
    let known = body.first().is_some_and(|version| BITCOIN_VERSIONS.contains(version));
    let hash = Sha256::digest(Sha256::digest(body));
    Verdict::proven_if(length == BITCOIN_BYTES && known && hash.starts_with(check))
}

/// `bc1…`: of the main network.
pub(super) fn bitcoin_segwit(text: &Text<'_>) -> Verdict {
    let Ok(address) = std::str::from_utf8(text.secret()) else { return Verdict::Refused };
    Verdict::proven_if(bech32::segwit::decode(address).is_ok_and(|(network, ..)| network == bech32::hrp::BC))
}

/// `0x` and forty digits. Mixed letters carry the checksum of EIP-55; others might be any hash of twenty bytes, so the name of
/// the field must say what they are.
pub(super) fn ethereum(text: &Text<'_>) -> Verdict {
    let Some(digits) = text.secret().get(2..).filter(|digits| digits.len() == ETHEREUM_DIGITS) else {
        return Verdict::Refused;
    };
    let first = digits.first();
    if digits.iter().all(|digit| Some(digit) == first) {
        return Verdict::Refused;
    }
    let (lower, upper) = (digits.iter().any(u8::is_ascii_lowercase), digits.iter().any(u8::is_ascii_uppercase));
    if lower && upper {
        return Verdict::proven_if(follows_eip_55(digits));
    }
    let words =
        ["eth", "ethereum", "ether", "wallet", "address", "addr", "erc20", "metamask", "recipient", "beneficiary"];
    Verdict::plausible_if(labels::named(text.before(), &words))
}

fn follows_eip_55(digits: &[u8]) -> bool {
    let hash = Keccak256::digest(digits.to_ascii_lowercase());
    let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .iter()
        .zip(nibbles)
        .all(|(digit, nibble)| !digit.is_ascii_alphabetic() || digit.is_ascii_uppercase() == (nibble > 7))
}

/// `4…` and `8…`: network byte, keys, and the first four bytes of Keccak-256.
pub(super) fn monero(text: &Text<'_>) -> Verdict {
    let mut bytes = Vec::with_capacity(text.secret().len());
    for block in text.secret().chunks(MONERO_BLOCK_CHARACTERS) {
        let Some(length) = MONERO_CHARACTERS.iter().position(|characters| *characters == block.len()) else {
            return Verdict::Refused;
        };
        let value = block.iter().try_fold(0_u128, |value, character| {
            let digit = BASE_58.iter().position(|one| one == character)?;
            // Eleven digits are below 2^65.
            Some(value * 58 + digit as u128)
        });
        let big_endian = value.unwrap_or(u128::MAX).to_be_bytes();
        let (padding, block_bytes) = big_endian.split_at(big_endian.len() - length);
        if padding.iter().any(|byte| *byte != 0) {
            return Verdict::Refused;
        }
        bytes.extend_from_slice(block_bytes);
    }
    let Some((body, check)) = bytes.split_last_chunk::<CHECK_BYTES>() else { return Verdict::Refused };
    let known = body.first().is_some_and(|network| MONERO_NETWORKS.contains(network));
    Verdict::proven_if(known && Keccak256::digest(body).starts_with(check))
}

#[cfg(test)]
mod tests {
    use super::{super::super::check_as, *};

    /// The inverse, for addresses of nobody.
    fn monero_address(network: u8) -> String {
        let mut body = vec![network];
        body.extend_from_slice(&[7; 64]);
        let check = Keccak256::digest(&body);
        body.extend_from_slice(&check[..CHECK_BYTES]);
        let mut out = String::new();
        for block in body.chunks(MONERO_BLOCK_BYTES) {
            let mut value = block.iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
            let mut characters = vec!['1'; MONERO_CHARACTERS[block.len()]];
            for place in characters.iter_mut().rev() {
                *place = char::from(BASE_58[(value % 58) as usize]);
                value /= 58;
            }
            out.extend(characters);
        }
        out
    }

    #[test]
    fn bitcoin() {
        let address = |version: u8| {
            let mut body = vec![version];
            body.extend_from_slice(b"OutflowFakeFakeFake!");
            let check = Sha256::digest(Sha256::digest(&body));
            body.extend_from_slice(&check[..CHECK_BYTES]);
            bs58::encode(body).into_string()
        };
        let (key, script, other) = (address(0), address(5), address(111));
        let broken = key.replacen('F', "G", 1).replacen('a', "b", 1);
        check_as(
            bitcoin_legacy,
            Verdict::Proven,
            &[&key, &script],
            &[&other, &broken, "1BoatSLRHtKNngkdXEeobR76b53LETtpyU", "1", "0OIl"],
        );
        // The first two are of BIP-173 and BIP-350; a checksum must also be of the witness version's kind.
        check_as(
            bitcoin_segwit,
            Verdict::Proven,
            &[
                "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
                "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            ],
            &[
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
                "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
                "bc1pw5dgrnzv",
                "bc1",
            ],
        );
    }

    #[test]
    fn ethereum_letters_and_names() {
        // Vectors of EIP-55.
        check_as(
            ethereum,
            Verdict::Proven,
            &["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"],
            &[
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
                "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
                "0x0000000000000000000000000000000000000000",
                "0x12",
            ],
        );
        let haystack = b"\"walletAddress\": \"0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed\"";
        assert_eq!(ethereum(&Text { haystack, span: 18..60 }), Verdict::Plausible);
    }

    #[test]
    fn monero_blocks() {
        let (good, other) = (monero_address(18), monero_address(53));
        let broken = good.replacen(char::from(good.as_bytes()[20]), "z", 1);
        check_as(
            monero,
            Verdict::Proven,
            &[&good, &monero_address(42)],
            &[&other, &broken, &good[..94], "zzzzzzzzzzz", ""],
        );
    }
}
