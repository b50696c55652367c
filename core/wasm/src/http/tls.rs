//! How an endpoint proves who it is.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The most certificates in a setting.
const CERTIFICATES_MAX: usize = 64;
/// The most fingerprints in a setting: the one of now, and those of certificates to come.
const FINGERPRINTS_MAX: usize = 8;

/// SHA-256 of a certificate.
type Fingerprint = [u8; 32];

/// The proof that an operator demands of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A certificate that an authority of this machine has signed for its name.
    System,
    /// A certificate that one of these authorities has signed for its name.
    Authorities(Vec<CertificateDer<'static>>),
    /// One of these certificates, whatever it says.
    Certificates(Vec<Fingerprint>),
}

impl Proof {
    /// Reads fingerprints, with commas between.
    ///
    /// # Errors
    /// The text says what is wrong, for people.
    pub(crate) fn certificates(text: &str) -> Result<Self, String> {
        let prints: Option<Vec<Fingerprint>> =
            text.split(',').take(FINGERPRINTS_MAX + 1).map(read_fingerprint).collect();
        match prints {
            Some(prints) if prints.len() <= FINGERPRINTS_MAX => Ok(Self::Certificates(prints)),
            _ => Err(format!(
                "it must be the SHA-256 of a certificate in hexadecimal, or up to \
                 {FINGERPRINTS_MAX} of them with commas between"
            )),
        }
    }

    /// Reads the certificates of authorities, as PEM.
    ///
    /// # Errors
    /// The text says what is wrong, for people.
    pub(crate) fn authorities(text: &str) -> Result<Self, String> {
        let read = CertificateDer::pem_slice_iter(text.as_bytes()).take(CERTIFICATES_MAX + 1);
        match read.collect::<Result<Vec<_>, _>>() {
            Ok(found) if (1..=CERTIFICATES_MAX).contains(&found.len()) => {
                Ok(Self::Authorities(found))
            }
            Ok(_) => Err(format!("it must hold 1 to {CERTIFICATES_MAX} certificates as PEM")),
            Err(error) => Err(format!("it must hold certificates as PEM: {error}")),
        }
    }

    /// The settings of a connection to a server that must prove itself so. `system`: the
    /// authorities of this machine.
    ///
    /// # Errors
    /// An authority is no certificate.
    pub(crate) fn config(
        &self,
        system: &Arc<RootCertStore>,
    ) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Self::System => authorities(Arc::clone(system), provider)?,
            Self::Authorities(own) => {
                let mut roots = RootCertStore::empty();
                own.iter().try_for_each(|one| roots.add(one.clone()))?;
                authorities(Arc::new(roots), provider)?
            }
            Self::Certificates(prints) => Arc::new(Pinned { prints: prints.clone(), provider }),
        };
        let dangerous = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = dangerous.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn authorities(
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    let verifier = built.map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(verifier)
}

/// The authorities of this machine. Reads files.
pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("a certificate authority of this machine cannot be read: {error}");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Reads a fingerprint as browsers and `openssl x509 -fingerprint -sha256` print it.
fn read_fingerprint(text: &str) -> Option<Fingerprint> {
    let digits: Vec<u8> = text.trim().bytes().filter(|byte| *byte != b':').collect();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut print = Fingerprint::default();
    for (byte, pair) in print.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(print)
}

/// Accepts certificates by their fingerprint. The server still proves that it has their key.
#[derive(Debug)]
struct Pinned {
    prints: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found: Fingerprint = Sha256::digest(certificate).into();
        if self.prints.contains(&found) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_printed() {
        let plain = "0a".repeat(32);
        let colons = ["0A"; 32].join(":");
        for text in [plain.clone(), colons.clone(), format!(" {colons} ")] {
            assert_eq!(
                Proof::certificates(&text),
                Ok(Proof::Certificates(vec![[10; 32]])),
                "{text}"
            );
        }
        let two = format!("{plain}, {colons}");
        assert_eq!(Proof::certificates(&two), Ok(Proof::Certificates(vec![[10; 32]; 2])));
        let many = [plain.as_str(); FINGERPRINTS_MAX + 1].join(",");
        for text in ["", "0a", &plain[1..], &plain.replace('0', "g"), &many] {
            Proof::certificates(text).expect_err(text);
        }
    }

    #[test]
    fn authorities_are_certificates() {
        for text in
            ["", "/etc/ssl/ca.pem", "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----"]
        {
            Proof::authorities(text).expect_err(text);
        }
    }
}
