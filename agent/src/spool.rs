//! Files that are written before they are stored: small ones stay in memory, others go to a
//! temporary file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use store::{At, Key, Outcome, Store};
use uuid::Uuid;

use crate::bandwidth::Bandwidth;
use crate::source::{Expected, FileSource};

/// Up to it a file is kept in memory and created by one request.
const IN_MEMORY: usize = 4 << 20;

/// What is being written, or was.
pub struct Spool {
    directory: PathBuf,
    name: &'static str,
    path: PathBuf,
    memory: Vec<u8>,
    file: Option<BufWriter<File>>,
    written: u64,
}

impl Spool {
    /// Nothing yet. Where it becomes large it goes to a file in `directory` whose name begins
    /// with `name`.
    pub fn new(directory: &Path, name: &'static str) -> Self {
        Self {
            directory: directory.to_owned(),
            name,
            path: PathBuf::new(),
            memory: Vec::new(),
            file: None,
            written: 0,
        }
    }

    /// Reads from the start. Everything must have been flushed.
    pub fn read(&self) -> io::Result<Box<dyn BufRead + Send + '_>> {
        match &self.file {
            None => Ok(Box::new(Cursor::new(&self.memory))),
            Some(_) => {
                let file = File::open(&self.path)?;
                Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
            }
        }
    }

    /// Creates an object of what was written and flushed; false if there is one already.
    pub async fn create(&self, store: &dyn Store, key: &Key) -> Result<bool, store::Error> {
        if self.file.is_none() {
            return match store
                .create(key, Bytes::copy_from_slice(&self.memory))
                .await
            {
                Ok(()) => Ok(true),
                Err(store::Error::AlreadyExists { .. }) => Ok(false),
                Err(error) => Err(error),
            };
        }
        let unlimited = Arc::new(Bandwidth::unlimited());
        let expected = Expected::default();
        let mut source = FileSource::open(
            &self.path,
            self.written,
            expected,
            unlimited,
            Arc::default(),
        )
        .map_err(|source| store::Error::Source {
            at: At {
                storage: store.name().into(),
                key: Some(key.clone()),
            },
            source,
        })?;
        let created = match store.upload(key, self.written, &mut source).await {
            Ok(Outcome::Stored) => true,
            Ok(Outcome::AlreadyThere) | Err(store::Error::Differs { .. }) => false,
            Err(error) => return Err(error),
        };
        // What decides has to be there after a loss of power, also where it is large.
        store.settle().await?;
        Ok(created)
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() {
            if self.memory.len() + bytes.len() <= IN_MEMORY {
                self.memory.extend_from_slice(bytes);
                self.written += bytes.len() as u64;
                return Ok(bytes.len());
            }
            let name = format!("{}.{}.tmp", self.name, Uuid::new_v4().simple());
            self.path = self.directory.join(name);
            let file = File::create(&self.path).map_err(|error| {
                let text = format!("cannot create {}: {error}", self.path.display());
                io::Error::new(error.kind(), text)
            })?;
            let mut file = BufWriter::with_capacity(1 << 16, file);
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        let count = match &mut self.file {
            Some(file) => file.write(bytes)?,
            None => 0,
        };
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use store::FileStore;

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read_back_and_stored_whatever_its_size() {
        let directory = tempfile::tempdir().unwrap();
        let (root, state) = (
            directory.path().join("root"),
            directory.path().join("state"),
        );
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&state).unwrap();
        let store = FileStore::open(&root).unwrap();
        for size in [0, 10, IN_MEMORY, IN_MEMORY + 1, 2 * IN_MEMORY + 7] {
            let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let mut spool = Spool::new(&state, "list");
            for chunk in content.chunks(1000) {
                spool.write_all(chunk).unwrap();
            }
            spool.flush().unwrap();
            let mut read = Vec::new();
            spool.read().unwrap().read_to_end(&mut read).unwrap();
            assert!(read == content, "{size}");
            let key = Key::parse(&format!("c/{size}")).unwrap();
            assert!(spool.create(&store, &key).await.unwrap());
            assert!(!spool.create(&store, &key).await.unwrap());
            assert!(std::fs::read(root.join(key.as_str())).unwrap() == content);
        }
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
    }
}
