//! Certificates and keys as they are on disk now, and what is spoken with them.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::client::ClientVerifier;
use super::settings::{Pem, TlsSettings};

/// What the settings name, read.
#[derive(PartialEq, Eq)]
pub(super) struct Material {
    pub(super) cert: Vec<u8>,
    key: Vec<u8>,
    ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
}

impl Material {
    /// # Errors
    ///
    /// The field, the file, and why it cannot be read.
    pub(super) fn read(settings: &TlsSettings) -> Result<Material, String> {
        let ca = settings.client.as_ref().and_then(|client| client.ca.as_ref());
        Ok(Material {
            cert: read("cert_file", &settings.cert)?,
            key: read("key_file", &settings.key)?,
            ca: ca.map(|pem| read("client_ca_file", pem)).transpose()?,
        })
    }

    /// # Errors
    ///
    /// What does not fit, without a word of a key.
    pub(super) fn server_config(&self, settings: &TlsSettings, http2: bool) -> Result<ServerConfig, String> {
        let at = |field: &str, pem: &Pem, what: &str| match pem {
            Pem::Inline(_) => format!("tls_server_config.{}: {what}", field.trim_end_matches("_file")),
            Pem::File(path) => format!("tls_server_config.{field}: {}: {what}", path.display()),
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|error| at("cert_file", &settings.cert, &in_words(&error)))?;
        if chain.is_empty() {
            return Err(at("cert_file", &settings.cert, "no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| at("key_file", &settings.key, &in_words(&error)))?;
        let provider = Arc::new(settings.provider.clone());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&settings.versions)
            .map_err(|_| "tls_server_config.cipher_suites: none of them is of a version that is spoken".to_owned())?;
        let builder = match &settings.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let verifier = ClientVerifier::new(client, self.ca.as_deref(), &provider)
                    .map_err(|error| format!("tls_server_config.{error}"))?;
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            at("key_file", &settings.key, &format!("the key cannot be used with the certificate: {error}"))
        })?;
        config.ignore_client_order = settings.prefer_server;
        config.alpn_protocols =
            if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        Ok(config)
    }
}

fn read(field: &str, pem: &Pem) -> Result<Vec<u8>, String> {
    match pem {
        Pem::Inline(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => {
            std::fs::read(path).map_err(|error| format!("tls_server_config.{field}: {}: {error}", path.display()))
        }
    }
}

/// The library's errors may quote a line of the file.
fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "no PEM block of the kind that is needed (-----BEGIN …) in it".to_owned(),
        _ => "damaged PEM text".to_owned(),
    }
}
