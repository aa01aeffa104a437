//! Which clients' certificates are accepted: Go's `ClientAuthType`, and exporter-toolkit's `client_allowed_sans`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::settings::Client;

/// Judges a client's certificate.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    required: bool,
    /// Whether a chain leads to an authority; where any certificate will do, nothing.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    /// The authorities themselves. A client may show one of them: Go takes a self-signed certificate that is trusted,
    /// webpki calls it an authority's.
    trusted: Vec<CertificateDer<'static>>,
    sans: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// `ca` is the PEM text of the authorities, where the settings name some.
    pub(super) fn new(
        client: &Client,
        ca: Option<&[u8]>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ClientVerifier, String> {
        let mut trusted = Vec::new();
        let chain = if client.verified {
            trusted = match ca {
                Some(pem) => authorities(pem).map_err(|error| format!("client_ca_file: {error}"))?,
                // As Go does, without authorities of one's own: those that the host trusts.
                None => rustls_native_certs::load_native_certs().certs,
            };
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(trusted.iter().cloned());
            if added == 0 {
                return Err(
                    "client_ca_file: no authority that clients' certificates could be checked against".to_owned()
                );
            }
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            // A host's own authorities are too many to tell each client.
            let builder = if ca.is_none() { builder.clear_root_hint_subjects() } else { builder };
            Some(builder.build().map_err(|error| format!("client_ca_file: {error}"))?)
        } else {
            None
        };
        Ok(ClientVerifier {
            // Somebody who shows nothing shows no allowed name.
            required: client.required || client.sans.is_some(),
            chain,
            trusted,
            sans: client.sans.clone(),
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate in it".to_owned()),
        other => other.map_err(|error| error.to_string()),
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            if self.trusted.contains(end_entity) {
                is_in_force(end_entity, now)?;
            } else {
                chain.verify_client_cert(end_entity, intermediates, now)?;
            }
        }
        if let Some(allowed) = &self.sans {
            let names = names(&parse(end_entity)?)?;
            if !names.iter().any(|name| allowed.contains(name)) {
                let text = format!("none of the client's names is allowed: {}", names.join(", "));
                let error = OtherError(Arc::new(std::io::Error::other(text)));
                return Err(Error::InvalidCertificate(CertificateError::Other(error)));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse(der: &[u8]) -> Result<Certificate, Error> {
    Certificate::from_der(der).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}

fn is_in_force(der: &[u8], now: UnixTime) -> Result<(), Error> {
    let certificate = parse(der)?;
    let validity = certificate.tbs_certificate().validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

/// The names that a certificate is for, written as Go writes them.
fn names(certificate: &Certificate) -> Result<Vec<String>, Error> {
    let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let Some((_, SubjectAltName(names))) = certificate.tbs_certificate().get_extension().map_err(bad)? else {
        return Ok(Vec::new());
    };
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) | GeneralName::UniformResourceIdentifier(name) => {
            Some(name.as_str().to_owned())
        }
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()).map(|address| address.to_canonical().to_string()),
        _ => None,
    };
    Ok(names.iter().filter_map(text).collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).into())
}
