//! Until when the certificates that this exporter shows to others are in force.

use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// The PEM text of a certificate as it is now; nothing where it cannot be read.
type Read = Box<dyn Fn() -> Option<Vec<u8>> + Send + Sync>;

/// Certificates by what they are for, one of [`super::catalogue::CERTIFICATES`].
#[derive(Default)]
pub struct Certificates(Vec<(&'static str, Read)>);

impl Certificates {
    /// Adds one. It is read with each scrape: certificates are renewed in place.
    pub fn add(&mut self, name: &'static str, read: impl Fn() -> Option<Vec<u8>> + Send + Sync + 'static) {
        self.0.push((name, Box::new(read)));
    }

    /// In seconds since 1970, when the first of each chain runs out.
    pub(super) fn expirations(&self) -> Vec<(&'static str, u64)> {
        self.0.iter().filter_map(|(name, read)| Some((*name, expiration(&read()?)?))).collect()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

fn expiration(pem: &[u8]) -> Option<u64> {
    let chain = CertificateDer::pem_slice_iter(pem).map(|der| {
        let certificate = Certificate::from_der(&der.ok()?).ok()?;
        Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
    });
    // Where one cannot be read, nothing is known of the chain.
    chain.collect::<Option<Vec<u64>>>()?.into_iter().min()
}
