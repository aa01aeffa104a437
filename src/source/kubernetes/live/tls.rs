//! TLS as rustls wants it said, from PEM.

use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::settings::Tls;
use crate::source::etcd::settings::{Identity, Pem};

/// HTTP/2 before HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a session is made with. `identity` is a certificate that a program gave, which is stronger than a written one.
///
/// # Errors
/// A certificate or key cannot be used; the text names it.
pub(super) fn config(tls: &Tls, identity: Option<&Identity>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if tls.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TakesAny(provider)))
    } else {
        let roots = Arc::new(roots(tls.ca.as_ref())?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| format!("{}: {error}", said(tls.ca.as_ref())))?;
        builder.with_webpki_verifier(verifier)
    };
    let mut config = match identity.or(tls.identity.as_ref()) {
        None => builder.with_no_client_auth(),
        Some(Identity { cert, key }) => {
            let chain = certificates(cert)?;
            let pem = key.read().map_err(|error| error.to_string())?;
            let key = PrivateKeyDer::from_pem_slice(&pem)
                .map_err(|_| format!("{}: no private key in it that can be used", said(Some(key))))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("{}: {error}", said(Some(cert))))?
        }
    };
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}

/// What to call a PEM in a message.
fn said(pem: Option<&Pem>) -> String {
    match pem {
        None => "the system's authorities".to_owned(),
        Some(Pem::Inline(_)) => "the certificate or key given inline".to_owned(),
        Some(Pem::File { path, .. }) => path.display().to_string(),
    }
}

fn roots(ca: Option<&Pem>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in certificates(pem)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", said(ca)))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    match roots.is_empty() {
        false => Ok(roots),
        true => Err(format!("{}: there is no certificate; name the cluster's CA", said(ca))),
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = pem.read().map_err(|error| error.to_string())?;
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{}: no certificate that can be used", said(Some(pem))))
}

/// For `insecure-skip-tls-verify`: whoever asks for it has been told by its name.
#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
