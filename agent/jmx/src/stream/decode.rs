//! Makes a [`Value`] of a [`Graph`]: which JDK classes are containers, and how they are written.
//!
//! Source of the written forms: the `writeObject` methods and fields of the classes in JDK 8 to 25.

use super::graph::{Graph, Node, NodeId, Object, Part, Slot};
use super::{Limits, StreamError, Throwable, Value};

/// Causes followed before the rest is left out.
const MAX_CAUSES: usize = 32;

type Result<T> = std::result::Result<T, StreamError>;

/// Turns slots of a graph into values, within what the limits leave.
pub(crate) struct Decoder {
    graph: Graph,
    limits: Limits,
    at: u64,
}

impl Decoder {
    pub fn new(graph: Graph, limits: Limits, at: u64) -> Self {
        Decoder { graph, limits, at }
    }

    pub fn value(&self, slot: Slot) -> Result<Value> {
        Unfold {
            graph: &self.graph,
            limits: self.limits,
            at: self.at,
            depth: 0,
            cells: 0,
        }
        .value(slot)
    }

    pub fn throwable(&self, slot: Slot) -> Option<Throwable> {
        throwable_of(&self.graph, slot)
    }
}

/// The exception at `slot`, if there is one.
pub(crate) fn throwable_of(graph: &Graph, slot: Slot) -> Option<Throwable> {
    let mut chain = Vec::new();
    let mut seen = Vec::new();
    let mut next = as_throwable(graph, slot);
    while let Some((id, object)) = next {
        if seen.contains(&id) || seen.len() == MAX_CAUSES {
            break;
        }
        seen.push(id);
        let mut names = graph
            .ancestry(object.class)
            .map(|(_, class)| class.name.clone());
        let message = graph
            .part(object, "java.lang.Throwable")
            .and_then(|part| graph.field(part, "detailMessage"))
            .and_then(|slot| graph.string(slot));
        chain.push(Throwable {
            class: names.next().unwrap_or_default(),
            ancestors: names.collect(),
            message: message.map(str::to_owned),
            cause: None,
        });
        next = cause_of(graph, id, object);
    }
    chain.into_iter().rev().reduce(|cause, mut outer| {
        outer.cause = Some(Box::new(cause));
        outer
    })
}

fn as_throwable(graph: &Graph, slot: Slot) -> Option<(NodeId, &Object)> {
    let object = graph.object(slot)?;
    let Slot::Ref(id) = slot else { return None };
    graph
        .ancestry(object.class)
        .any(|(_, class)| class.name == "java.lang.Throwable")
        .then_some((id, object))
}

/// `Throwable.cause`, which is the exception itself where there is none; then whatever exception
/// a wrapper keeps in a field of its own (`detail`, `exception`, `runtimeException`, `target`).
fn cause_of<'a>(graph: &'a Graph, id: NodeId, object: &'a Object) -> Option<(NodeId, &'a Object)> {
    let slots = object.parts.iter().flat_map(|part| &part.values);
    slots
        .filter_map(|slot| as_throwable(graph, *slot))
        .find(|(cause, _)| *cause != id)
}

struct Unfold<'a> {
    graph: &'a Graph,
    limits: Limits,
    at: u64,
    depth: usize,
    cells: usize,
}

impl<'a> Unfold<'a> {
    fn value(&mut self, slot: Slot) -> Result<Value> {
        self.charge(1)?;
        Ok(match slot {
            Slot::Null => Value::Null,
            Slot::Bool(value) => Value::Bool(value),
            Slot::Byte(value) => Value::Int(i32::from(value)),
            Slot::Char(value) => Value::String(String::from_utf16_lossy(&[value])),
            Slot::Short(value) => Value::Int(i32::from(value)),
            Slot::Int(value) => Value::Int(value),
            Slot::Long(value) => Value::Long(value),
            Slot::Float(value) => Value::Float(value),
            Slot::Double(value) => Value::Double(value),
            Slot::Ref(id) => {
                // A cycle never ends, so it is found by its depth.
                if self.depth == self.limits.depth {
                    return Err(self.too_large("levels of values", self.limits.depth));
                }
                self.depth += 1;
                let value = self.node(id)?;
                self.depth -= 1;
                value
            }
        })
    }

