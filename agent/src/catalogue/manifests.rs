//! One manifest: its header by a ranged get, or all of it as a stream.

use std::io::BufReader;

use futures::TryStreamExt;
use manifest::{Footer, Header, Line, ManifestReader, ReadError};
use store::{Key, Store};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::CatalogueError;

/// Most headers: one of a ring of a thousand nodes with 16 tokens each has 40 KiB.
const FIRST_BYTES: u64 = 64 << 10;

/// More than a header of any ring has.
const MAX_HEADER: u64 = 16 << 20;

/// The two ends of a manifest that was read and found right.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The first line.
    pub header: Header,
    /// The last line.
    pub footer: Footer,
}

/// Reads the header alone. It says nothing of whether the rest is there.
pub async fn read_header(store: &dyn Store, key: &Key) -> Result<Header, CatalogueError> {
    let failed = |source| CatalogueError::Manifest {
        key: key.to_string(),
        source,
    };
    let mut wanted = FIRST_BYTES;
    loop {
        let mut content = store.get(key, Some(0..wanted)).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = content.chunks.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        let whole = bytes.contains(&b'\n') || content.size <= wanted;
        if whole {
            let reader = ManifestReader::new(&bytes[..]).map_err(failed)?;
            return Ok(reader.header().clone());
        }
        if wanted >= MAX_HEADER {
            return Err(failed(ReadError::TooLong(1)));
        }
        wanted *= 8;
    }
}

/// Reads a manifest whole, giving each line but the footer to `each`. Nothing that `each` was given is to be
/// believed unless this returns without an error.
pub async fn read_manifest(
    store: &dyn Store,
    key: &Key,
    mut each: impl FnMut(Line) + Send + 'static,
) -> Result<Manifest, CatalogueError> {
    let content = store.get(key, None).await?;
    let reader = StreamReader::new(content.chunks.map_err(std::io::Error::other));
    let read = tokio::task::spawn_blocking(move || {
        let input = BufReader::with_capacity(1 << 16, SyncIoBridge::new(reader));
        let mut manifest = ManifestReader::new(input)?;
        each(Line::Header(Box::new(manifest.header().clone())));
        while let Some(line) = manifest.next()? {
            each(line);
        }
        Ok::<_, ReadError>(Manifest {
            header: manifest.header().clone(),
            footer: manifest.footer().cloned().unwrap_or_default(),
        })
    });
    read.await?.map_err(|source| CatalogueError::Manifest {
        key: key.to_string(),
        source,
    })
}
