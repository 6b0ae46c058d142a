//! Renewing an object's time: the server rewrites it onto itself.

use gcloud_storage::http::objects::Object;
use gcloud_storage::http::objects::rewrite::RewriteObjectRequest;

use super::client::Client;
use super::put::CONTENT_TYPE;
use crate::{Error, Key};

/// Moves the time of an object to now. The size does not matter: within one bucket and class the
/// server copies no bytes, and where it does it says how far it came and is asked again.
pub(super) async fn touch(client: &Client, key: &Key, size: u64) -> Result<(), Error> {
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
