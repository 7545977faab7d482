//! Credentials. Enters: a match in its segment. Leaves: a verdict. One kind a file, each with its source.

use super::Validator;

mod assigned;
mod aws;
mod basic_auth;
mod chance;
mod crc_hex;
mod crc_token;
mod discord;
mod gitlab;
mod json_inside;
mod jwt;
mod kubernetes;
mod numbered;
mod password;
mod pem;
mod secret;
mod stand_in;

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
    ("database_password", password::of_database),
    ("discord_bot", discord::validate),
    ("gitlab", gitlab::validate),
    ("grafana", crc_hex::grafana),
    ("jfrog", numbered::jfrog),
    ("jwt", jwt::validate),
    ("kubernetes_data", kubernetes::data),
    ("password", password::assigned),
    ("password_of_connection", password::of_connection),
    ("password_quoted", password::quoted),
    ("password_spoken", password::spoken),
    ("pem", pem::validate),
    ("secret", secret::generic),
    ("secret_mixed", secret::mixed),
    ("supabase_service_role", jwt::supabase_service_role),
    ("token", secret::token),
];