    fn node(&mut self, id: NodeId) -> Result<Value> {
        let graph = self.graph;
        Ok(match graph.nodes.get(id) {
            Some(Node::String(text)) => {
                self.charge(text.len() / 32)?;
                Value::String(text.clone())
            }
            Some(Node::Bytes(bytes)) => {
                self.charge(bytes.len() / 32)?;
                Value::Bytes(bytes.clone())
            }
            Some(Node::Array(slots)) => Value::Array(self.values(slots.iter().copied())?),
            Some(Node::Enum { class, constant }) => Value::Enum {
                class: self.name(*class)?,
                constant: constant.clone(),
            },
            Some(Node::ClassObject(class)) => Value::Object {
                class: "java.lang.Class".to_owned(),
                fields: vec![("name".to_owned(), Value::String(self.name(*class)?))],
            },
            Some(Node::Object(object)) => self.object(id, object)?,
            Some(Node::Class(_)) | Some(Node::Pending) | None => {
                return Err(StreamError::Invalid {
                    at: self.at,
                    problem: "a class descriptor where a value is due".to_owned(),
                });
            }
        })
    }

    fn object(&mut self, id: NodeId, object: &'a Object) -> Result<Value> {
        let graph = self.graph;
        if let Some(throwable) = throwable_of(graph, Slot::Ref(id)) {
            self.charge(4 * MAX_CAUSES)?;
            return Ok(Value::Throwable(Box::new(throwable)));
        }
        // From the class itself upwards: LinkedHashMap is known by its HashMap part. A class that
        // wrote nothing has no part, hence the empty one.
        for (class, desc) in graph.ancestry(object.class) {
            let empty = Part {
                class,
                values: Vec::new(),
                data: Vec::new(),
            };
            let written = object.parts.iter().find(|part| part.class == class);
            if let Some(value) = self.known(&desc.name, written.unwrap_or(&empty))? {
                return Ok(value);
            }
        }
        let mut fields = Vec::new();
        for part in &object.parts {
            let Some(class) = graph.class(part.class) else {
                continue;
            };
            for (field, slot) in class.fields.iter().zip(&part.values) {
                self.charge(1 + field.name.len() / 32)?;
                fields.push((field.name.clone(), self.value(*slot)?));
            }
        }
        let class = self.name(object.class)?;
        Ok(Value::Object { class, fields })
    }

