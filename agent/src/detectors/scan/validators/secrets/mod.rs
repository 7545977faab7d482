//! Credentials. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod aws;
mod basic_auth;
mod chance;
mod crc_token;
mod discord;
mod jwt;
mod kubernetes;
mod password;
mod pem;
mod secret;
mod stand_in;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[
    ("aws_access_key", aws::access_key),
    ("aws_secret_key", aws::secret_key),
    ("basic_auth", basic_auth::validate),
    ("crc_token", crc_token::validate),
    ("database_password", password::of_database),
    ("discord_bot", discord::validate),
    ("jwt", jwt::validate),
    ("kubernetes_data", kubernetes::data),
    ("password", password::assigned),
    ("password_of_connection", password::of_connection),
    ("password_quoted", password::quoted),
    ("password_spoken", password::spoken),
    ("pem", pem::validate),
    ("secret", secret::generic),
    ("secret_mixed", secret::mixed),
    ("token", secret::token),
];
