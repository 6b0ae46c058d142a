//! Ends incomplete multipart uploads, whose parts are paid for until somebody does.

use std::time::SystemTime;

use super::client::Client;
use super::error::answer;
use super::read::time;
use crate::bucket;
use crate::{Error, Key, Named};

/// Ends those of `prefix` itself and below it that began before `before`.
///
/// MinIO lists the uploads of one key only, which has to be named whole; it ends those of all keys
/// by itself after a day.
pub(super) async fn sweep(
    client: &Client,
    prefix: &Key,
    before: SystemTime,
    named: &Named<'_>,
) -> Result<u64, Error> {
    let path = client.path(prefix)?;
    let failed = |error| client.failed(Some(prefix), error);
    let (mut key_marker, mut id_marker) = (None, None);
    let mut ended = 0;
    loop {
        let request = client.sdk.list_multipart_uploads().bucket(&client.bucket);
        let listed = request
            .prefix(&path)
            .set_key_marker(key_marker)
            .set_upload_id_marker(id_marker)
            .send()
            .await
            .map_err(failed)?;
        for upload in listed.uploads() {
            let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else {
                continue;
            };
            let is_below = key
                .strip_prefix(&path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let is_named = bucket::key_of(client.prefix(), key).is_some_and(|key| named(&key));
            if !is_below || is_named || time(upload.initiated()) >= before {
                continue;
            }
            let request = client.sdk.abort_multipart_upload().bucket(&client.bucket);
            match request.key(key).upload_id(id).send().await {
                Ok(_) => ended += 1,
                // Completed or ended by now.
                Err(error) if answer(&error).is_some_and(|it| it.is_unknown_upload()) => {}
                Err(error) => return Err(client.failed(Some(prefix), error)),
            }
        }
        if listed.is_truncated() != Some(true) {
            return Ok(ended);
        }
        let next = (listed.next_key_marker, listed.next_upload_id_marker);
        if next.0.is_none() {
            return Ok(ended);
        }
        (key_marker, id_marker) = next;
    }
}
