//! Countries by their two letters. Source: ISO 3166-1 alpha-2, as in Wikipedia, "ISO 3166-1 alpha-2", read 2026-11.

/// All assigned codes, one after the other, sorted.
const CODES: &[u8] = b"ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCHCICKCLCMCNCOCRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHKHMHNHRHTHUIDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKMLMMMNMOMPMQMRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRURWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUYUZVAVCVEVGVIVNVUWFWSYEYTZAZMZW";

/// A country, in capitals.
pub(super) fn is_country(code: &[u8]) -> bool {
    CODES.chunks(2).any(|known| known == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_there_once() {
        let codes: Vec<&[u8]> = CODES.chunks(2).collect();
        assert_eq!(codes.len(), 249);
        assert!(codes.is_sorted_by(|one, other| one < other));
        assert!(is_country(b"DE") && !is_country(b"EE ") && !is_country(b"XX") && !is_country(b""));
    }
}
