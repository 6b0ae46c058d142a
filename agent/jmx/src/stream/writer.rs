//! Writes the few classes that arguments of JMX calls are made of.
//!
//! Class descriptors and strings are written out each time instead of being referred to: readers
//! take both, and arguments are small.

use super::{MAGIC, VERSION, flag, mutf8, tag};

/// An object to send.
#[derive(Debug, Clone, PartialEq)]
pub enum JavaObject {
    /// `null`
    Null,
    /// `java.lang.Boolean`
    Boolean(bool),
    /// `java.lang.Integer`
    Integer(i32),
    /// `java.lang.Long`
    Long(i64),
    /// `java.lang.Double`
    Double(f64),
    /// `java.lang.String`
    String(String),
    /// `byte[]`
    Bytes(Vec<u8>),
    /// `String[]`
    Strings(Vec<String>),
    /// `Object[]`
    Objects(Vec<JavaObject>),
    /// `java.util.HashMap`
    HashMap(Vec<(JavaObject, JavaObject)>),
    /// `java.util.HashSet`
    HashSet(Vec<JavaObject>),
    /// `javax.management.ObjectName`, by its canonical form
    ObjectName(String),
    /// `java.rmi.MarshalledObject`: an object that the receiver unpacks later
    Marshalled(Box<JavaObject>),
    /// `javax.management.Attribute`: a name and a value
    Attribute(String, Box<JavaObject>),
}

impl From<&str> for JavaObject {
    fn from(text: &str) -> Self {
        JavaObject::String(text.to_owned())
    }
}

/// What follows each class descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Annotation {
    /// Nothing: plain streams, and inside a `MarshalledObject`.
    None,
    /// Null, in calls of RMI: no place to load the class from.
    NoCodebase,
}

/// A class as we describe it; the serialVersionUID has to be the JDK's.
struct Class {
    name: &'static str,
    serial_version_uid: i64,
    flags: u8,
    fields: &'static [(u8, &'static str, &'static str)],
    parent: Option<&'static Class>,
}

impl Class {
    const fn new(name: &'static str, serial_version_uid: i64) -> Self {
        Class {
            name,
            serial_version_uid,
            flags: flag::SERIALIZABLE,
            fields: &[],
            parent: None,
        }
    }

    const fn custom(mut self) -> Self {
        self.flags |= flag::WRITE_METHOD;
        self
    }

    const fn fields(mut self, fields: &'static [(u8, &'static str, &'static str)]) -> Self {
        self.fields = fields;
        self
    }

    const fn extends(mut self, parent: &'static Class) -> Self {
        self.parent = Some(parent);
        self
    }
}

static NUMBER: Class = Class::new("java.lang.Number", -8742448824652078965);
static BOOLEAN: Class =
    Class::new("java.lang.Boolean", -3665804199014368530).fields(&[(b'Z', "value", "")]);
static INTEGER: Class = Class::new("java.lang.Integer", 1360826667806852920)
    .fields(&[(b'I', "value", "")])
    .extends(&NUMBER);
static LONG: Class = Class::new("java.lang.Long", 4290774380558885855)
    .fields(&[(b'J', "value", "")])
    .extends(&NUMBER);
static DOUBLE: Class = Class::new("java.lang.Double", -9172774392245257468)
    .fields(&[(b'D', "value", "")])
    .extends(&NUMBER);
static BYTES: Class = Class::new("[B", -5984413125824719648);
static STRINGS: Class = Class::new("[Ljava.lang.String;", -5921575005990323385);
static OBJECTS: Class = Class::new("[Ljava.lang.Object;", -8012369246846506644);
static HASH_MAP: Class = Class::new("java.util.HashMap", 362498820763181265)
    .custom()
    .fields(&[(b'F', "loadFactor", ""), (b'I', "threshold", "")]);
static HASH_SET: Class = Class::new("java.util.HashSet", -5024744406713321676).custom();
static OBJECT_NAME: Class = Class::new("javax.management.ObjectName", 1081892073854801359).custom();
static MARSHALLED: Class = Class::new("java.rmi.MarshalledObject", 8988374069173025854).fields(&[
    (b'I', "hash", ""),
    (b'[', "locBytes", "[B"),
    (b'[', "objBytes", "[B"),
]);

static ATTRIBUTE: Class = Class::new("javax.management.Attribute", 2484220110589082382).fields(&[
    (b'L', "name", "Ljava/lang/String;"),
    (b'L', "value", "Ljava/lang/Object;"),
]);

/// Java's own choice for maps and sets; the receiver requires a positive number.
const LOAD_FACTOR: f32 = 0.75;

/// Appends to a stream.
pub(crate) struct Writer {
    out: Vec<u8>,
    annotation: Annotation,
}

