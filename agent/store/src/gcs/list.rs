//! Lists, page by page.

use std::sync::Arc;

use gcloud_storage::http::objects::list::ListObjectsRequest;

use super::client::{Client, NORMAL};
use super::read;
use crate::bucket::{self, Page};
use crate::{Error, Key, Object, Objects};

/// The most objects of a page, which is also what the server takes for a page by itself.
const PAGE: i32 = 1000;

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
        let key = bucket::key_of(client.prefix(), &object.name)?;
        Some(read::object(key, &object))
    });
    let next = listed.next_page_token.filter(|token| !token.is_empty());
    Ok((objects.collect(), next.map(Page::After)))
}
