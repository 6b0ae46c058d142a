use std::path::PathBuf;

use clap::Args;
use protocol::{CqlAccess, JmxAccess, Password, Secret};

use super::jmx::JmxTlsFlags;

/// How Cassandra is reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cassandra")]
pub(super) struct CassandraFlags {
    /// Host of Cassandra's JMX
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    jmx_host: String,
    /// Port of Cassandra's JMX
    #[arg(long, value_name = "PORT", default_value_t = 7199)]
    jmx_port: u16,
    /// User, where JMX asks for one
    #[arg(long, value_name = "USER", requires = "jmx_password_file")]
    jmx_user: Option<String>,
    /// File with the password of that user
    #[arg(long, value_name = "FILE", requires = "jmx_user")]
    jmx_password_file: Option<PathBuf>,
    #[command(flatten)]
    jmx_tls: JmxTlsFlags,
    /// Host of Cassandra's CQL, for the schema [default: loopback, then the node's addresses]
    #[arg(long, value_name = "HOST")]
    cql_host: Option<String>,
    /// Port of Cassandra's CQL
    #[arg(long, value_name = "PORT", default_value_t = 9042)]
    cql_port: u16,
    /// User, where CQL asks for one
    #[arg(long, value_name = "USER", requires = "cql_password_file")]
    cql_user: Option<String>,
    /// File with the password of that user
    #[arg(long, value_name = "FILE", requires = "cql_user")]
    cql_password_file: Option<PathBuf>,
}

impl CassandraFlags {
    /// How to reach JMX.
    pub fn jmx(&self) -> Result<JmxAccess, String> {
        Ok(JmxAccess {
            host: self.jmx_host.clone(),
            port: self.jmx_port,
            credentials: password(&self.jmx_user, &self.jmx_password_file)?,
            tls: self.jmx_tls.settings()?,
        })
    }

    /// How to reach CQL.
    pub fn cql(&self) -> Result<CqlAccess, String> {
        Ok(CqlAccess {
            host: self.cql_host.clone(),
            port: self.cql_port,
            credentials: password(&self.cql_user, &self.cql_password_file)?,
        })
    }
}

/// Reads the password from its file, of which a last line end is no part.
fn password(user: &Option<String>, file: &Option<PathBuf>) -> Result<Option<Password>, String> {
    let (Some(user), Some(file)) = (user, file) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the password file {}: {error}", file.display()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(format!("the password file {} is empty", file.display()));
    }
    Ok(Some(Password {
        username: user.clone(),
        password: Secret::new(text),
    }))
}
