//! Money: accounts, cards, companies and wallets. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its
//! source.

use super::Validator;

mod aba;
mod abn;
mod account;
mod bic;
mod card;
mod cnpj;
mod crypto;
mod ein;
mod gstin;
mod iban;
mod isin;
mod lei;
mod track;
mod vat;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[
    ("aba", aba::validate),
    ("abn", abn::business),
    ("acn", abn::company),
    ("bank_account", account::validate),
    ("bic", bic::validate),
    ("bitcoin_legacy", crypto::bitcoin_legacy),
    ("bitcoin_segwit", crypto::bitcoin_segwit),
    ("card", card::validate),
    ("card_track", track::validate),
    ("cnpj", cnpj::validate),
    ("cvv", account::cvv),
    ("ein", ein::validate),
    ("ethereum", crypto::ethereum),
    ("gstin", gstin::validate),
    ("iban", iban::validate),
    ("isin", isin::validate),
    ("lei", lei::validate),
    ("luhn", card::luhn_only),
    ("monero", crypto::monero),
    ("sort_code", account::sort_code),
    ("vat", vat::validate),
];
