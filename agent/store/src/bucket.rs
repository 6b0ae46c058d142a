//! What the object stores have in common: names in a bucket, lists that come page by page, and
//! reads that have nothing to give.

use std::ops::Range;
use std::sync::Arc;

use futures::stream;
use futures::{StreamExt, TryStreamExt};

use crate::{At, Content, Error, Key, Object, Objects};

/// The longest name of an object in S3 and GCS, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// Where a list goes on.
pub(crate) enum Page {
    /// At its beginning.
    First,
    /// After what the server said at the end of the page before.
    After(String),
}

/// The objects of a list that `page` asks for, page by page.
pub(crate) fn pages<C, F, Fut>(client: Arc<C>, prefix: Key, page: F) -> Objects
where
    C: Send + Sync + 'static,
    F: Fn(Arc<C>, Key, Page) -> Fut + Send + Sync + Copy + 'static,
    Fut: Future<Output = Result<(Vec<Object>, Option<Page>), Error>> + Send + 'static,
{
    stream::try_unfold(Some(Page::First), move |at| {
        let (client, prefix) = (Arc::clone(&client), prefix.clone());
        async move {
            match at {
                Some(at) => page(client, prefix, at).await.map(Some),
                None => Ok(None),
            }
        }
    })
    .map_ok(|objects| stream::iter(objects).map(Ok))
    .try_flatten()
    .boxed()
}

/// The folders right below `prefix`, of which `page` gives the names in the bucket, page by page.
pub(crate) async fn folders<F, Fut>(
    prefix: &str,
    limit: usize,
    page: F,
) -> Result<Vec<String>, Error>
where
    F: Fn(Page) -> Fut,
    Fut: Future<Output = Result<(Vec<String>, Option<Page>), Error>>,
{
    let (mut folders, mut next) = (Vec::new(), Some(Page::First));
    while let Some(at) = next.filter(|_| folders.len() < limit) {
        let (names, after) = page(at).await?;
        folders.extend(names.iter().filter_map(|name| folder_of(prefix, name)));
        next = after;
    }
    folders.truncate(limit);
    Ok(folders)
}

fn folder_of(prefix: &str, name: &str) -> Option<String> {
    let folder = name.strip_prefix(prefix)?.strip_suffix('/')?;
    let key = Key::parse(folder).ok()?;
    (key.segments().count() == 1).then(|| folder.to_owned())
}

/// The key of a name below `prefix`; none for names that no key can have, which are not ours.
pub(crate) fn key_of(prefix: &str, name: &str) -> Option<Key> {
    Key::parse(name.strip_prefix(prefix)?)
        .inspect_err(|error| tracing::warn!(%error, "a foreign object in the storage is left out"))
        .ok()
}

/// The name of a key below `prefix`; `at` is where it would be.
pub(crate) fn name_of(prefix: &str, key: &Key, at: impl FnOnce() -> At) -> Result<String, Error> {
    let name = format!("{prefix}{key}");
    if name.len() > MAX_NAME_BYTES {
        let reason = format!("with its prefix the key has more than {MAX_NAME_BYTES} bytes");
        return Err(Error::Invalid { at: at(), reason });
    }
    Ok(name)
}

/// Why a prefix cannot be used, if it cannot.
pub(crate) fn prefix_fault(prefix: &str) -> Option<String> {
    if prefix.is_empty() {
        return None;
    }
    let error = Key::parse(prefix).err()?;
    Some(format!("the prefix cannot be used: {error}"))
}

/// Why a bucket, prefix and endpoint cannot be used, if they cannot.
pub(crate) fn fault(bucket: &str, prefix: &str, endpoint: Option<&str>) -> Option<String> {
    if bucket.is_empty() || bucket.contains('/') {
        return Some(format!("{bucket:?} is no name of a bucket"));
    }
    prefix_fault(prefix).or_else(|| endpoint_fault(endpoint?))
}

fn endpoint_fault(endpoint: &str) -> Option<String> {
    let host = endpoint
        .strip_prefix("https://")
        .or(endpoint.strip_prefix("http://"));
    let host = host.map(|host| host.strip_suffix('/').unwrap_or(host));
    let wrong = host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '@', ' ']));
    wrong.then(|| format!("the endpoint {endpoint:?} is not of the form https://host:port"))
}

/// The error where a server does not say how long an object is.
pub(crate) fn no_length(at: At) -> Error {
    let reason = "the server does not say how long it is".to_owned();
    Error::Corrupt { at, reason }
}

/// Makes sure that an object is not larger than the storage takes, `most` bytes.
pub(crate) fn fits(size: u64, most: u64, at: impl FnOnce() -> At) -> Result<(), Error> {
    if size <= most {
        return Ok(());
    }
    let reason = format!("{size} bytes are more than the {most} that an object can have there");
    Err(Error::Invalid { at: at(), reason })
}

/// The error where a server refuses what was signed at another time than its own.
pub(crate) fn wrong_clock(at: At, answer: &str) -> Error {
    let reason = format!(
        "this machine's clock and the server's are too far apart; set the time of the one that is \
         wrong (NTP): {answer}"
    );
    Error::Invalid { at, reason }
}

/// The answer where an object of `size` bytes has none of a range.
pub(crate) fn beyond_the_end(size: u64, range: Option<Range<u64>>) -> Content {
    let start = range.map_or(0, |range| range.start.min(size));
    Content {
        size,
        range: start..start,
        chunks: stream::empty().boxed(),
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::{
        AzureConfig, AzureCredentials, AzureStore, Credentials, GcsConfig, GcsCredentials,
        GcsStore, S3Config, S3Store, Source, Store,
    };

    /// Content that is not asked for.
    struct Unread;

    #[async_trait]
    impl Source for Unread {
        async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
            panic!("it was read")
        }

        async fn restart(&mut self) -> std::io::Result<()> {
            panic!("it was read again")
        }
    }

    #[tokio::test]
    async fn an_object_that_is_too_large_for_a_bucket_is_refused_before_its_first_byte() {
        const MIB: u64 = 1024 * 1024;
        // Nobody is there, so whatever is sent is another error.
        let nowhere = || Some("http://127.0.0.1:1".to_owned());
        let mut s3 = S3Config::new(
            "backups",
            Credentials::Explicit {
                access_key: "id".to_owned(),
                secret_key: "secret".to_owned(),
                session_token: None,
            },
        );
        s3.endpoint = nowhere();
        let mut gcs = GcsConfig::new("backups", GcsCredentials::Anonymous);
        gcs.endpoint = nowhere();
        let key = AzureCredentials::AccountKey("aHVzaA==".to_owned());
        let mut azure = AzureConfig::new("account", "backups", key);
        azure.endpoint = nowhere();
        let stores: [(Box<dyn Store>, u64); 3] = [
            (
                Box::new(S3Store::connect(s3).await.unwrap()),
                10_000 * 5 * 1024 * MIB,
            ),
            (
                Box::new(GcsStore::connect(gcs).await.unwrap()),
                5 * 1024 * 1024 * MIB,
            ),
            (
                Box::new(AzureStore::connect(azure).unwrap()),
                50_000 * 32 * MIB,
            ),
        ];
        for (store, most) in stores {
            let key = Key::parse("c/x").unwrap();
            let error = store.upload(&key, most + 1, &mut Unread).await;
            let error = error.unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
            assert!(
                error.to_string().contains(&(most + 1).to_string()),
                "{error}"
            );
            assert!(!error.is_temporary());
        }
    }
}
