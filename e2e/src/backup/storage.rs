//! A storage as a test looks at it: what is there, how large, how old, with which bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use aws_sdk_s3::Client;
use futures::TryStreamExt as _;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::parts::azurite::Azurite;

/// A storage root.
#[derive(Debug, Clone)]
pub enum Storage {
    /// A directory.
    File(PathBuf),
    /// A bucket, and a prefix in it that ends in `/` or is empty.
    S3 {
        /// Who may read everything.
        client: Box<Client>,
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
    /// A container of Azure, looked at with another client than the agent's.
    Azure(Arc<dyn ObjectStore>),
}

/// One object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its size.
    pub bytes: u64,
    /// When it was written or touched.
    pub modified: SystemTime,
}

impl Storage {
    /// A whole bucket.
    pub fn bucket(client: Client, bucket: &str) -> Self {
        Self::S3 {
            client: Box::new(client),
            bucket: bucket.into(),
            prefix: String::new(),
        }
    }

    /// A whole container.
    pub fn container(azurite: &Azurite, container: &str) -> Result<Self> {
        let client = MicrosoftAzureBuilder::new()
            .with_account(azurite.account())
            .with_access_key(azurite.key())
            .with_endpoint(azurite.endpoint())
            .with_container_name(container)
            .with_allow_http(true)
            .build()?;
        Ok(Self::Azure(Arc::new(client)))
    }

    /// Everything below a key of the root: full key and object, in order.
    pub async fn list(&self, below: &str) -> Result<BTreeMap<String, Object>> {
        match self {
            Self::File(root) => {
                let mut found = BTreeMap::new();
                walk(root, &root.join(below), &mut found)?;
                Ok(found)
            }
            Self::S3 {
                client,
                bucket,
                prefix,
            } => {
                let below = if below.is_empty() {
                    String::new()
                } else {
                    format!("{below}/")
                };
                let full = format!("{prefix}{below}");
                let mut pages = client
                    .list_objects_v2()
                    .bucket(bucket)
                    .prefix(full)
                    .into_paginator()
                    .send();
                let mut found = BTreeMap::new();
                while let Some(page) = pages.next().await {
                    for object in page.context("could not list the bucket")?.contents() {
                        let key = object.key().context("an object without a key")?;
                        let key = key.strip_prefix(prefix).unwrap_or(key).to_owned();
                        let modified =
                            object.last_modified().context("an object without a time")?;
                        let modified = SystemTime::try_from(*modified)?;
                        let bytes = object.size().unwrap_or(0).cast_unsigned();
                        found.insert(key, Object { bytes, modified });
                    }
                }
                Ok(found)
            }
            Self::Azure(client) => {
                let listed = client.list(Some(&below.into()));
                let found = listed.map_ok(|object| {
                    let (bytes, modified) = (object.size, object.last_modified.into());
                    (object.location.into(), Object { bytes, modified })
                });
                let found = found.try_collect().await;
                found.context("could not list the container")
            }
        }
    }

    /// The bytes of an object.
    pub async fn get(&self, key: &str) -> Result<Vec<u8>> {
        match self {
            Self::File(root) => {
                fs::read(root.join(key)).with_context(|| format!("could not read {key}"))
            }
            Self::S3 {
                client,
                bucket,
                prefix,
            } => {
                let full = format!("{prefix}{key}");
                let got = client.get_object().bucket(bucket).key(full).send().await;
                let got = got.with_context(|| format!("could not read {key}"))?;
                Ok(got.body.collect().await?.to_vec())
            }
            Self::Azure(client) => {
                let got = client.get(&key.into()).await;
                let got = got.with_context(|| format!("could not read {key}"))?;
                Ok(got.bytes().await?.to_vec())
            }
        }
    }

    /// The bytes of an object; an error unless they have this size and BLAKE3 (in hex).
    pub async fn get_checked(&self, key: &str, bytes: u64, blake3: &str) -> Result<Vec<u8>> {
        let content = self.get(key).await?;
        if content.len() as u64 != bytes {
            bail!(
                "{key} has {} bytes, its manifest says {bytes}",
                content.len()
            );
        }
        let found = blake3::hash(&content).to_hex();
        if found.as_str() != blake3 {
            bail!("{key} has BLAKE3 {found}, its manifest says {blake3}");
        }
        Ok(content)
    }
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Object>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("could not list {}", folder.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else {
            let metadata = entry.metadata()?;
            let key = path
                .strip_prefix(root)?
                .to_str()
                .context("a key that is not UTF-8")?;
            let object = Object {
                bytes: metadata.len(),
                modified: metadata.modified()?,
            };
            found.insert(key.to_owned(), object);
        }
    }
    Ok(())
}
