//! Reads any Java object stream into a [`Graph`], within [`Limits`].

use std::io::Read;

use super::graph::{ClassDesc, Field, Graph, Item, Node, NodeId, Object, Part, Slot};
use super::{Decoder, Limits, MAGIC, StreamError, VERSION, flag, mutf8, tag, throwable_of};

/// Number that the first numbered item of a stream has.
const FIRST_HANDLE: u32 = 0x7e_0000;

/// Room taken in one step for data whose announced length is not yet known to be true.
const STEP: usize = 16 << 10;

type Result<T> = std::result::Result<T, StreamError>;

/// Reads one stream. After an error the position is undefined and the reader is of no more use.
pub(crate) struct StreamReader<R> {
    input: R,
    limits: Limits,
    graph: Graph,
    /// Index of the node that [`FIRST_HANDLE`] means; moved by a reset.
    base: usize,
    at: u64,
    depth: usize,
    cells: usize,
}

impl<R: Read> StreamReader<R> {
    pub fn new(input: R, limits: Limits) -> Self {
        StreamReader {
            input,
            limits,
            graph: Graph::default(),
            base: 0,
            at: 0,
            depth: 0,
            cells: 0,
        }
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn into_decoder(self) -> Decoder {
        Decoder::new(self.graph, self.limits, self.at)
    }

    /// One byte in front of the stream, as protocols put there.
    pub fn raw_byte(&mut self) -> Result<u8> {
        self.u8()
    }

    pub fn header(&mut self) -> Result<()> {
        let (magic, version) = (self.u16()?, self.u16()?);
        if (magic, version) != (MAGIC, VERSION) {
            return Err(self.invalid(format!(
                "{magic:04x} {version:04x} does not begin an object stream"
            )));
        }
        Ok(())
    }

    /// The next item.
    pub fn item(&mut self) -> Result<Item> {
        let tag = self.tag()?;
        self.item_after(tag)
    }

    /// The next item, which has to be an object (or null).
    pub fn object(&mut self) -> Result<Slot> {
        match self.item()? {
            Item::Slot(slot) => Ok(slot),
            Item::Block(_) => Err(self.invalid("raw data where an object is due")),
        }
    }

    pub fn invalid(&self, problem: impl Into<String>) -> StreamError {
        StreamError::Invalid {
            at: self.at,
            problem: problem.into(),
        }
    }

    /// The next type code; resets are carried out on the way.
    fn tag(&mut self) -> Result<u8> {
        loop {
            match self.u8()? {
                tag::RESET => self.base = self.graph.nodes.len(),
                tag => return Ok(tag),
            }
        }
    }

    fn item_after(&mut self, tag: u8) -> Result<Item> {
        let slot = match tag {
            tag::BLOCK_DATA => {
                let length = self.u8()?;
                return Ok(Item::Block(self.bytes(u64::from(length))?));
            }
            tag::BLOCK_DATA_LONG => {
                let length = self.i32()?;
                let length = self.length(length)?;
                return Ok(Item::Block(self.bytes(length as u64)?));
            }
            tag::NULL => Slot::Null,
            tag::REFERENCE => Slot::Ref(self.reference()?),
            tag::EXCEPTION => return Err(self.aborted()?),
            _ => Slot::Ref(self.nested(|reader| reader.numbered(tag))?),
        };
        Ok(Item::Slot(slot))
    }

    /// An item that gets a number of its own.
    fn numbered(&mut self, tag: u8) -> Result<NodeId> {
        match tag {
            tag::STRING | tag::LONG_STRING => self.string_after(tag),
            tag::CLASS_DESC | tag::PROXY_CLASS_DESC => self.new_class(tag),
            tag::OBJECT => self.new_object(),
            tag::ARRAY => self.new_array(),
            tag::CLASS => {
                let class = self.class()?;
                self.number(Node::ClassObject(class))
            }
            tag::ENUM => {
                let class = self.class()?;
                let id = self.number(Node::Pending)?;
                let constant = self.string()?;
                self.complete(id, Node::Enum { class, constant });
                Ok(id)
            }
            tag => Err(self.invalid(format!("{tag:02x} is not a type code"))),
        }
    }

    fn new_object(&mut self) -> Result<NodeId> {
        let class = self.class()?;
        let id = self.number(Node::Pending)?;
        let mut ancestry: Vec<NodeId> = self.graph.ancestry(class).map(|(id, _)| id).collect();
        ancestry.reverse();
        let mut parts = Vec::new();
        for class in ancestry {
            let part = self.part(class)?;
            if !(part.values.is_empty() && part.data.is_empty()) {
                self.charge(2)?;
                parts.push(part);
            }
        }
        self.complete(id, Node::Object(Object { class, parts }));
        Ok(id)
    }

    /// What one class of an object's ancestry wrote.
    fn part(&mut self, class: NodeId) -> Result<Part> {
        let (flags, kinds) = match self.graph.class(class) {
            Some(desc) => {
                let kinds: Vec<u8> = desc.fields.iter().map(|field| field.kind).collect();
                (desc.flags, kinds)
            }
            None => return Err(self.invalid("an object whose class is no class")),
        };
        let mut part = Part {
            class,
            values: Vec::new(),
            data: Vec::new(),
        };
        match flags & (flag::SERIALIZABLE | flag::EXTERNALIZABLE) {
            0 => {}
            flag::SERIALIZABLE => {
                for kind in kinds {
                    let value = self.typed(kind)?;
                    self.charge(1)?;
                    part.values.push(value);
                }
                if flags & flag::WRITE_METHOD != 0 {
                    part.data = self.custom_data()?;
                }
            }
            flag::EXTERNALIZABLE if flags & flag::BLOCK_DATA != 0 => {
                part.data = self.custom_data()?;
            }
            // Protocol version 1 has no end mark: only the class itself knows where it ends.
            flag::EXTERNALIZABLE => {
                return Err(self.invalid("externalizable data without a frame"));
            }
            _ => return Err(self.invalid("a class both serializable and externalizable")),
        }
        Ok(part)
    }

    fn new_array(&mut self) -> Result<NodeId> {
        let class = self.class()?;
        let id = self.number(Node::Pending)?;
        let length = self.i32()?;
        let length = self.length(length)?;
        let kind = match self.graph.class_name(class).as_bytes() {
            [b'[', kind, ..] => *kind,
            _ => return Err(self.invalid("an array whose class is no array")),
        };
        let node = if kind == b'B' {
            Node::Bytes(self.bytes(length as u64)?)
        } else {
            let mut slots = Vec::with_capacity(length.min(STEP / size_of::<Slot>()));
            for _ in 0..length {
                self.charge(1)?;
                slots.push(self.typed(kind)?);
            }
            Node::Array(slots)
        };
        self.complete(id, node);
        Ok(id)
    }

    /// A value of a field's or an array's type.
    fn typed(&mut self, kind: u8) -> Result<Slot> {
        Ok(match kind {
            b'B' => Slot::Byte(self.u8()? as i8),
            b'C' => Slot::Char(self.u16()?),
            b'D' => Slot::Double(f64::from_be_bytes(self.fixed()?)),
            b'F' => Slot::Float(f32::from_be_bytes(self.fixed()?)),
            b'I' => Slot::Int(self.i32()?),
            b'J' => Slot::Long(i64::from_be_bytes(self.fixed()?)),
            b'S' => Slot::Short(self.u16()? as i16),
            b'Z' => Slot::Bool(self.u8()? != 0),
            b'L' | b'[' => self.object()?,
            _ => return Err(self.invalid(format!("{kind:02x} is not a type of a field"))),
        })
    }

    /// Items up to the end mark.
    fn custom_data(&mut self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            match self.tag()? {
                tag::END_BLOCK_DATA => return Ok(items),
                tag => {
                    self.charge(1)?;
                    items.push(self.item_after(tag)?);
                }
            }
        }
    }

