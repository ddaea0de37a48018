//! Certificates made for a test, and clients that trust them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use dns64::CertificateFiles;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What the certificates are for.
pub(crate) const NAME: &str = "dns.example";

/// A certificate and its key in files of its own, gone when dropped.
pub(crate) struct Identity(PathBuf);

impl Identity {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("dns64-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let identity = Self(directory);
        identity.renew();
        identity
    }

    /// Another certificate for the same name, with another key.
    pub(crate) fn renew(&self) {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        std::fs::write(self.certificate(), made.cert.pem()).unwrap();
        std::fs::write(self.key(), made.signing_key.serialize_pem()).unwrap();
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    pub(crate) fn files(&self) -> CertificateFiles {
        CertificateFiles { certificate: self.certificate(), key: self.key() }
    }

    /// A server's way to speak TLS with it.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor_of(b"dot")
    }

    /// The same, for this protocol over it.
    pub(crate) fn acceptor_of(&self, protocol: &[u8]) -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_file(self.certificate()).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.key()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config).into()
    }

    /// A client's way to speak TLS that trusts nothing but this certificate.
    pub(crate) fn client(&self, protocol: &[u8]) -> TlsConnector {
        client_trusting(&self.certificate(), protocol)
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn client_trusting(certificate: &Path, protocol: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config).into()
}

/// A secured connection, if the server and its certificate let there be one.
pub(crate) async fn connect(server: SocketAddr, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server).await?;
    client.connect(ServerName::try_from(NAME).unwrap(), stream).await
}

/// What a server says to one request over HTTP.
pub(crate) struct Said {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A request's answer over HTTP/2 or HTTP/1.1, on a connection of its own.
pub(crate) async fn request(
    server: SocketAddr,
    identity: &Identity,
    is_http2: bool,
    request: Request<Full<Bytes>>,
) -> Said {
    let protocol: &[u8] = if is_http2 { b"h2" } else { b"http/1.1" };
    let stream = TokioIo::new(connect(server, &identity.client(protocol)).await.unwrap());
    let response = if is_http2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (head, body) = response.into_parts();
    Said { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
}
