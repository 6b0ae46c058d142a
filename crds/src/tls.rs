//! Certificates, and whom to trust.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::exactly_one;

/// A Secret or ConfigMap with certificates in PEM.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = exactly_one(&["secretName", "configMapName"], "name exactly one of secretName and configMapName"))]
#[serde(rename_all = "camelCase")]
pub struct CaCertificateSource {
    /// Name of a Secret in the namespace of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// Name of a ConfigMap in the namespace of the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub config_map_name: Option<String>,
    /// Key of it.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".into()
}

/// How to trust Cassandra's JMX, and how to be trusted by it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JmxTlsSettings {
    /// Certificate authorities in PEM; no others are trusted. A certificate that signed itself is
    /// its own.
    pub ca_certificate: CaCertificateSource,
    /// Where JMX asks for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificateSource>,
    /// The name that Cassandra's certificate must bear. By default any certificate of the
    /// authorities will do, since none is made for loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// The registry is plain and only the connector behind it speaks TLS, as with the JVM's own
    /// agent without `com.sun.management.jmxremote.registry.ssl`.
    #[serde(default)]
    pub plain_registry: bool,
}

/// A certificate with its private key.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificateSource {
    /// Name of a Secret in this namespace with the keys `tls.crt` and `tls.key`.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}
