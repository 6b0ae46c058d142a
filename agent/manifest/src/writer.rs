use std::io::{self, Write};

use crate::{Footer, Header, Line, SsTable, Table};

/// Why a manifest could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file or stream below.
    #[error("cannot write the manifest: {0}")]
    Io(#[from] io::Error),
    /// A value that has no JSON.
    #[error("cannot put a manifest line into JSON: {0}")]
    Json(#[source] serde_json::Error),
}

/// Writes a manifest line by line and hashes it on the way.
pub struct ManifestWriter<W> {
    out: W,
    hasher: blake3::Hasher,
    line: Vec<u8>,
}

impl<W: Write> ManifestWriter<W> {
    /// Begins with the header.
    pub fn new(out: W, header: Header) -> Result<Self, WriteError> {
        let mut writer = Self {
            out,
            hasher: blake3::Hasher::new(),
            line: Vec::new(),
        };
        writer.write(&Line::Header(Box::new(header)))?;
        Ok(writer)
    }

    /// A table; SSTables that follow belong to it.
    pub fn table(&mut self, table: Table) -> Result<(), WriteError> {
        self.write(&Line::Table(table))
    }

    /// An SSTable of the table before.
    pub fn sstable(&mut self, sstable: SsTable) -> Result<(), WriteError> {
        self.write(&Line::SsTable(sstable))
    }

    /// The end. The footer's hash is filled in here. Returns the writer below, flushed.
    pub fn finish(mut self, mut footer: Footer) -> Result<W, WriteError> {
        footer.blake3 = self.hasher.finalize().to_hex().to_string();
        self.write(&Line::Footer(footer))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write(&mut self, line: &Line) -> Result<(), WriteError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line).map_err(WriteError::Json)?;
        self.line.push(b'\n');
        self.hasher.update(&self.line);
        self.out.write_all(&self.line)?;
        Ok(())
    }
}
