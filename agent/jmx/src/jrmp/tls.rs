//! TLS as an [`Endpoint`] asks for it.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName as PkiName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::{Endpoint, Identity, ServerName, TlsSettings};
use crate::error::Error;

/// Settings that were understood: ready to connect any number of times.
#[derive(Clone)]
pub(crate) struct Connector {
    connector: TlsConnector,
    name: PkiName<'static>,
}

impl Connector {
    pub fn new(endpoint: &Endpoint, settings: &TlsSettings) -> Result<Self, Error> {
        Self::build(&endpoint.host, settings).map_err(|problem| Error::Tls {
            address: endpoint.address(),
            problem,
        })
    }

    fn build(host: &str, settings: &TlsSettings) -> Result<Self, String> {
        let roots = Arc::new(roots(&settings.authorities)?);
        // Named here, so that the program need not install a default provider.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match settings.server_name {
            ServerName::AnyOfAuthority => {
                let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                    .build()
                    .map_err(|error| format!("the authorities cannot be used: {error}"))?;
                let verifier = AnyNameVerifier { inner, provider };
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
            }
            ServerName::Host | ServerName::Name(_) => builder.with_root_certificates(roots),
        };
        let config = match &settings.identity {
            Some(identity) => {
                let (chain, key) = parse_identity(identity)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    format!("the client certificate and its key cannot be used: {error}")
                })?
            }
            None => builder.with_no_client_auth(),
        };
        let name = match &settings.server_name {
            ServerName::Name(name) => name.as_str(),
            ServerName::Host | ServerName::AnyOfAuthority => host,
        };
        let name = PkiName::try_from(name.to_owned())
            .map_err(|_| format!("{name:?} is neither a DNS name nor an IP address"))?;
        Ok(Connector {
            connector: TlsConnector::from(Arc::new(config)),
            name,
        })
    }

    pub async fn connect(&self, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), tcp).await
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| format!("the authorities are not PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("an authority cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("no certificate is among the authorities".to_owned());
    }
    Ok(roots)
}

fn parse_identity(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = CertificateDer::pem_slice_iter(&identity.certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the client certificate is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("the client certificate's PEM has no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(&identity.key)
        .map_err(|error| format!("the client's private key is not PEM: {error}"))?;
    Ok((chain, key))
}

/// What to say about a failed handshake, or about an error on an established session that comes
/// from TLS; `None` for errors of the network.
pub(crate) fn problem_of(error: &std::io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<TlsError>()?;
    let hint = match inner {
        TlsError::InvalidMessage(_) => "; does this port speak TLS at all?",
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "; name the host that the certificate was made for, or trust any of the authority",
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; the server's certificate is not from the given authorities"
        }
        TlsError::AlertReceived(_) => {
            "; the server refused, often for want of a client certificate that it trusts"
        }
        _ => "",
    };
    Some(format!("{inner}{hint}"))
}

/// Checks the chain as usual and leaves out the name.
#[derive(Debug)]
struct AnyNameVerifier {
    inner: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyNameVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &PkiName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // The name is compared last, when the chain has been found good.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
