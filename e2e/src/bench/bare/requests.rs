//! Minimal clients of an S3 server: one lists a bucket as fast as it can, one copies every object onto
//! itself; nothing else. The keys come from the environment, as for the agent.

use anyhow::{Context, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_s3::types::MetadataDirective;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::parts::minio::REGION;

/// Requests under way at the same time, as many as the agent has.
const PARALLEL: usize = 32;
/// Lists under way at the same time, as many as the agent has.
const LISTS: usize = 8;
/// Below this deep a directory is one list: `<cluster>/data/<node>/<keyspace>/<table>`.
const DEPTH: usize = 5;

/// Lists every object, table by table; says how many there are.
pub async fn list(endpoint: &str, bucket: &str) -> Result<()> {
    let client = client(endpoint)?;
    let mut prefixes = vec![String::new()];
    for _ in 0..DEPTH {
        let below = prefixes.iter().map(|prefix| below(&client, bucket, prefix));
        prefixes = futures::future::try_join_all(below).await?.concat();
    }
    let lists = prefixes.iter().map(|prefix| keys(&client, bucket, prefix));
    let listed: Vec<Vec<String>> = stream::iter(lists)
        .buffer_unordered(LISTS)
        .try_collect()
        .await?;
    println!("{}", listed.iter().map(Vec::len).sum::<usize>());
    Ok(())
}

/// Touches all objects.
pub async fn touch(endpoint: &str, bucket: &str) -> Result<()> {
    let client = client(endpoint)?;
    let keys = keys(&client, bucket, "").await?;
    let copies = keys.into_iter().map(|key| {
        let copy = client
            .copy_object()
            .bucket(bucket)
            .copy_source(format!("{bucket}/{key}"))
            .key(key)
            .metadata_directive(MetadataDirective::Replace)
            .send();
        // Spawned, so that both cores work.
        async { tokio::spawn(copy).await?.map_err(anyhow::Error::from) }
    });
    stream::iter(copies)
        .buffer_unordered(PARALLEL)
        .try_for_each(|_| async { Ok(()) })
        .await
}

fn client(endpoint: &str) -> Result<Client> {
    let secret = |name| std::env::var(name).with_context(|| format!("{name} is not set"));
    let credentials = Credentials::new(
        secret("AWS_ACCESS_KEY_ID")?,
        secret("AWS_SECRET_ACCESS_KEY")?,
        None,
        None,
        "environment",
    );
    let config = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(credentials)
        .force_path_style(true)
        .build();
    Ok(Client::from_conf(config))
}

/// The directories in one, of which no page has more than it shows here.
async fn below(client: &Client, bucket: &str, prefix: &str) -> Result<Vec<String>> {
    let list = client.list_objects_v2().bucket(bucket).prefix(prefix);
    let page = list.delimiter("/").send().await?;
    let prefixes = page.common_prefixes().iter();
    Ok(prefixes
        .filter_map(|it| it.prefix().map(str::to_owned))
        .collect())
}

async fn keys(client: &Client, bucket: &str, prefix: &str) -> Result<Vec<String>> {
    let list = client.list_objects_v2().bucket(bucket).prefix(prefix);
    let mut pages = list.into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page?;
        let page = page.contents().iter();
        keys.extend(page.filter_map(|object| object.key().map(str::to_owned)));
    }
    Ok(keys)
}
