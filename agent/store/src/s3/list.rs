//! Lists, page by page.

use std::sync::Arc;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;

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

/// What stands right below the storage's prefix.
pub(super) async fn folders(client: &Client, limit: usize) -> Result<Vec<String>, Error> {
    bucket::folders(client.prefix(), limit, |at| async move {
        let request = client.sdk.list_objects_v2().bucket(&client.bucket);
        let request = request.prefix(client.prefix()).delimiter("/");
        let (listed, next) = ask(client, None, request, at).await?;
        let names = listed.common_prefixes().iter();
        let names = names.filter_map(|folder| folder.prefix().map(str::to_owned));
        Ok((names.collect(), next))
    })
    .await
}

async fn page(
    client: &Client,
    prefix: &Key,
    at: Page,
) -> Result<(Vec<Object>, Option<Page>), Error> {
    let request = client.sdk.list_objects_v2().bucket(&client.bucket);
    let request = request.prefix(format!("{}/", client.path(prefix)?));
    let (listed, next) = ask(client, Some(prefix), request, at).await?;
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
    Ok((objects, next))
}

/// One page of a list, and where it goes on.
async fn ask(
    client: &Client,
    prefix: Option<&Key>,
    request: ListObjectsV2FluentBuilder,
    at: Page,
) -> Result<(ListObjectsV2Output, Option<Page>), Error> {
    let token = match at {
        Page::First => None,
        Page::After(token) => Some(token),
    };
    let listed = request.set_continuation_token(token).send().await;
    let listed = listed.map_err(|e| client.failed(prefix, e))?;
    let next = match (listed.is_truncated(), listed.next_continuation_token()) {
        (Some(true), Some(token)) => Some(Page::After(token.to_owned())),
        (Some(true), None) => {
            let reason = "the server cut a list short and does not say where it goes on".to_owned();
            return Err(Error::Corrupt {
                at: client.at(prefix),
                reason,
            });
        }
        _ => None,
    };
    Ok((listed, next))
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
