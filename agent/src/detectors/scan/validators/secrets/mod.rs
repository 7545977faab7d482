//! Credentials. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod assigned;
mod aws;
mod basic_auth;
mod crc_hex;
mod crc_token;
mod discord;
mod gitlab;
mod json_inside;
mod jwt;
mod numbered;
mod pem;
mod secret;

/// By name, sorted.
pub(super) const VALIDATORS: &[(&str, Validator)] = &[
    ("assigned", assigned::validate),
    ("atlassian", crc_hex::atlassian),
    ("atlassian_data_center", numbered::atlassian_data_center),
    ("aws_access_key", aws::access_key),
    ("aws_secret_key", aws::secret_key),
    ("base64_json", json_inside::validate),
    ("basic_auth", basic_auth::validate),
    ("cloudflare", crc_hex::cloudflare),
    ("crc_token", crc_token::validate),
    ("discord_bot", discord::validate),
    ("gitlab", gitlab::validate),
    ("grafana", crc_hex::grafana),
    ("jfrog", numbered::jfrog),
    ("jwt", jwt::validate),
    ("password", secret::password),
    ("pem", pem::validate),
    ("secret", secret::generic),
    ("supabase_service_role", jwt::supabase_service_role),
    ("token", secret::token),
];
