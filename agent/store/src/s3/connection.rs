//! How the SDK reaches servers: whom it trusts, and through which proxy it goes.

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::tls;

/// The way to the storage: by the proxy that the environment names, if it names one. By itself the
/// SDK takes none.
pub(super) fn to_storage(trust: TlsContext) -> SharedHttpClient {
    client(trust, ProxyConfig::from_env())
}

/// The way to whom the SDK asks for credentials. By plain HTTP these are services of the machine at
/// link-local addresses (EC2's metadata, the agents of EKS and ECS), which no proxy reaches.
pub(super) fn to_identities(trust: TlsContext) -> SharedHttpClient {
    let variable = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| std::env::var(name).ok());
        values.find(|value| !value.is_empty())
    };
    let proxy = variable(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
    let proxy = proxy.and_then(|url| ProxyConfig::https(url).ok());
    let except = variable(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
    client(
        trust,
        proxy.map_or_else(ProxyConfig::disabled, |proxy| proxy.no_proxy(except)),
    )
}

fn client(trust: TlsContext, proxy: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(trust.clone())
            .build()
    })
}

/// Whom to trust: the system's roots, where there are any, the bundled ones (the program also runs
/// where there is no `/etc/ssl`), and the user's own.
pub(super) fn trust(ca_pem: Option<&str>) -> Result<TlsContext, String> {
    let system = !rustls_native_certs::load_native_certs().certs.is_empty();
    let mut bundled = String::new();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        bundled.push_str("-----BEGIN CERTIFICATE-----\n");
        bundled.push_str(&aws_smithy_types::base64::encode(root));
        bundled.push_str("\n-----END CERTIFICATE-----\n");
    }
    let mut store = TrustStore::empty()
        .with_native_roots(system)
        .with_pem_certificate(bundled);
    if let Some(pem) = ca_pem {
        // The SDK's client panics on certificates that cannot be read.
        tls::certificates(pem)?;
        store = store.with_pem_certificate(pem);
    }
    TlsContext::builder()
        .with_trust_store(store)
        .build()
        .map_err(|error| error.to_string())
}