impl Writer {
    pub fn new(annotation: Annotation) -> Self {
        Writer {
            out: Vec::new(),
            annotation,
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Bytes in front of the stream, as protocols put there.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub fn header(&mut self) {
        self.raw(&MAGIC.to_be_bytes());
        self.raw(&VERSION.to_be_bytes());
    }

    /// At most 255 bytes of raw data.
    pub fn block(&mut self, bytes: &[u8]) {
        self.raw(&[tag::BLOCK_DATA, bytes.len() as u8]);
        self.raw(bytes);
    }

    pub fn object(&mut self, object: &JavaObject) {
        match object {
            JavaObject::Null => self.raw(&[tag::NULL]),
            JavaObject::Boolean(value) => {
                self.begin(&BOOLEAN);
                self.raw(&[u8::from(*value)]);
            }
            JavaObject::Integer(value) => {
                self.begin(&INTEGER);
                self.raw(&value.to_be_bytes());
            }
            JavaObject::Long(value) => {
                self.begin(&LONG);
                self.raw(&value.to_be_bytes());
            }
            JavaObject::Double(value) => {
                self.begin(&DOUBLE);
                self.raw(&value.to_be_bytes());
            }
            JavaObject::String(text) => self.string(text),
            JavaObject::Bytes(bytes) => self.bytes(bytes),
            JavaObject::Strings(items) => {
                self.begin_array(&STRINGS, items.len());
                for item in items {
                    self.string(item);
                }
            }
            JavaObject::Objects(items) => {
                self.begin_array(&OBJECTS, items.len());
                for item in items {
                    self.object(item);
                }
            }
            JavaObject::HashMap(entries) => self.hash_map(entries),
            JavaObject::HashSet(items) => self.hash_set(items),
            JavaObject::ObjectName(name) => {
                self.begin(&OBJECT_NAME);
                self.string(name);
                self.raw(&[tag::END_BLOCK_DATA]);
            }
            JavaObject::Marshalled(inner) => self.marshalled(inner),
            JavaObject::Attribute(name, value) => {
                self.begin(&ATTRIBUTE);
                self.string(name);
                self.object(value);
            }
        }
    }

    fn hash_map(&mut self, entries: &[(JavaObject, JavaObject)]) {
        self.begin(&HASH_MAP);
        self.raw(&LOAD_FACTOR.to_be_bytes());
        self.raw(&0i32.to_be_bytes());
        let mut sizes = Vec::with_capacity(8);
        sizes.extend(buckets(entries.len()).to_be_bytes());
        sizes.extend((entries.len() as i32).to_be_bytes());
        self.block(&sizes);
        for (key, value) in entries {
            self.object(key);
            self.object(value);
        }
        self.raw(&[tag::END_BLOCK_DATA]);
    }

    fn hash_set(&mut self, items: &[JavaObject]) {
        self.begin(&HASH_SET);
        let mut sizes = Vec::with_capacity(12);
        sizes.extend(buckets(items.len()).to_be_bytes());
        sizes.extend(LOAD_FACTOR.to_be_bytes());
        sizes.extend((items.len() as i32).to_be_bytes());
        self.block(&sizes);
        for item in items {
            self.object(item);
        }
        self.raw(&[tag::END_BLOCK_DATA]);
    }

    fn marshalled(&mut self, inner: &JavaObject) {
        let mut writer = Writer::new(Annotation::None);
        writer.header();
        writer.object(inner);
        self.begin(&MARSHALLED);
        // The hash only serves to compare marshalled objects with each other.
        self.raw(&0i32.to_be_bytes());
        self.raw(&[tag::NULL]);
        self.bytes(&writer.out);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.begin_array(&BYTES, bytes.len());
        self.raw(bytes);
    }

    fn begin(&mut self, class: &'static Class) {
        self.raw(&[tag::OBJECT]);
        self.class(Some(class));
    }

    fn begin_array(&mut self, class: &'static Class, length: usize) {
        self.raw(&[tag::ARRAY]);
        self.class(Some(class));
        self.raw(&(length as i32).to_be_bytes());
    }

    fn class(&mut self, class: Option<&'static Class>) {
        let Some(class) = class else {
            return self.raw(&[tag::NULL]);
        };
        self.raw(&[tag::CLASS_DESC]);
        self.short_text(class.name);
        self.raw(&class.serial_version_uid.to_be_bytes());
        self.raw(&[class.flags]);
        self.raw(&(class.fields.len() as u16).to_be_bytes());
        for (kind, name, class) in class.fields {
            self.raw(&[*kind]);
            self.short_text(name);
            if !class.is_empty() {
                self.string(class);
            }
        }
        if self.annotation == Annotation::NoCodebase {
            self.raw(&[tag::NULL]);
        }
        self.raw(&[tag::END_BLOCK_DATA]);
        self.class(class.parent);
    }

    fn string(&mut self, text: &str) {
        let mut bytes = Vec::with_capacity(text.len());
        mutf8::encode(text, &mut bytes);
        match u16::try_from(bytes.len()) {
            Ok(length) => {
                self.raw(&[tag::STRING]);
                self.raw(&length.to_be_bytes());
            }
            Err(_) => {
                self.raw(&[tag::LONG_STRING]);
                self.raw(&(bytes.len() as u64).to_be_bytes());
            }
        }
        self.raw(&bytes);
    }

    /// Names of classes and fields, which are short constants.
    fn short_text(&mut self, text: &str) {
        self.raw(&(text.len() as u16).to_be_bytes());
        self.raw(text.as_bytes());
    }
}

/// A capacity that holds `entries` at [`LOAD_FACTOR`].
fn buckets(entries: usize) -> i32 {
    (entries * 2).next_power_of_two().max(16) as i32
}
