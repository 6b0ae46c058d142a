//! What a stream means: a tree of plain values, with typed access.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// A Java value.
///
/// Known containers of the JDK (and wrappers around them) become [`List`](Value::List),
/// [`Set`](Value::Set) and [`Map`](Value::Map) in the order in which they were sent. Open data:
/// a `CompositeData` is an [`Object`](Value::Object) whose fields are its items, a `TabularData` is
/// a list of such rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, and the result of an operation that returns nothing.
    Null,
    /// `boolean`, `Boolean`.
    Bool(bool),
    /// `byte`, `short`, `int` and their boxes.
    Int(i32),
    /// `long`, `Long`.
    Long(i64),
    /// `float`, `Float`.
    Float(f32),
    /// `double`, `Double`.
    Double(f64),
    /// `String`; also `char` and `Character`. Lone surrogates are U+FFFD.
    String(String),
    /// `byte[]`.
    Bytes(Vec<u8>),
    /// Any other array.
    Array(Vec<Value>),
    /// A list, queue or other ordered collection.
    List(Vec<Value>),
    /// A set.
    Set(Vec<Value>),
    /// A map.
    Map(Vec<(Value, Value)>),
    /// An exception or error.
    Throwable(Box<Throwable>),
    /// A constant of an enum.
    Enum {
        /// Full name of the enum.
        class: String,
        /// Name of the constant.
        constant: String,
    },
    /// Anything else.
    Object {
        /// Full name of the class.
        class: String,
        /// All fields, those of the topmost class first.
        fields: Vec<(String, Value)>,
    },
}

/// A Java exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throwable {
    /// Full name of the class.
    pub class: String,
    /// Full names of the classes it derives from, the nearest first, without `java.lang.Object`.
    pub ancestors: Vec<String>,
    /// The message, if it has one.
    pub message: Option<String>,
    /// What caused it, or what it wraps (as `MBeanException` does).
    pub cause: Option<Box<Throwable>>,
}

/// A value that is not what it had to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct UnexpectedValue {
    /// What was asked for.
    pub expected: &'static str,
    /// What is there instead.
    pub found: String,
}

type Result<T> = std::result::Result<T, UnexpectedValue>;

impl Value {
    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// A boolean.
    pub fn as_bool(&self) -> Result<bool> {
        match self {
            Value::Bool(value) => Ok(*value),
            other => Err(other.unexpected("a boolean")),
        }
    }

    /// A whole number of any width.
    pub fn as_i64(&self) -> Result<i64> {
        match self {
            Value::Int(value) => Ok(i64::from(*value)),
            Value::Long(value) => Ok(*value),
            other => Err(other.unexpected("a whole number")),
        }
    }

    /// A number of any type.
    pub fn as_f64(&self) -> Result<f64> {
        match self {
            Value::Float(value) => Ok(f64::from(*value)),
            Value::Double(value) => Ok(*value),
            Value::Int(value) => Ok(f64::from(*value)),
            Value::Long(value) => Ok(*value as f64),
            other => Err(other.unexpected("a number")),
        }
    }

    /// A string.
    pub fn as_str(&self) -> Result<&str> {
        match self {
            Value::String(text) => Ok(text),
            other => Err(other.unexpected("a string")),
        }
    }

    /// The string itself.
    pub fn into_string(self) -> Result<String> {
        match self {
            Value::String(text) => Ok(text),
            other => Err(other.unexpected("a string")),
        }
    }

    /// The elements of an array, a list or a set.
    pub fn items(&self) -> Result<&[Value]> {
        match self {
            Value::Array(items) | Value::List(items) | Value::Set(items) => Ok(items),
            other => Err(other.unexpected("a collection")),
        }
    }

    /// The entries of a map, in the order sent.
    pub fn entries(&self) -> Result<&[(Value, Value)]> {
        match self {
            Value::Map(entries) => Ok(entries),
            other => Err(other.unexpected("a map")),
        }
    }

    /// A field of an object, or an item of a `CompositeData`.
    pub fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object { fields, .. } => fields
                .iter()
                .find_map(|(field, value)| (field == name).then_some(value)),
            _ => None,
        }
    }

    /// A collection of strings.
    pub fn into_strings(self) -> Result<Vec<String>> {
        match self {
            Value::Array(items) | Value::List(items) | Value::Set(items) => {
                items.into_iter().map(Value::into_string).collect()
            }
            other => Err(other.unexpected("a collection of strings")),
        }
    }

    /// A map from string to string, in the order sent.
    pub fn into_string_pairs(self) -> Result<Vec<(String, String)>> {
        match self {
            Value::Map(entries) => entries
                .into_iter()
                .map(|(key, value)| Ok((key.into_string()?, value.into_string()?)))
                .collect(),
            other => Err(other.unexpected("a map of strings")),
        }
    }

    /// A map from string to string, by key.
    pub fn into_string_map(self) -> Result<BTreeMap<String, String>> {
        Ok(self.into_string_pairs()?.into_iter().collect())
    }

    /// The address in a `java.net.InetAddress`.
    pub fn as_ip(&self) -> Result<IpAddr> {
        let unexpected = || self.unexpected("an IP address");
        if let Some(Value::Bytes(bytes)) = self.field("ipaddress") {
            let octets: [u8; 16] = bytes.as_slice().try_into().map_err(|_| unexpected())?;
            return Ok(IpAddr::from(octets));
        }
        match self.field("address") {
            Some(Value::Int(address)) => Ok(IpAddr::from(address.to_be_bytes())),
            _ => Err(unexpected()),
        }
    }

    pub(crate) fn unexpected(&self, expected: &'static str) -> UnexpectedValue {
        let found = match self {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "a boolean".to_owned(),
            Value::Int(_) | Value::Long(_) => "a whole number".to_owned(),
            Value::Float(_) | Value::Double(_) => "a number".to_owned(),
            Value::String(_) => "a string".to_owned(),
            Value::Bytes(_) => "bytes".to_owned(),
            Value::Array(_) => "an array".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Set(_) => "a set".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Throwable(throwable) => throwable.class.clone(),
            Value::Enum { class, .. } | Value::Object { class, .. } => class.clone(),
        };
        UnexpectedValue { expected, found }
    }
}

impl Throwable {
    /// Whether it is of the class, or of one derived from it.
    pub fn is(&self, class: &str) -> bool {
        self.class == class || self.ancestors.iter().any(|ancestor| ancestor == class)
    }

    /// The innermost cause; itself if it has none.
    pub fn root(&self) -> &Throwable {
        let mut root = self;
        while let Some(cause) = &root.cause {
            root = cause;
        }
        root
    }
}

impl std::fmt::Display for Throwable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.class)?;
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}
