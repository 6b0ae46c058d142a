//! Cassandra's JMX and native protocol.

use crds::{JmxSettings, JmxTlsSettings, PasswordSource};
use protocol::{ClientCertificate, JmxAccess, JmxTls, Password, Secret};

use super::AccessError;
use super::secrets::{Held, certificate};
use crate::cluster::Cluster;

/// Cassandra's JMX, with what it asks for.
pub(crate) async fn jmx(
    cluster: &dyn Cluster,
    namespace: &str,
    settings: &JmxSettings,
) -> Result<JmxAccess, AccessError> {
    let tls = match &settings.tls {
        None => None,
        Some(tls) => Some(self::tls(cluster, namespace, tls).await?),
    };
    let default = JmxAccess::default();
    Ok(JmxAccess {
        // The schema allows no other numbers than those of ports.
        port: u16::try_from(settings.port).unwrap_or(default.port),
        credentials: password(cluster, namespace, settings.credentials.as_ref()).await?,
        tls,
        ..default
    })
}

async fn tls(
    cluster: &dyn Cluster,
    namespace: &str,
    settings: &JmxTlsSettings,
) -> Result<JmxTls, AccessError> {
    let client = match &settings.client_certificate {
        None => None,
        Some(source) => {
            let secret = Held::read(cluster, namespace, &source.secret_name).await?;
            Some(ClientCertificate {
                certificate_pem: secret.text("tls.crt")?,
                key_pem: Secret::new(secret.text("tls.key")?),
            })
        }
    };
    Ok(JmxTls {
        ca_pem: certificate(cluster, namespace, &settings.ca_certificate).await?,
        client,
        server_name: settings.server_name.clone(),
        plain_registry: settings.plain_registry,
    })
}

/// A user name with its password.
pub(crate) async fn password(
    cluster: &dyn Cluster,
    namespace: &str,
    source: Option<&PasswordSource>,
) -> Result<Option<Password>, AccessError> {
    let Some(source) = source else {
        return Ok(None);
    };
    let secret = Held::read(cluster, namespace, &source.secret_name).await?;
    Ok(Some(Password {
        username: secret.text(&source.keys.username)?,
        password: Secret::new(secret.text(&source.keys.password)?),
    }))
}
