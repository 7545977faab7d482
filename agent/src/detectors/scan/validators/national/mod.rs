//! National and tax identifiers. Enters: a match in its segment. Leaves: a verdict. One country or one scheme a file, each with
//! its source. `Proven` is what chance passes less than once in a hundred times: several checks, or a check and a birthday.

use super::Validator;

mod argentina;
mod australia;
mod austria;
mod baltic;
mod belgium;
mod brazil;
mod bulgaria;
mod canada;
mod chile;
mod china;
mod croatia;
mod czech;
mod denmark;
mod finland;
mod france;
mod germany;
mod greece;
mod hong_kong;
mod hungary;
mod india;
mod ireland;
mod iso7064;
mod israel;
mod italy;
mod japan;
mod korea;
mod luxembourg;
mod mexico;
mod mrz;
mod netherlands;
mod new_zealand;
mod nigeria;
mod norway;
mod number;
mod philippines;
mod poland;
mod portugal;
mod romania;
mod singapore;
mod slovenia;
mod south_africa;
mod spain;
mod ssn;
mod sweden;
mod switzerland;
mod taiwan;
mod thailand;
mod turkey;
mod united_kingdom;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[
    ("aadhaar", india::aadhaar),
    ("ar_cuit", argentina::cuit),
    ("at_svnr", austria::svnr),
    ("au_medicare", australia::medicare),
    ("au_tfn", australia::tfn),
    ("be_nrn", belgium::register_number),
    ("bg_egn", bulgaria::egn),
    ("ca_sin", canada::sin),
    ("ch_ahv", switzerland::ahv),
    ("cl_rut", chile::rut),
    ("cn_resident", china::resident),
    ("cpf", brazil::cpf),
    ("cz_birth_number", czech::birth_number),
    ("de_document", germany::document),
    ("de_pension", germany::pension),
    ("de_tax_id", germany::tax_id),
    ("dk_cpr", denmark::cpr),
    ("ee_lt_personal_code", baltic::personal_code),
    ("es_dni", spain::dni),
    ("es_nie", spain::nie),
    ("es_nuss", spain::social_security),
    ("fi_hetu", finland::hetu),
    ("fr_spi", france::spi),
    ("gr_afm", greece::afm),
    ("gr_amka", greece::amka),
    ("hk_identity_card", hong_kong::identity_card),
    ("hr_oib", croatia::oib),
    ("hu_company_tax_number", hungary::company_tax_number),
    ("hu_personal_tax_id", hungary::personal_tax_id),
    ("hu_taj", hungary::social_security),
    ("ie_pps", ireland::pps),
    ("il_identity", israel::identity),
    ("in_pan", india::pan),
    ("in_voter", india::voter),
    ("it_fiscal_code", italy::fiscal_code),
    ("it_vat", italy::vat),
    ("itin", ssn::itin),
    ("jp_my_number", japan::my_number),
    ("kr_business", korea::business),
    ("kr_foreigner", korea::foreigner),
    ("kr_resident", korea::resident),
    ("lu_identity", luxembourg::identity),
    ("lv_personal_code", baltic::latvia),
    ("mrz_name", mrz::name),
    ("mrz_numbers", mrz::numbers),
    ("mx_curp", mexico::curp),
    ("mx_rfc", mexico::rfc),
    ("ng_identity", nigeria::identity),
    ("nino", united_kingdom::nino),
    ("nir", france::nir),
    ("nl_bsn", netherlands::bsn),
    ("nl_document", netherlands::document),
    ("no_birth_number", norway::birth_number),
    ("nz_ird", new_zealand::ird),
    ("ph_tin", philippines::tin),
    ("pl_nip", poland::nip),
    ("pl_pesel", poland::pesel),
    ("pt_nif", portugal::nif),
    ("ro_cnp", romania::cnp),
    ("se_personal_number", sweden::personal_number),
    ("se_unlabelled", sweden::unlabelled),
    ("sg_nric", singapore::nric),
    ("sg_uen", singapore::uen),
    ("si_emso", slovenia::emso),
    ("si_tax_number", slovenia::tax_number),
    ("ssn", ssn::ssn),
    ("th_identity", thailand::identity),
    ("tr_identity", turkey::identity),
    ("tw_identity", taiwan::identity),
    ("uk_driver", united_kingdom::driver),
    ("uk_utr", united_kingdom::utr),
    ("za_identity", south_africa::identity),
];

/// For the tests of the validators: all of these hold, none of those.
#[cfg(test)]
fn check(validator: Validator, good: &[&str], bad: &[&str]) {
    for text in good {
        assert_ne!(super::verdict(validator, text), super::Verdict::Refused, "{text}");
    }
    for text in bad {
        assert_eq!(super::verdict(validator, text), super::Verdict::Refused, "{text}");
    }
}
