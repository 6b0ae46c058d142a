//! Lists, page by page.

use std::sync::Arc;

use gcloud_storage::http::objects::list::{ListObjectsRequest, ListObjectsResponse};

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

/// What stands right below the storage's prefix.
pub(super) async fn folders(client: &Client, limit: usize) -> Result<Vec<String>, Error> {
    bucket::folders(client.prefix(), limit, |at| async move {
        let below = client.prefix().to_owned();
        let (listed, next) = ask(client, below, Some("/"), at).await?;
        Ok((listed.prefixes.unwrap_or_default(), next))
    })
    .await
}

async fn page(
    client: &Client,
    prefix: &Key,
    at: Page,
) -> Result<(Vec<Object>, Option<Page>), Error> {
    let below = format!("{}/", client.path(prefix)?);
    let (listed, next) = ask(client, below, None, at).await?;
    let objects = listed.items.unwrap_or_default().into_iter();
    let objects = objects.filter_map(|object| {
        let key = bucket::key_of(client.prefix(), &object.name)?;
        Some(read::object(key, &object))
    });
    Ok((objects.collect(), next))
}

/// One page of a list, and where it goes on.
async fn ask(
    client: &Client,
    prefix: String,
    delimiter: Option<&str>,
    at: Page,
) -> Result<(ListObjectsResponse, Option<Page>), Error> {
    let request = ListObjectsRequest {
        bucket: client.bucket.clone(),
        prefix: Some(prefix),
        delimiter: delimiter.map(str::to_owned),
        max_results: Some(PAGE),
        page_token: match at {
            Page::First => None,
            Page::After(token) => Some(token),
        },
        ..Default::default()
    };
    // Of a list, only the bucket can be missing.
    let listed = client.send(None, NORMAL, || client.sdk.list_objects(&request));
    let mut listed = listed.await.result?;
    let next = listed.next_page_token.take();
    let next = next.filter(|token| !token.is_empty());
    Ok((listed, next.map(Page::After)))
}
