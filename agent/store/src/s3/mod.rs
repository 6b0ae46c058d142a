//! S3: a bucket, of AWS or of a server that speaks its protocol.

mod body;
mod client;
mod config;
mod error;
mod list;
mod multipart;
mod put;
mod read;
mod stream;
mod sweep;
mod touch;
mod unsigned;

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use self::body::Body;
use self::client::{Client, Watch};
pub use self::config::{Credentials, Encryption, S3Config};
use crate::feed::Feed;
use crate::probe::FileSystem;
use crate::{Content, Error, Key, Named, Object, Objects, Outcome, Source, Store};

/// Objects in a bucket.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Arc<Client>,
}

impl S3Store {
    /// Checks `config` and finds the identity; sends no request to the bucket.
    pub async fn connect(config: S3Config) -> Result<Self, Error> {
        Ok(Self {
            client: Arc::new(Client::connect(config).await?),
        })
    }
}

#[async_trait]
impl Store for S3Store {
    fn name(&self) -> &str {
        &self.client.name
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        put::create(&self.client, key, Body::new(vec![body])).await
    }

    async fn upload(
        &self,
        key: &Key,
        size: u64,
        source: &mut dyn Source,
    ) -> Result<Outcome, Error> {
        let client = &self.client;
        if size <= client.in_memory {
            return put::upload(client, key, size, Feed::new(source, size)).await;
        }
        if size <= client.single_limit
            && let Some(outcome) = put::upload_streaming(client, key, size, source).await?
        {
            return Ok(outcome);
        }
        multipart::upload(client, key, size, source).await
    }

    async fn stat(&self, key: &Key) -> Result<Object, Error> {
        Ok(read::stat(&self.client, key).await?.object)
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Content, Error> {
        read::get(&self.client, key, range).await
    }

    fn list(&self, prefix: &Key) -> Objects {
        list::list(Arc::clone(&self.client), prefix.clone())
    }

    async fn touch(&self, key: &Key, size: u64) -> Result<(), Error> {
        touch::touch(&self.client, key, size).await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        let client = &self.client;
        let path = client.path(key)?;
        let request = client.sdk.delete_object().bucket(&client.bucket).key(path);
        match request
            .send()
            .await
            .map_err(|e| client.failed(Some(key), e))
        {
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn now(&self) -> Result<SystemTime, Error> {
        let watch = Watch::default();
        let request = self.client.sdk.head_bucket().bucket(&self.client.bucket);
        let answer = request.customize().interceptor(watch.clone()).send().await;
        // A refusal tells the time as well as an answer.
        match (watch.date(), answer) {
            (Some(now), _) => Ok(now),
            (None, Err(error)) => Err(self.client.failed(None, error)),
            (None, Ok(_)) => Err(Error::Corrupt {
                at: self.client.at(None),
                reason: "the server's answers have no Date, which is its clock".to_owned(),
            }),
        }
    }

    async fn reach(&self) -> Result<Option<FileSystem>, Error> {
        list::reach(&self.client).await?;
        Ok(None)
    }

    async fn sweep(
        &self,
        prefix: &Key,
        before: SystemTime,
        named: &Named<'_>,
    ) -> Result<u64, Error> {
        sweep::sweep(&self.client, prefix, before, named).await
    }
}
