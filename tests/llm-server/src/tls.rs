//! Enters: the host names to answer for. Leaves: a CA certificate as PEM and a rustls configuration whose one leaf carries
//! all the names. Both keys are made at start and never leave memory.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::postgres;

/// What a client that speaks HTTP/2 offers in its handshake (RFC 9113, section 3.2).
pub(crate) const HTTP2: &[u8] = b"h2";

/// Why no certificate could be made: a name that cannot stand in one, or a refused configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rcgen could not make the key or the certificate.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls refused the configuration.
    #[error("rustls refuses the certificate: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The CA to trust, as PEM, and the server's side of TLS.
pub(crate) struct Identity {
    pub(crate) ca_pem: String,
    pub(crate) config: Arc<ServerConfig>,
}

/// Makes a fresh CA and one leaf for `names`. HTTP/2 is offered when asked for, and then preferred.
pub(crate) fn identity(names: &[String], http2: bool) -> Result<Identity, TlsError> {
    let mut ca = CertificateParams::new(Vec::<String>::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Outflow throw-away test CA");
    // Python 3.13 turns on VERIFY_X509_STRICT, which wants critical constraints, key usages and both key identifiers.
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;

    let mut leaf = CertificateParams::new(names.to_vec())?;
    leaf.distinguished_name.push(DnType::CommonName, "Outflow test server");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate()?;
    let leaf_certificate = leaf.signed_by(&leaf_key, &Issuer::from_params(&ca, &ca_key))?;

    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf_certificate.der().clone(), ca_certificate.der().clone()], private)?;
    let http2 = http2.then(|| HTTP2.to_vec());
    config.alpn_protocols = http2.into_iter().chain([b"http/1.1".to_vec(), postgres::ALPN.to_vec()]).collect();
    Ok(Identity { ca_pem: ca_certificate.pem(), config: Arc::new(config) })
}
