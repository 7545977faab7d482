//! Certificates for a fake collector. Enters: a folder. Leaves: in it a CA, the certificates and keys of a client and a server, and the server's side of TLS for
//! `localhost`. All are made anew and trusted by nobody else.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};

/// What was made.
#[derive(Debug)]
pub struct Certificates {
    /// The CA.
    pub ca_file: PathBuf,
    /// A client's certificate.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// A server's certificate.
    pub server_cert_file: PathBuf,
    /// Its key.
    pub server_key_file: PathBuf,
    /// A server that asks nothing of its clients.
    pub server: Arc<ServerConfig>,
    /// A server that takes only clients with a certificate of the CA.
    pub strict_server: Arc<ServerConfig>,
}

impl Certificates {
    /// Makes them in `folder`; the servers offer these protocols (ALPN).
    pub fn make(folder: &Path, protocols: &[&str]) -> Result<Self> {
        let mut ca = CertificateParams::new(Vec::<String>::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::from_params(&ca, &ca_key);

        let leaf = |usage: ExtendedKeyUsagePurpose| -> Result<_> {
            let mut leaf = CertificateParams::new(vec!["localhost".to_owned()])?;
            // Under the CA's own name, which is the default, it would look as if it had signed itself: BoringSSL refuses that.
            leaf.distinguished_name.push(DnType::CommonName, "localhost");
            leaf.extended_key_usages = vec![usage];
            let key = KeyPair::generate()?;
            Ok((leaf.signed_by(&key, &issuer)?, key))
        };
        let (server_certificate, server_key) = leaf(ExtendedKeyUsagePurpose::ServerAuth)?;
        let (client_certificate, client_key) = leaf(ExtendedKeyUsagePurpose::ClientAuth)?;

        let server = |strict: bool| -> Result<Arc<ServerConfig>> {
            let provider = Arc::new(ring::default_provider());
            let builder =
                ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
            let builder = if strict {
                let mut roots = RootCertStore::empty();
                roots.add(ca_certificate.der().clone())?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            } else {
                builder.with_no_client_auth()
            };
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
            let mut config = builder.with_single_cert(vec![server_certificate.der().clone()], key)?;
            config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            Ok(Arc::new(config))
        };
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            Ok(path)
        };
        Ok(Self {
            ca_file: write("ca.pem", ca_certificate.pem())?,
            cert_file: write("client.pem", client_certificate.pem())?,
            key_file: write("client.key", client_key.serialize_pem())?,
            server_cert_file: write("server.pem", server_certificate.pem())?,
            server_key_file: write("server.key", server_key.serialize_pem())?,
            server: server(false)?,
            strict_server: server(true)?,
        })
    }
}
