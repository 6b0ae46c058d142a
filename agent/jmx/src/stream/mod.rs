//! The Java object stream, written and read.
//!
//! Source of the format: "Java Object Serialization Specification", chapter 6. The writer knows
//! the few classes that JMX arguments are made of; the reader walks any class, because exceptions
//! and open data bring classes that cannot be listed beforehand. Nothing here does I/O of its own
//! beyond [`std::io::Read`].

mod decode;
mod graph;
mod mutf8;
mod reader;
mod value;
mod writer;

use std::io;

pub(crate) use decode::{Decoder, throwable_of};
pub(crate) use graph::{Graph, Item, Object, Slot};
pub(crate) use reader::StreamReader;
pub use value::{Throwable, UnexpectedValue, Value};
pub use writer::JavaObject;
pub(crate) use writer::{Annotation, Writer};

/// First two bytes of every stream.
pub(crate) const MAGIC: u16 = 0xaced;
/// The only version of the format there is.
pub(crate) const VERSION: u16 = 5;

/// Type codes, the first byte of every item.
pub(crate) mod tag {
    pub const NULL: u8 = 0x70;
    pub const REFERENCE: u8 = 0x71;
    pub const CLASS_DESC: u8 = 0x72;
    pub const OBJECT: u8 = 0x73;
    pub const STRING: u8 = 0x74;
    pub const ARRAY: u8 = 0x75;
    pub const CLASS: u8 = 0x76;
    pub const BLOCK_DATA: u8 = 0x77;
    pub const END_BLOCK_DATA: u8 = 0x78;
    pub const RESET: u8 = 0x79;
    pub const BLOCK_DATA_LONG: u8 = 0x7a;
    pub const EXCEPTION: u8 = 0x7b;
    pub const LONG_STRING: u8 = 0x7c;
    pub const PROXY_CLASS_DESC: u8 = 0x7d;
    pub const ENUM: u8 = 0x7e;
}

/// Flags of a class descriptor.
pub(crate) mod flag {
    pub const WRITE_METHOD: u8 = 0x01;
    pub const SERIALIZABLE: u8 = 0x02;
    pub const EXTERNALIZABLE: u8 = 0x04;
    pub const BLOCK_DATA: u8 = 0x08;
}

/// Bounds on what a stream may make the reader do. Whoever answers on the JMX port is not trusted
/// with this process's memory or stack.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes read from the stream.
    pub bytes: u64,
    /// Nesting of objects, classes and references; each level is one level of recursion.
    pub depth: usize,
    /// Elements of one array.
    pub elements: usize,
    /// Everything that takes memory (objects, fields, elements, 32 bytes of text), counted once
    /// while the stream is read and once more while values are made of it, since a value that is
    /// referred to often is copied often.
    pub cells: usize,
}

impl Default for Limits {
    /// Room for the token map of a ring of 150 000 tokens (a thousand nodes of 150).
    fn default() -> Self {
        Limits {
            bytes: 16 << 20,
            depth: 128,
            elements: 1 << 20,
            cells: 1 << 20,
        }
    }
}

/// Why a stream could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The transport failed.
    #[error("reading failed at byte {at}: {source}")]
    Read {
        /// Bytes read before.
        at: u64,
        /// What the transport said.
        source: io::Error,
    },
    /// The transport ended inside the stream.
    #[error("the stream ends at byte {at}, in the middle of an item")]
    Ended {
        /// Bytes read before.
        at: u64,
    },
    /// A byte or a number that the format does not allow here.
    #[error("at byte {at}: {problem}")]
    Invalid {
        /// Bytes read so far.
        at: u64,
        /// What is wrong.
        problem: String,
    },
    /// One of [`Limits`] was passed.
    #[error("at byte {at}: more than {limit} {what}")]
    TooLarge {
        /// Bytes read so far.
        at: u64,
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The sender failed while it wrote, and put its exception into the stream.
    #[error("the sender gave up while writing: {0}")]
    Aborted(Box<Throwable>),
}

impl StreamError {
    /// Bytes of the stream that were read before the error.
    pub fn position(&self) -> Option<u64> {
        match self {
            StreamError::Read { at, .. }
            | StreamError::Ended { at }
            | StreamError::Invalid { at, .. }
            | StreamError::TooLarge { at, .. } => Some(*at),
            StreamError::Aborted(_) => None,
        }
    }
}

/// Reads a whole stream (header, then one object) from `bytes`.
///
/// This is the form in which serialized objects are stored; replies of a server have a frame of
/// their own around it.
pub fn read_value(bytes: &[u8], limits: Limits) -> Result<Value, StreamError> {
    let mut reader = StreamReader::new(bytes, limits);
    reader.header()?;
    let slot = reader.object()?;
    reader.into_decoder().value(slot)
}

/// Writes a whole stream (header, then one object), the counterpart of [`read_value`].
pub fn write_value(object: &JavaObject) -> Vec<u8> {
    let mut writer = Writer::new(Annotation::None);
    writer.header();
    writer.object(object);
    writer.into_bytes()
}
