//! What the bucket keeps of what is replaced or deleted.

use std::time::Duration;

use serde::Deserialize;

use super::client::{BRIEF, Client};
use super::config::GcsTouch;
use crate::{Error, Kept};

/// What the library leaves out: it was made before there was soft delete.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Bucket {
    versioning: Versioning,
    soft_delete_policy: SoftDelete,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Versioning {
    enabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SoftDelete {
    /// A number, which JSON has as text; none or 0 is off.
    retention_duration_seconds: Option<String>,
}

/// Asks for it, which needs `storage.buckets.get`.
pub(super) async fn kept(client: &Client) -> Result<Kept, Error> {
    let mut url = client.url(&[])?;
    url.set_query(Some("fields=versioning,softDeletePolicy"));
    let ask = || async {
        Ok::<_, super::error::Failure>(client.get(url.clone(), None).await?.bytes().await?)
    };
    let answer = client.send(None, BRIEF, ask).await.result?;
    let bucket = serde_json::from_slice(&answer).map_err(|error| Error::Corrupt {
        at: client.at(None),
        reason: format!("what the server says of the bucket cannot be read: {error}"),
    })?;
    Ok(of(&bucket, client.touch))
}

fn of(bucket: &Bucket, touch: GcsTouch) -> Kept {
    // Only a rewrite replaces.
    let touched = touch == GcsTouch::Rewrite;
    if bucket.versioning.enabled {
        return Kept::Versions { touched };
    }
    let seconds = &bucket.soft_delete_policy.retention_duration_seconds;
    match seconds.as_deref().and_then(|text| text.parse().ok()) {
        None | Some(0) => Kept::Nothing,
        Some(seconds) => Kept::Deleted {
            lasts: Duration::from_secs(seconds),
            touched,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_tells_its_versioning_and_soft_delete() {
        let week = |touched| Kept::Deleted {
            lasts: Duration::from_secs(7 * 24 * 3600),
            touched,
        };
        let nothing: fn(bool) -> Kept = |_| Kept::Nothing;
        let versions: fn(bool) -> Kept = |touched| Kept::Versions { touched };
        for (answer, expected) in [
            ("{}", nothing),
            (r#"{"versioning":{"enabled":false}}"#, nothing),
            (r#"{"versioning":{"enabled":true}}"#, versions),
            (
                r#"{"softDeletePolicy":{"retentionDurationSeconds":"0"}}"#,
                nothing,
            ),
            (
                r#"{"softDeletePolicy":{"retentionDurationSeconds":"604800","effectiveTime":"2026-11-01T00:00:00Z"}}"#,
                week,
            ),
            (
                r#"{"versioning":{"enabled":true},"softDeletePolicy":{"retentionDurationSeconds":"604800"}}"#,
                versions,
            ),
        ] {
            let bucket = serde_json::from_str(answer).unwrap();
            for (touch, touched) in [(GcsTouch::Rewrite, true), (GcsTouch::CustomTime, false)] {
                assert_eq!(of(&bucket, touch), expected(touched), "{answer}");
            }
        }
    }
}
