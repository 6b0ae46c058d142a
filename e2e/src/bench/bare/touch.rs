//! A minimal client: lists a bucket and copies every object onto itself, and nothing else.

use anyhow::{Context, Result};
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_s3::types::MetadataDirective;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::parts::minio::REGION;

/// Requests under way at the same time, as many as the agent has.
const PARALLEL: usize = 32;

/// Touches all objects. The keys come from the environment, as for the agent.
pub async fn run(endpoint: &str, bucket: &str) -> Result<()> {
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
    let client = aws_sdk_s3::Client::from_conf(config);
    let mut keys = Vec::new();
    let mut pages = client
        .list_objects_v2()
        .bucket(bucket)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page?;
        let page = page.contents().iter();
        keys.extend(page.filter_map(|object| object.key().map(str::to_owned)));
    }
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