    /// A class descriptor, new or by reference.
    fn class(&mut self) -> Result<NodeId> {
        match self.optional_class()? {
            Some(id) => Ok(id),
            None => Err(self.invalid("null where a class is due")),
        }
    }

    fn optional_class(&mut self) -> Result<Option<NodeId>> {
        match self.tag()? {
            tag::NULL => Ok(None),
            tag::REFERENCE => {
                let id = self.reference()?;
                match self.graph.class(id) {
                    Some(_) => Ok(Some(id)),
                    None => Err(self.invalid("a reference to a class leads to something else")),
                }
            }
            tag @ (tag::CLASS_DESC | tag::PROXY_CLASS_DESC) => {
                self.nested(|reader| reader.new_class(tag)).map(Some)
            }
            tag => Err(self.invalid(format!("{tag:02x} where a class is due"))),
        }
    }

    fn new_class(&mut self, tag: u8) -> Result<NodeId> {
        let mut fields = Vec::new();
        let (id, name, flags);
        if tag == tag::PROXY_CLASS_DESC {
            id = self.number(Node::Pending)?;
            (name, flags) = ("(proxy)".to_owned(), flag::SERIALIZABLE);
            for _ in 0..self.i32()? {
                self.short_text()?;
            }
        } else {
            name = self.short_text()?;
            let _serial_version_uid: [u8; 8] = self.fixed()?;
            id = self.number(Node::Pending)?;
            flags = self.u8()?;
            for _ in 0..self.u16()? {
                self.charge(2)?;
                let kind = self.u8()?;
                let name = self.short_text()?;
                if matches!(kind, b'L' | b'[') {
                    self.string()?;
                }
                fields.push(Field { kind, name });
            }
        }
        // The annotation: RMI puts the place to load the class from here.
        self.custom_data()?;
        let parent = self.optional_class()?;
        let ancestors = match parent.and_then(|parent| self.graph.class(parent)) {
            Some(parent) => parent.ancestors + 1,
            None => 0,
        };
        if ancestors > self.limits.depth {
            return Err(self.too_large("ancestors of a class", self.limits.depth));
        }
        let class = ClassDesc {
            name,
            flags,
            fields,
            parent,
            ancestors,
        };
        self.complete(id, Node::Class(class));
        Ok(id)
    }

