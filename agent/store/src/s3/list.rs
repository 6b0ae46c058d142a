//! Lists, page by page.

use std::sync::Arc;

use super::client::{Client, brief};
use super::read::{size, time};
use crate::bucket::{self, Page};
use crate::{Error, Key, Object, Objects};

/// The objects below `prefix`.
pub(super) fn list(client: Arc<Client>, prefix: Key) -> Objects {
    bucket::pages(client, prefix, |client, prefix, at| async move {
        page(&client, &prefix, at).await
    })
}

async fn page(
    client: &Client,
    prefix: &Key,
    at: Page,
) -> Result<(Vec<Object>, Option<Page>), Error> {
    let token = match at {
        Page::First => None,
        Page::After(token) => Some(token),
    };
    let listed = client
        .sdk
        .list_objects_v2()
        .bucket(&client.bucket)
        .prefix(format!("{}/", client.path(prefix)?))
        .set_continuation_token(token)
        .send()
        .await
        .map_err(|e| client.failed(Some(prefix), e))?;
    let objects = listed
        .contents()
        .iter()
        .filter_map(|object| {
            let key = bucket::key_of(client.prefix(), object.key()?)?;
            Some(Object {
                key,
                size: size(object.size()),
                modified: time(object.last_modified()),
            })
        })
        .collect();
    let next = match (listed.is_truncated(), listed.next_continuation_token) {
        (Some(true), Some(token)) => Some(Page::After(token)),
        (Some(true), None) => {
            let reason = "the server cut a list short and does not say where it goes on".to_owned();
            return Err(Error::Corrupt {
                at: client.at(Some(prefix)),
                reason,
            });
        }
        _ => None,
    };
    Ok((objects, next))
}

/// Makes sure that the bucket is there and that we may list what is ours.
pub(super) async fn reach(client: &Client) -> Result<(), Error> {
    let request = client
        .sdk
        .list_objects_v2()
        .bucket(&client.bucket)
        .max_keys(1);
    let request = request
        .prefix(client.prefix())
        .customize()
        .config_override(brief());
    match request.send().await {
        Ok(_) => Ok(()),
        Err(error) => Err(client.failed(None, error)),
    }
}
