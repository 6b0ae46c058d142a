//! Lists, page by page.

use std::sync::Arc;

use futures::stream;
use futures::{StreamExt, TryStreamExt};

use super::client::{Client, brief};
use super::read::{size, time};
use crate::{Error, Key, Object, Objects};

/// Where a list goes on.
enum Page {
    First,
    After(String),
}

/// The objects below `prefix`.
pub(super) fn list(client: Arc<Client>, prefix: Key) -> Objects {
    stream::try_unfold(Some(Page::First), move |at| {
        let (client, prefix) = (Arc::clone(&client), prefix.clone());
        async move {
            match at {
                Some(at) => page(&client, &prefix, at).await.map(Some),
                None => Ok(None),
            }
        }
    })
    .map_ok(|objects| stream::iter(objects).map(Ok))
    .try_flatten()
    .boxed()
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
            let key = key_of(client, object.key()?)?;
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

/// The key of a name in the bucket; none for names that no key can have, which are not ours.
fn key_of(client: &Client, name: &str) -> Option<Key> {
    Key::parse(name.strip_prefix(client.prefix())?)
        .inspect_err(|error| tracing::warn!(%error, "a foreign object in the storage is left out"))
        .ok()
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