    /// A string object, new or by reference.
    fn string(&mut self) -> Result<String> {
        let id = match self.tag()? {
            tag::REFERENCE => self.reference()?,
            tag => self.string_after(tag)?,
        };
        match self.graph.string(Slot::Ref(id)) {
            Some(text) => {
                let text = text.to_owned();
                self.charge(text.len() / 32)?;
                Ok(text)
            }
            None => Err(self.invalid("a reference to a string leads to something else")),
        }
    }

    fn string_after(&mut self, tag: u8) -> Result<NodeId> {
        let length = match tag {
            tag::STRING => u64::from(self.u16()?),
            tag::LONG_STRING => u64::from_be_bytes(self.fixed()?),
            _ => return Err(self.invalid(format!("{tag:02x} where a string is due"))),
        };
        let text = self.text(length)?;
        self.number(Node::String(text))
    }

    fn short_text(&mut self) -> Result<String> {
        let length = self.u16()?;
        self.text(u64::from(length))
    }

    fn text(&mut self, length: u64) -> Result<String> {
        let bytes = self.bytes(length)?;
        mutf8::decode(bytes).ok_or_else(|| self.invalid("text that is not modified UTF-8"))
    }

    fn reference(&mut self) -> Result<NodeId> {
        let handle = u32::from_be_bytes(self.fixed()?);
        let id = handle
            .checked_sub(FIRST_HANDLE)
            .map(|index| self.base + index as usize)
            .filter(|id| *id < self.graph.nodes.len());
        id.ok_or_else(|| self.invalid(format!("nothing has the number {handle:08x}")))
    }

    /// The sender's own failure: an exception, framed by resets.
    fn aborted(&mut self) -> Result<StreamError> {
        self.base = self.graph.nodes.len();
        let slot = self.nested(Self::object)?;
        Ok(match throwable_of(&self.graph, slot) {
            Some(throwable) => StreamError::Aborted(Box::new(throwable)),
            None => self.invalid("an abort without an exception"),
        })
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == self.limits.depth {
            return Err(self.too_large("levels of nesting", self.limits.depth));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn number(&mut self, node: Node) -> Result<NodeId> {
        self.charge(2)?;
        self.graph.nodes.push(node);
        Ok(self.graph.nodes.len() - 1)
    }

    fn complete(&mut self, id: NodeId, node: Node) {
        self.graph.nodes[id] = node;
    }

    fn charge(&mut self, cells: usize) -> Result<()> {
        self.cells += cells;
        if self.cells > self.limits.cells {
            return Err(self.too_large("cells of memory", self.limits.cells));
        }
        Ok(())
    }

    fn length(&mut self, length: i32) -> Result<usize> {
        match usize::try_from(length) {
            Ok(length) if length <= self.limits.elements => Ok(length),
            Ok(_) => Err(self.too_large("elements", self.limits.elements)),
            Err(_) => Err(self.invalid(format!("a length of {length}"))),
        }
    }

    fn too_large(&self, what: &'static str, limit: usize) -> StreamError {
        StreamError::TooLarge {
            at: self.at,
            what,
            limit: limit as u64,
        }
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>> {
        if length > self.limits.bytes - self.at {
            return Err(StreamError::TooLarge {
                at: self.at,
                what: "bytes",
                limit: self.limits.bytes,
            });
        }
        let length = length as usize;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let start = bytes.len();
            bytes.resize(length.min(start + STEP), 0);
            self.fill(&mut bytes[start..])?;
        }
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        let at = self.at;
        if buffer.len() as u64 > self.limits.bytes - at {
            return Err(StreamError::TooLarge {
                at,
                what: "bytes",
                limit: self.limits.bytes,
            });
        }
        self.input
            .read_exact(buffer)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::UnexpectedEof => StreamError::Ended { at },
                _ => StreamError::Read { at, source },
            })?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8> {
        self.fixed().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16> {
        self.fixed().map(u16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32> {
        self.fixed().map(i32::from_be_bytes)
    }
}
