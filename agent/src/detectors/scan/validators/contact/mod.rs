//! Ways to reach a person, and what places one. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its
//! source.

use super::Validator;

mod birth;
mod email;
mod person;
mod phone;
mod place;
mod plan;
mod token;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[
    ("birth_date", birth::validate),
    ("coordinates", place::coordinates),
    ("degrees", place::degrees),
    ("email", email::validate),
    ("handle", person::handle),
    ("person_name", person::name),
    ("phone", phone::e164),
    ("phone_nanp", phone::nanp),
    ("phone_nanp_called", phone::nanp_called),
    ("phone_national", phone::national),
    ("phone_spoken", phone::spoken),
    ("profile", person::profile),
    ("street", place::street),
    ("street_compound", place::street_compound),
    ("uk_postcode", place::uk_postcode),
    ("url_token", token::validate),
];
