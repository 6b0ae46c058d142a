//! Arguments of operations.

use crate::stream::JavaObject;

/// An argument of an operation: an object, and the type in the operation's signature.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    pub(crate) java_type: &'static str,
    pub(crate) object: JavaObject,
}

impl Argument {
    /// Any object, for a parameter whose type is `java_type` (as `Class.getName` says it).
    pub fn new(java_type: &'static str, object: JavaObject) -> Self {
        Argument { java_type, object }
    }

    /// `java.lang.String`
    pub fn string(text: impl Into<String>) -> Self {
        Self::new("java.lang.String", JavaObject::String(text.into()))
    }

    /// A `java.lang.String` that may be null.
    pub fn optional_string(text: Option<&str>) -> Self {
        let object = text.map_or(JavaObject::Null, JavaObject::from);
        Self::new("java.lang.String", object)
    }

    /// `String[]` or `String...`
    pub fn strings<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Self {
        let items = items.into_iter().map(Into::into).collect();
        Self::new("[Ljava.lang.String;", JavaObject::Strings(items))
    }

    /// `java.util.Map` of strings.
    pub fn map<S: Into<String>>(entries: impl IntoIterator<Item = (S, S)>) -> Self {
        let string = |text: S| JavaObject::String(text.into());
        let entries = entries.into_iter().map(|(k, v)| (string(k), string(v)));
        Self::new("java.util.Map", JavaObject::HashMap(entries.collect()))
    }

    /// `java.util.Set` of strings.
    pub fn set<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Self {
        let items = items
            .into_iter()
            .map(|item| JavaObject::String(item.into()));
        Self::new("java.util.Set", JavaObject::HashSet(items.collect()))
    }

    /// `boolean`
    pub fn boolean(value: bool) -> Self {
        Self::new("boolean", JavaObject::Boolean(value))
    }

    /// `int`
    pub fn int(value: i32) -> Self {
        Self::new("int", JavaObject::Integer(value))
    }

    /// `long`
    pub fn long(value: i64) -> Self {
        Self::new("long", JavaObject::Long(value))
    }
}
