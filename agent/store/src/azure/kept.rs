//! What the account keeps of what is replaced or deleted.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde::Deserialize;

use super::client::Client;
use super::error::no_answer;
use super::request::Request;
use crate::{Error, Kept};

/// What the account says of its blobs. Its versioning is told only where accounts are managed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Properties {
    delete_retention_policy: Option<Retention>,
}

/// Soft delete.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Retention {
    enabled: bool,
    days: Option<u64>,
}

impl Client {
    /// Takes a note of the answer to a write: where the account has versioning, it names one.
    pub fn wrote(&self, headers: &HeaderMap) {
        let _ = self.versions.set(headers.contains_key("x-ms-version-id"));
    }
}

/// Asks for it, which needs the account's key or the right to read its properties; none where
/// nothing was written that would show versions.
pub(super) async fn kept(client: &Client) -> Result<Option<Kept>, Error> {
    let versions = client.versions.get();
    if versions == Some(&true) {
        return Ok(Some(Kept::Versions { touched: true }));
    }
    let asked = Request::account(client, Method::GET).query("restype=service&comp=properties");
    let reply = asked.brief().send().await;
    let reply = reply.map_err(|failure| failure.meaning(client, None))?;
    let body = reply.bytes().await;
    let body = body.map_err(|error| no_answer(client, None, error))?;
    let lasts = parse(&body).map_err(|error| Error::Corrupt {
        at: client.at(None),
        reason: format!("what the server says of the account cannot be read: {error}"),
    })?;
    Ok(match (lasts, versions) {
        // New metadata, which a touch is, leaves no copy (Microsoft, "Soft delete for blobs").
        (Some(lasts), _) => Some(Kept::Deleted {
            lasts,
            touched: false,
        }),
        (None, Some(_)) => Some(Kept::Nothing),
        (None, None) => None,
    })
}

/// How long what is deleted stays.
fn parse(body: &[u8]) -> Result<Option<Duration>, quick_xml::DeError> {
    let text = String::from_utf8_lossy(body);
    let properties: Properties = quick_xml::de::from_str(text.trim_start_matches('\u{feff}'))?;
    let policy = properties.delete_retention_policy;
    Ok(policy.filter(|policy| policy.enabled).map(|policy| {
        let days = policy.days.unwrap_or_default();
        Duration::from_secs(days * 24 * 3600)
    }))
}

#[cfg(test)]
mod tests {
    use super::super::config::{AzureConfig, AzureCredentials};
    use super::*;

    #[test]
    fn an_account_tells_its_soft_delete() {
        let told = |policy: &str| {
            let body = format!(
                "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><StorageServiceProperties>\
                 <Cors />{policy}</StorageServiceProperties>"
            );
            parse(body.as_bytes()).unwrap()
        };
        let policy =
            |content: &str| format!("<DeleteRetentionPolicy>{content}</DeleteRetentionPolicy>");
        let week = Duration::from_secs(7 * 24 * 3600);
        let on = policy("<Enabled>true</Enabled><Days>7</Days>");
        assert_eq!(told(&on), Some(week));
        assert_eq!(told(&policy("<Enabled>false</Enabled>")), None);
        assert_eq!(told(""), None);
    }

    #[tokio::test]
    async fn a_version_in_the_answer_to_a_write_shows_versioning() {
        let key = AzureCredentials::AccountKey("aHVzaA==".to_owned());
        let client = Client::connect(AzureConfig::new("account", "backups", key)).unwrap();
        let mut headers = HeaderMap::new();
        let version = "2026-11-26T15:00:00.1234567Z".parse().unwrap();
        headers.insert("x-ms-version-id", version);
        client.wrote(&headers);
        // Nobody is asked.
        let versions = Kept::Versions { touched: true };
        assert_eq!(kept(&client).await.unwrap(), Some(versions));
    }
}
