//! Certificates for the way to a collector. Enters: the files that the settings name. Leaves: what gRPC's and HTTP's clients want. It is read
//! anew for each connection, so that a certificate may be replaced while the agent runs. No key is in any error or kept longer than the client.

use std::{fs, path::Path, sync::Arc};

use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::OtlpSettings;
use crate::sinks::ConnectError;

/// What was read.
pub(super) struct Tls {
    ca_pem: Option<Vec<u8>>,
    own_pem: Option<(Vec<u8>, Vec<u8>)>,
    config: ClientConfig,
}

impl Tls {
    /// `None` when the endpoint is not encrypted.
    pub(super) fn read(settings: &OtlpSettings) -> Result<Option<Self>, ConnectError> {
        let (ca, cert, key) = (&settings.ca_file, &settings.cert_file, &settings.key_file);
        if !settings.endpoint.starts_with("https://") {
            if ca.is_some() || cert.is_some() || key.is_some() {
                return Err(ConnectError(format!(
                    "{} is not encrypted, so certificates are of no use: write https://, or leave them out",
                    settings.endpoint
                )));
            }
            return Ok(None);
        }
        let ca_pem = ca.as_deref().map(read).transpose()?;
        let own_pem = match (cert, key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            (None, None) => None,
            _ => return Err(ConnectError("`cert_file` and `key_file` go together: give both, or none".to_owned())),
        };
        let config = config(settings, ca_pem.as_deref(), own_pem.as_ref())?;
        Ok(Some(Self { ca_pem, own_pem, config }))
    }

    /// For gRPC.
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

    /// For HTTP.
    pub(super) fn rustls(self) -> ClientConfig {
        self.config
    }
}

/// For a client that will not use it: whoever makes one asks for it all the same.
pub(super) fn unused() -> Result<ClientConfig, ConnectError> {
    Ok(with_roots(RootCertStore::empty())?.with_no_client_auth())
}

/// For a client that trusts whom this system trusts.
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
    settings: &OtlpSettings,
    ca_pem: Option<&[u8]>,
    own_pem: Option<&(Vec<u8>, Vec<u8>)>,
) -> Result<ClientConfig, ConnectError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca_pem {
        for certificate in certificates(pem, settings.ca_file.as_deref())? {
            roots
                .add(certificate)
                .map_err(|error| ConnectError(format!("`ca_file` holds a certificate that is of no use: {error}")))?;
        }
    } else {
        roots = system_roots();
        if roots.is_empty() {
            return Err(ConnectError(format!(
                "this system trusts nobody, so {} cannot be checked: install ca-certificates, or give `ca_file`",
                settings.endpoint
            )));
        }
    }
    let builder = with_roots(roots)?;
    let Some((cert, key)) = own_pem else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(cert, settings.cert_file.as_deref())?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| ConnectError("`key_file` holds no private key in PEM".to_owned()))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| ConnectError(format!("`cert_file` and `key_file` do not fit together: {error}")))
}
