//! The certificate that clients are shown, read again when its files change.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tracing::{info, warn};

use crate::error::Error;

/// How often it is looked whether the files have changed.
const LOOK: Duration = Duration::from_secs(10);

/// A certificate with its key, and the files that both are from.
#[derive(Debug)]
pub(crate) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
    /// What the files looked like when they were last read.
    seen: Mutex<Stamps>,
}

/// What tells versions of the two files apart; nothing of a file that cannot be looked at.
type Stamps = [Option<Stamp>; 2];

/// Inode, size, and time of the last change.
type Stamp = (u64, u64, i64, i64);

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be read, hold something else, or do not belong together.
    pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let seen = stamps(certificate, key);
        let current = read(certificate, key)?;
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self { certificate, key, current: ArcSwap::from_pointee(current), seen: Mutex::new(seen) })
    }

    /// Reads the files again. If they are bad, that is said, and what was read before stays.
    pub(crate) fn reload(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamps(&self.certificate, &self.key);
        let certificate = self.certificate.display();
        match read(&self.certificate, &self.key) {
            Ok(read) if read.cert == self.current.load().cert => {}
            Ok(read) => {
                self.current.store(Arc::new(read));
                info!(%certificate, "certificate read again");
            }
            Err(error) => warn!(%error, "the certificate that was read before stays in use"),
        }
    }

    /// Reads the files again whenever they change, for as long as it is polled.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let this = Arc::clone(&self);
            // Files may be on a slow disk.
            let _ended = tokio::task::spawn_blocking(move || this.reload_if_changed()).await;
        }
    }

    fn reload_if_changed(&self) {
        let now = stamps(&self.certificate, &self.key);
        if now != *self.seen.lock().unwrap_or_else(PoisonError::into_inner) {
            self.reload();
        }
    }

    /// How a front with this certificate speaks TLS, with these application protocols.
    pub(crate) fn tls(self: &Arc<Self>, protocols: &[&[u8]]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what the default versions need")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // Clients resume with what we seal and they keep (RFC 7858 §3.4), so that sessions cost no memory here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Ok(ticketer) = ring::Ticketer::new() {
            config.ticketer = ticketer;
        }
        Arc::new(config)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// Whether these two files hold a certificate and its key.
///
/// # Errors
/// They cannot be read, hold something else, or do not belong together.
pub(crate) fn check(certificate: &Path, key: &Path) -> Result<(), Error> {
    read(certificate, key).map(drop)
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let failed = |path: &Path, reason: String| Error::Certificate { path: path.to_owned(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| failed(certificate, pem_error(&error)))?;
    if chain.is_empty() {
        let reason = "it holds no certificate; give the server's certificate in PEM form, then those that issued it";
        return Err(failed(certificate, reason.to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, pem_error(&error)))?;
    CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(|error| {
        if error == rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
            failed(key, format!("it is not the key of the certificate in {}", certificate.display()))
        } else if matches!(error, rustls::Error::InvalidCertificate(_)) {
            failed(certificate, "its first certificate cannot be read".to_owned())
        } else {
            failed(key, "it holds a key of another kind than RSA, ECDSA (P-256, P-384) or Ed25519".to_owned())
        }
    })
}

fn pem_error(error: &pem::Error) -> String {
    if let pem::Error::Io(error) = error {
        error.to_string()
    } else if matches!(error, pem::Error::NoItemsFound) {
        "it holds no unencrypted private key in PEM form".to_owned()
    } else {
        "it is not in PEM form".to_owned()
    }
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(|path| stamp(path).ok())
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let found = fs::metadata(path)?;
    Ok((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own, gone when dropped.
    struct Files(PathBuf);

    impl Files {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("dns64-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            let files = Self(path);
            files.renew();
            files
        }

        fn renew(&self) {
            let made = rcgen::generate_simple_self_signed(["dns.example".to_owned()]).unwrap();
            // As tools that renew certificates do it: the new file takes the old one's name.
            for (name, text) in [("cert", made.cert.pem()), ("key", made.signing_key.serialize_pem())] {
                self.replace(name, &text);
            }
        }

        fn replace(&self, name: &str, text: &str) {
            fs::write(self.0.join("new"), text).unwrap();
            fs::rename(self.0.join("new"), self.path(name)).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn load(&self) -> Result<Certificate, Error> {
            Certificate::load(&self.path("cert"), &self.path("key"))
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _gone = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn changed_files_are_read_again_and_unchanged_ones_are_not() {
        let files = Files::new("changed");
        let certificate = files.load().unwrap();
        let first = certificate.current.load_full();
        certificate.reload_if_changed();
        assert!(Arc::ptr_eq(&first, &certificate.current.load_full()));
        files.renew();
        certificate.reload_if_changed();
        assert_ne!(certificate.current.load_full().cert, first.cert);
    }

    #[test]
    fn bad_files_leave_the_old_certificate_in_use_and_good_ones_after_them_do_not() {
        let files = Files::new("bad");
        let certificate = files.load().unwrap();
        let first = certificate.current.load_full();
        files.replace("cert", "no certificate");
        certificate.reload_if_changed();
        assert!(Arc::ptr_eq(&first, &certificate.current.load_full()));
        files.renew();
        certificate.reload_if_changed();
        assert_ne!(certificate.current.load_full().cert, first.cert);
    }

    #[test]
    fn what_is_wrong_with_files_is_said_with_their_names() {
        let files = Files::new("wrong");
        let other = Files::new("other");
        let said = |certificate: &Path, key: &Path| check(certificate, key).unwrap_err().to_string();
        let (certificate, key) = (files.path("cert"), files.path("key"));
        assert!(check(&certificate, &key).is_ok());
        assert!(said(&files.path("none"), &key).contains("none: No such file"));
        assert!(said(&key, &key).contains("key: it holds no certificate"));
        assert!(said(&certificate, &certificate).contains("cert: it holds no unencrypted private key"));
        assert!(said(&certificate, &other.path("key")).contains("it is not the key of the certificate in"));
    }
}
