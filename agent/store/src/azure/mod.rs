//! Azure: a container of block blobs, of Azure or of a server that speaks its protocol.

mod blocks;
mod client;
mod config;
mod error;
mod kept;
mod list;
mod put;
mod read;
mod request;

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;

use self::client::Client;
pub use self::config::{AzureConfig, AzureCredentials};
use self::put::Body;
use self::request::Request;
use crate::feed::Feed;
use crate::probe::FileSystem;
use crate::{Content, Error, Kept, Key, Object, Objects, Outcome, Source, Store};

/// Objects in a container.
#[derive(Debug, Clone)]
pub struct AzureStore {
    client: Arc<Client>,
}

impl AzureStore {
    /// Checks `config` and finds the identity; sends no request.
    pub fn connect(config: AzureConfig) -> Result<Self, Error> {
        Ok(Self {
            client: Arc::new(Client::connect(config)?),
        })
    }
}

#[async_trait]
impl Store for AzureStore {
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
        let feed = Feed::new(source, size);
        if size <= self.client.block_size {
            put::upload(&self.client, key, size, feed).await
        } else {
            blocks::upload(&self.client, key, size, feed).await
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

    /// Set Blob Metadata with none, as our objects have: it moves the time and nothing else. It
    /// costs a write, and in accounts with versioning it makes a version, of metadata only.
    async fn touch(&self, key: &Key, _: u64) -> Result<(), Error> {
        let request = Request::object(&self.client, Method::PUT, key)?.query("comp=metadata");
        let touched = request.send().await;
        let touched = touched.map_err(|failure| failure.meaning(&self.client, Some(key)))?;
        self.client.wrote(&touched.headers);
        Ok(())
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        // Without the header, an object that someone made snapshots of stays.
        let request = Request::object(&self.client, Method::DELETE, key)?
            .header("x-ms-delete-snapshots", "include");
        match request.done().await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn now(&self) -> Result<SystemTime, Error> {
        let request = Request::container(&self.client, Method::HEAD).query("restype=container");
        let date = match request.send().await {
            Ok(reply) => read::date(&reply.headers),
            // A refusal tells the time as well as an answer.
            Err(failure) => match failure.date() {
                Some(date) => Some(date),
                None => return Err(failure.meaning(&self.client, None)),
            },
        };
        date.ok_or_else(|| Error::Corrupt {
            at: self.client.at(None),
            reason: "the server's answers have no Date, which is its clock".to_owned(),
        })
    }

    async fn reach(&self) -> Result<Option<FileSystem>, Error> {
        list::reach(&self.client).await?;
        Ok(None)
    }

    async fn keeps(&self) -> Result<Option<Kept>, Error> {
        kept::kept(&self.client).await
    }
}
