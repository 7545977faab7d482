//! Credentials. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod aws;
mod basic_auth;
mod crc_token;
mod discord;
mod jwt;
mod pem;
mod secret;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[
    ("aws_access_key", aws::access_key),
    ("aws_secret_key", aws::secret_key),
    ("basic_auth", basic_auth::validate),
    ("crc_token", crc_token::validate),
    ("discord_bot", discord::validate),
    ("jwt", jwt::validate),
    ("password", secret::password),
    ("pem", pem::validate),
    ("secret", secret::generic),
    ("token", secret::token),
];
