//! Which certificates of upstreams are accepted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tracing::error;

use crate::error::Error;

/// Where systems keep the authorities that they trust: Debian, Fedora, openSUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities that must have issued upstreams' certificates.
#[derive(Clone, Debug)]
pub(crate) struct Trust(Arc<RootCertStore>);

impl Trust {
    /// Reads the authorities from a file in PEM form, or those of the system.
    ///
    /// # Errors
    /// The file cannot be read or holds none.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Error> {
        let path = match file {
            Some(path) => path.to_owned(),
            None => SYSTEM.iter().map(PathBuf::from).find(|path| path.exists()).unwrap_or_else(|| SYSTEM[0].into()),
        };
        let failed = |reason: String| Error::Certificate { path: path.clone(), reason };
        let read = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = read.map_err(|error| {
            failed(format!("{error}; give a file with the authorities of upstreams' certificates in PEM form"))
        })?;
        let mut roots = RootCertStore::empty();
        // Bundles of systems hold some that are too odd to be used.
        let (added, _odd) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(failed("it holds no certificate of an authority in PEM form".to_owned()));
        }
        Ok(Self(Arc::new(roots)))
    }

    /// The same for a configuration that was checked: a file that has vanished since is said, and nothing is trusted then.
    pub(crate) fn load_checked(file: Option<&Path>) -> Self {
        Self::load(file).unwrap_or_else(|error| {
            error!(%error, "no upstream over TLS or HTTPS is accepted");
            Self(Arc::new(RootCertStore::empty()))
        })
    }

    /// A client's way to speak TLS, and this protocol over it.
    pub(super) fn connector(&self, protocol: &[u8]) -> TlsConnector {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what the default versions need")
            .with_root_certificates(Arc::clone(&self.0))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config).into()
    }
}

/// Whether a handshake failed because a certificate is not what it should be.
pub(super) fn is_about_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}
