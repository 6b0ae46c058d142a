//! Lists, page by page.

use std::sync::Arc;

use futures::stream;
use futures::{StreamExt, TryStreamExt};
use gcloud_storage::http::objects::list::ListObjectsRequest;

use super::client::{Client, NORMAL};
use super::read;
use crate::{Error, Key, Object, Objects};

/// The most objects of a page, which is also what the server takes for a page by itself.
const PAGE: i32 = 1000;

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
    let request = ListObjectsRequest {
        bucket: client.bucket.clone(),
        prefix: Some(format!("{}/", client.path(prefix)?)),
        max_results: Some(PAGE),
        page_token: match at {
            Page::First => None,
            Page::After(token) => Some(token),
        },
        ..Default::default()
    };
    // Of a list, only the bucket can be missing.
    let listed = client.send(None, NORMAL, || client.sdk.list_objects(&request));
    let listed = listed.await.result?;
    let objects = listed.items.unwrap_or_default().into_iter();
    let objects = objects.filter_map(|object| {
        let key = key_of(client, &object.name)?;
        Some(read::object(key, &object))
    });
    let next = listed.next_page_token.filter(|token| !token.is_empty());
    Ok((objects.collect(), next.map(Page::After)))
}

/// The key of a name in the bucket; none for names that no key can have, which are not ours.
fn key_of(client: &Client, name: &str) -> Option<Key> {
    Key::parse(name.strip_prefix(client.prefix())?)
        .inspect_err(|error| tracing::warn!(%error, "a foreign object in the storage is left out"))
        .ok()
}
