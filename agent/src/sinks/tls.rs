//! Certificates for the way to a receiver. Enters: the files that the settings name. Leaves: what clients of TLS want. It is read
//! anew for each connection, so that a certificate may be replaced while the agent runs. No key is in any error or kept longer than the client.

use std::{fs, path::Path, sync::Arc};

use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
#[cfg(feature = "otlp")]
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::ConnectError;

/// Whom to trust, and who we are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust<'a> {
    /// Who is talked to, for messages.
    pub(crate) whom: &'a str,
    /// Its address asks for TLS.
    pub(crate) is_encrypted: bool,
    /// Certificates of those whose word is taken for who it is, PEM; else those of the system.
    pub(crate) ca_file: Option<&'a Path>,
    /// Our own certificate, PEM.
    pub(crate) cert_file: Option<&'a Path>,
    /// Its key, PEM.
    pub(crate) key_file: Option<&'a Path>,
}

/// What was read.
pub(super) struct Tls {
    #[cfg(feature = "otlp")]
    ca_pem: Option<Vec<u8>>,
    #[cfg(feature = "otlp")]
    own_pem: Option<(Vec<u8>, Vec<u8>)>,
    config: ClientConfig,
}

impl Tls {
    /// `None` when the way is not encrypted.
    pub(super) fn read(trust: &Trust<'_>) -> Result<Option<Self>, ConnectError> {
        let &Trust { whom, is_encrypted, ca_file: ca, cert_file: cert, key_file: key } = trust;
        if !is_encrypted {
            if ca.is_some() || cert.is_some() || key.is_some() {
                return Err(ConnectError(format!(
                    "{whom} is not encrypted, so certificates are of no use: write an address with TLS, or leave them out"
                )));
            }
            return Ok(None);
        }
        let ca_pem = ca.map(read).transpose()?;
        let own_pem = match (cert, key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            (None, None) => None,
            _ => return Err(ConnectError("`cert_file` and `key_file` go together: give both, or none".to_owned())),
        };
        let config = config(trust, ca_pem.as_deref(), own_pem.as_ref())?;
        Ok(Some(Self {
            #[cfg(feature = "otlp")]
            ca_pem,
            #[cfg(feature = "otlp")]
            own_pem,
            config,
        }))
    }

    /// For gRPC.
    #[cfg(feature = "otlp")]
    pub(super) fn tonic(&self) -> ClientTlsConfig {
        let config = match &self.ca_pem {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        match &self.own_pem {
            Some((cert, key)) => config.identity(Identity::from_pem(cert, key)),
            None => config,
        }
    }

    /// For everything else.
    pub(super) fn rustls(self) -> ClientConfig {
        self.config
    }
}

/// For a client that will not use it: whoever makes one asks for it all the same.
pub(super) fn unused() -> Result<ClientConfig, ConnectError> {
    Ok(with_roots(RootCertStore::empty())?.with_no_client_auth())
}

/// For a client that trusts whom this system trusts.
#[cfg(feature = "otlp")]
pub(crate) fn system() -> Result<ClientConfig, ConnectError> {
    Ok(with_roots(system_roots())?.with_no_client_auth())
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Single certificates of a system that do not parse are common, and no reason to do without the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn with_roots(roots: RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, ConnectError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError(error.to_string()))?;
    Ok(builder.with_root_certificates(roots))
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    fs::read(path).map_err(|error| ConnectError(format!("cannot read {}: {error}", path.display())))
}

fn certificates(pem: &[u8], path: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    if found.is_empty() {
        let path = path.unwrap_or(Path::new("the file"));
        return Err(ConnectError(format!("{} holds no certificate in PEM", path.display())));
    }
    Ok(found)
}

fn config(
    trust: &Trust<'_>,
    ca_pem: Option<&[u8]>,
    own_pem: Option<&(Vec<u8>, Vec<u8>)>,
) -> Result<ClientConfig, ConnectError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca_pem {
        for certificate in certificates(pem, trust.ca_file)? {
            roots
                .add(certificate)
                .map_err(|error| ConnectError(format!("`ca_file` holds a certificate that is of no use: {error}")))?;
        }
    } else {
        roots = system_roots();
        if roots.is_empty() {
            return Err(ConnectError(format!(
                "this system trusts nobody, so {} cannot be checked: install ca-certificates, or give `ca_file`",
                trust.whom
            )));
        }
    }
    let builder = with_roots(roots)?;
    let Some((cert, key)) = own_pem else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(cert, trust.cert_file)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| ConnectError("`key_file` holds no private key in PEM".to_owned()))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| ConnectError(format!("`cert_file` and `key_file` do not fit together: {error}")))
}
