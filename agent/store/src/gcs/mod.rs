//! Google Cloud Storage: a bucket, by the JSON API.
//!
//! The time of an object is its `timeCreated`, what lifecycle rules count its age from and only new
//! content or a rewrite moves, or its `customTime` where that is later. `updated` also moves when
//! someone edits metadata.

mod client;
mod clock;
mod config;
mod error;
mod kept;
mod list;
mod put;
mod read;
mod session;
mod touch;

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use gcloud_storage::http::objects::delete::DeleteObjectRequest;

use self::client::{BRIEF, Client};
pub use self::config::{GcsConfig, GcsCredentials, GcsTouch};
use self::put::Body;
use crate::feed::Feed;
use crate::probe::FileSystem;
use crate::{Content, Error, Kept, Key, Object, Objects, Outcome, Source, Store};

/// Objects in a bucket.
#[derive(Debug, Clone)]
pub struct GcsStore {
    client: Arc<Client>,
}

impl GcsStore {
    /// Checks `config` and gets a token for its identity; sends no request to the bucket.
    pub async fn connect(config: GcsConfig) -> Result<Self, Error> {
        Ok(Self {
            client: Arc::new(Client::connect(config).await?),
        })
    }
}

#[async_trait]
impl Store for GcsStore {
    fn name(&self) -> &str {
        &self.client.name
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        put::create(&self.client, key, Body::new(body)).await
    }

    async fn upload(
        &self,
        key: &Key,
        size: u64,
        source: &mut dyn Source,
    ) -> Result<Outcome, Error> {
        let feed = Feed::new(source, size);
        if size <= self.client.part {
            put::upload(&self.client, key, size, feed).await
        } else {
            session::upload(&self.client, key, size, feed).await
        }
    }

    async fn stat(&self, key: &Key) -> Result<Object, Error> {
        read::stat(&self.client, key).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Content, Error> {
        read::get(&self.client, key, range).await
    }

    fn list(&self, prefix: &Key) -> Objects {
        list::list(Arc::clone(&self.client), prefix.clone())
    }

    async fn folders(&self, limit: usize) -> Result<Vec<String>, Error> {
        list::folders(&self.client, limit).await
    }

    async fn touch(&self, key: &Key, size: u64) -> Result<(), Error> {
        touch::touch(&self.client, key, size).await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        let request = DeleteObjectRequest {
            bucket: self.client.bucket.clone(),
            object: self.client.path(key)?,
            ..Default::default()
        };
        let deleted = self
            .client
            .send_to(key, || self.client.sdk.delete_object(&request));
        match deleted.await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn now(&self) -> Result<SystemTime, Error> {
        read::now(&self.client, BRIEF).await
    }

    async fn reach(&self) -> Result<Option<FileSystem>, Error> {
        self.client.reach(BRIEF).await?;
        Ok(None)
    }

    async fn keeps(&self) -> Result<Option<Kept>, Error> {
        kept::kept(&self.client).await.map(Some)
    }
}
