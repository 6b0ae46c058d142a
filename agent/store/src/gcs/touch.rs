//! Renewing an object's time: the server rewrites it onto itself, or its customTime is set.

use std::time::SystemTime;

use gcloud_storage::http::objects::Object;
use gcloud_storage::http::objects::patch::PatchObjectRequest;
use gcloud_storage::http::objects::rewrite::RewriteObjectRequest;

use super::client::Client;
use super::put::CONTENT_TYPE;
use super::read;
use crate::{Error, Key};

/// Moves the time of an object to now.
pub(super) async fn touch(client: &Client, key: &Key, size: u64) -> Result<(), Error> {
    match client.custom_time().await? {
        None => rewrite(client, key, size).await,
        Some(now) => set_custom_time(client, key, now).await,
    }
}

/// The server refuses to set it back, which is well where another node has set it to later.
async fn set_custom_time(client: &Client, key: &Key, now: SystemTime) -> Result<(), Error> {
    let request = PatchObjectRequest {
        bucket: client.bucket.clone(),
        object: client.path(key)?,
        metadata: Some(Object {
            custom_time: Some(now.into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let patched = client.send_to(key, || client.sdk.patch_object(&request));
    match patched.await {
        Err(refused @ Error::Refused { .. }) => {
            let later = read::stat(client, key).await?.modified >= now;
            if later { Ok(()) } else { Err(refused) }
        }
        patched => patched.map(|_| ()),
    }
}

/// The size does not matter: within one bucket and class the server copies no bytes, and where it
/// does it says how far it came and is asked again.
async fn rewrite(client: &Client, key: &Key, size: u64) -> Result<(), Error> {
    let path = client.path(key)?;
    // Without a class the server takes the bucket's, as it did when the object was uploaded.
    let kept = client.storage_class.clone().map(|class| Object {
        storage_class: Some(class),
        content_type: Some(CONTENT_TYPE.to_owned()),
        ..Default::default()
    });
    let mut request = RewriteObjectRequest {
        source_bucket: client.bucket.clone(),
        source_object: path.clone(),
        destination_bucket: client.bucket.clone(),
        destination_object: path,
        destination_metadata: kept,
        ..Default::default()
    };
    let mut rewritten = -1;
    loop {
        let step = client.send_to(key, || client.sdk.rewrite_object(&request));
        let step = step.await?;
        if step.done {
            return Ok(());
        }
        if step.rewrite_token.is_none() || step.total_bytes_rewritten <= rewritten {
            let reason = format!(
                "the server stopped copying it after {} of {size} bytes",
                step.total_bytes_rewritten
            );
            return Err(Error::Corrupt {
                at: client.at(Some(key)),
                reason,
            });
        }
        rewritten = step.total_bytes_rewritten;
        request.rewrite_token = step.rewrite_token;
    }
}