    /// The value of an object, if `class` is one whose written form is known.
    fn known(&mut self, class: &str, part: &Part) -> Result<Option<Value>> {
        let Some((package, name)) = class.rsplit_once('.') else {
            return Ok(None);
        };
        let value = match package {
            "java.lang" => match name {
                "Boolean" | "Byte" | "Character" | "Short" | "Integer" | "Long" | "Float"
                | "Double" => self.field(part, "value")?,
                _ => return Ok(None),
            },
            "java.util" | "java.util.concurrent" => return self.known_container(name, part),
            "com.google.common.collect" => return self.known_immutable(name, part),
            "javax.management" if name == "ObjectName" => self.named(class, "name", part)?,
            "javax.management.openmbean" if name == "CompositeDataSupport" => {
                let mut fields = Vec::new();
                if let Value::Map(items) = self.field(part, "contents")? {
                    for (name, item) in items {
                        if let Value::String(name) = name {
                            fields.push((name, item));
                        }
                    }
                }
                let class = class.to_owned();
                Value::Object { class, fields }
            }
            "javax.management.openmbean" if name == "TabularDataSupport" => {
                match self.field(part, "dataMap")? {
                    Value::Map(rows) => Value::List(rows.into_iter().map(|(_, row)| row).collect()),
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    fn known_container(&mut self, name: &str, part: &Part) -> Result<Option<Value>> {
        Ok(Some(match name {
            "ArrayList" | "LinkedList" | "ArrayDeque" | "CopyOnWriteArrayList" => {
                Value::List(self.values(part.slots())?)
            }
            "HashSet" => Value::Set(self.values(part.slots())?),
            // The first object is the comparator.
            "TreeSet" => Value::Set(self.values(part.slots().skip(1))?),
            "HashMap"
            | "Hashtable"
            | "TreeMap"
            | "IdentityHashMap"
            | "EnumMap"
            | "ConcurrentHashMap"
            | "ConcurrentSkipListMap" => self.map(part.slots())?,
            "Collections$UnmodifiableCollection"
            | "Collections$SynchronizedCollection"
            | "Collections$CheckedCollection" => self.field(part, "c")?,
            "Collections$UnmodifiableMap"
            | "Collections$SynchronizedMap"
            | "Collections$CheckedMap"
            | "ConcurrentSkipListSet" => match self.field(part, "m")? {
                Value::Map(entries) if name.ends_with("Set") => keys(entries),
                inner => inner,
            },
            "Collections$SetFromMap" => match self.field(part, "m")? {
                Value::Map(entries) => keys(entries),
                inner => inner,
            },
            "CopyOnWriteArraySet" => match self.field(part, "al")? {
                Value::List(items) => Value::Set(items),
                inner => inner,
            },
            "Arrays$ArrayList" => match self.field(part, "a")? {
                Value::Array(items) => Value::List(items),
                inner => inner,
            },
            "Collections$EmptyList" => Value::List(Vec::new()),
            "Collections$EmptySet" => Value::Set(Vec::new()),
            "Collections$EmptyMap" => Value::Map(Vec::new()),
            "Collections$SingletonList" => Value::List(vec![self.field(part, "element")?]),
            "Collections$SingletonSet" => Value::Set(vec![self.field(part, "element")?]),
            "Collections$SingletonMap" => {
                Value::Map(vec![(self.field(part, "k")?, self.field(part, "v")?)])
            }
            // List.of, Set.of and Map.of; the low byte of the tag says which.
            "CollSer" => match self.graph.field(part, "tag") {
                Some(Slot::Int(tag)) if tag & 0xff == 2 => Value::Set(self.values(part.slots())?),
                Some(Slot::Int(tag)) if tag & 0xff == 3 => self.map(part.slots())?,
                _ => Value::List(self.values(part.slots())?),
            },
            "Date" => match <[u8; 8]>::try_from(part.bytes()) {
                Ok(millis) => Value::Object {
                    class: "java.util.Date".to_owned(),
                    fields: vec![("time".to_owned(), Value::Long(i64::from_be_bytes(millis)))],
                },
                Err(_) => return Ok(None),
            },
            _ => return Ok(None),
        }))
    }

    /// Guava's immutable collections, which Cassandra's beans return here and there.
    fn known_immutable(&mut self, name: &str, part: &Part) -> Result<Option<Value>> {
        Ok(match name {
            "ImmutableList$SerializedForm" => match self.field(part, "elements")? {
                Value::Array(items) => Some(Value::List(items)),
                _ => None,
            },
            "ImmutableSet$SerializedForm" | "ImmutableSortedSet$SerializedForm" => {
                match self.field(part, "elements")? {
                    Value::Array(items) => Some(Value::Set(items)),
                    _ => None,
                }
            }
            "ImmutableMap$SerializedForm" => {
                match (self.field(part, "keys")?, self.field(part, "values")?) {
                    (
                        Value::Array(keys) | Value::Set(keys) | Value::List(keys),
                        Value::Array(values) | Value::List(values),
                    ) => Some(Value::Map(keys.into_iter().zip(values).collect())),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    /// An object of one field, which is the first object in the custom data of its class.
    fn named(&mut self, class: &str, field: &str, part: &Part) -> Result<Value> {
        let value = self.value(part.slots().next().unwrap_or(Slot::Null))?;
        Ok(Value::Object {
            class: class.to_owned(),
            fields: vec![(field.to_owned(), value)],
        })
    }

    fn field(&mut self, part: &Part, name: &str) -> Result<Value> {
        self.value(self.graph.field(part, name).unwrap_or(Slot::Null))
    }

    fn values(&mut self, slots: impl Iterator<Item = Slot>) -> Result<Vec<Value>> {
        slots.map(|slot| self.value(slot)).collect()
    }

    /// Keys and values in turn. The concurrent maps, which take no null, mark their end with one.
    fn map(&mut self, mut slots: impl Iterator<Item = Slot>) -> Result<Value> {
        let mut entries = Vec::new();
        while let (Some(key), Some(value)) = (slots.next(), slots.next()) {
            if matches!((key, value), (Slot::Null, Slot::Null)) {
                break;
            }
            entries.push((self.value(key)?, self.value(value)?));
        }
        Ok(Value::Map(entries))
    }

    fn name(&mut self, class: NodeId) -> Result<String> {
        let name = self.graph.class_name(class);
        self.charge(name.len() / 32)?;
        Ok(name.to_owned())
    }

    fn charge(&mut self, cells: usize) -> Result<()> {
        self.cells += cells;
        if self.cells > self.limits.cells {
            return Err(self.too_large("cells of values", self.limits.cells));
        }
        Ok(())
    }

    fn too_large(&self, what: &'static str, limit: usize) -> StreamError {
        StreamError::TooLarge {
            at: self.at,
            what,
            limit: limit as u64,
        }
    }
}

fn keys(entries: Vec<(Value, Value)>) -> Value {
    Value::Set(entries.into_iter().map(|(key, _)| key).collect())
}
