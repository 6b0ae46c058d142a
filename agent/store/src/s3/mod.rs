//! S3: a bucket, of AWS or of a server that speaks its protocol.

mod body;
mod client;
mod config;
mod connection;
mod error;
mod list;
mod multipart;
mod parts;
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
use aws_sdk_s3::types::BucketVersioningStatus;
use bytes::Bytes;

use self::body::Body;
use self::client::{Client, Watch, brief};
pub use self::config::{Credentials, Encryption, S3Config};
use crate::feed::Feed;
use crate::probe::FileSystem;
use crate::{Content, Error, Kept, Key, Named, Object, Objects, Outcome, Source, Store};

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

    async fn folders(&self, limit: usize) -> Result<Vec<String>, Error> {
        list::folders(&self.client, limit).await
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

    async fn keeps(&self) -> Result<Option<Kept>, Error> {
        let client = &self.client;
        let request = client
            .sdk
            .get_bucket_versioning()
            .bucket(&client.bucket)
            .customize()
            .config_override(brief());
        let answer = request.send().await.map_err(|e| client.failed(None, e))?;
        // Suspended keeps the versions there are and makes no more.
        Ok(Some(match answer.status() {
            Some(&BucketVersioningStatus::Enabled) => Kept::Versions { touched: true },
            _ => Kept::Nothing,
        }))
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_is_not_reached_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = store_at(address).await.keeps().await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        let told = crate::testing::told(&error);
        let named = format!("a request to http://{address} failed");
        assert!(told.contains(&named), "{told}");
    }

    async fn store_at(address: SocketAddr) -> S3Store {
        let credentials = Credentials::Explicit {
            access_key: "id".to_owned(),
            secret_key: "secret".to_owned(),
            session_token: None,
        };
        let mut config = S3Config::new("bucket", credentials);
        config.endpoint = Some(format!("http://{address}"));
        config.path_style = true;
        S3Store::connect(config).await.unwrap()
    }

    /// Asks a server that answers everything like this.
    async fn keeps(status: &'static str, body: &'static str) -> Result<Option<Kept>, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let line = String::from_utf8_lossy(&request).into_owned();
                assert!(line.starts_with("GET /bucket/?versioning"), "{line}");
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let answer = store_at(address).await.keeps().await;
        server.abort();
        answer
    }

    #[tokio::test]
    async fn a_bucket_tells_whether_it_keeps_versions_or_that_it_does_not_tell() {
        let with = |status: &str| {
            let text = format!("<VersioningConfiguration>{status}</VersioningConfiguration>");
            &*Box::leak(text.into_boxed_str())
        };
        for (body, expected) in [
            (with(""), Kept::Nothing),
            (
                with("<Status>Enabled</Status>"),
                Kept::Versions { touched: true },
            ),
            (with("<Status>Suspended</Status>"), Kept::Nothing),
        ] {
            assert_eq!(
                keeps("200 OK", body).await.unwrap(),
                Some(expected),
                "{body}"
            );
        }
        let denied = "<Error><Code>AccessDenied</Code></Error>";
        let answer = keeps("403 Forbidden", denied).await;
        assert!(matches!(answer, Err(Error::Denied { .. })), "{answer:?}");
        let unheard_of = "<Error><Code>NotImplemented</Code></Error>";
        let answer = keeps("501 Not Implemented", unheard_of).await;
        assert!(answer.is_err(), "{answer:?}");
    }
}
