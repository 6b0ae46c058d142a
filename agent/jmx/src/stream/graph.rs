//! What a stream contains, before it is known what its classes mean.
//!
//! A stream is a graph: every string, class and object gets a number when it is first seen, and
//! can be referred to by it later. Here it stays a graph, so that a stream of a few bytes cannot
//! unfold into a tree of any size.

/// Index of a [`Node`] in its [`Graph`].
pub(crate) type NodeId = usize;

/// All numbered items of a stream, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
}

/// One numbered item.
#[derive(Debug)]
pub(crate) enum Node {
    /// Begun and not yet complete; what refers to it then is part of a cycle.
    Pending,
    Class(ClassDesc),
    /// An object of `java.lang.Class`, by its descriptor.
    ClassObject(NodeId),
    String(String),
    Bytes(Vec<u8>),
    Array(Vec<Slot>),
    Enum {
        class: NodeId,
        constant: String,
    },
    Object(Object),
}

/// A class as the sender described it.
#[derive(Debug)]
pub(crate) struct ClassDesc {
    pub name: String,
    pub flags: u8,
    pub fields: Vec<Field>,
    pub parent: Option<NodeId>,
    /// How many ancestors there are.
    pub ancestors: usize,
}

#[derive(Debug)]
pub(crate) struct Field {
    /// `B C D F I J S Z` for primitives, `L` for objects, `[` for arrays.
    pub kind: u8,
    pub name: String,
}

/// An object: what each class of its ancestry wrote, topmost first. Classes that wrote nothing
/// are left out.
#[derive(Debug)]
pub(crate) struct Object {
    pub class: NodeId,
    pub parts: Vec<Part>,
}

#[derive(Debug)]
pub(crate) struct Part {
    pub class: NodeId,
    /// Values of the fields of `class`, in its order.
    pub values: Vec<Slot>,
    /// What the class's own `writeObject` added.
    pub data: Vec<Item>,
}

/// A field, an element, or an item of custom data.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Slot {
    Null,
    Bool(bool),
    Byte(i8),
    Char(u16),
    Short(i16),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Ref(NodeId),
}

/// A top-level item, or one inside custom data.
#[derive(Debug)]
pub(crate) enum Item {
    Block(Vec<u8>),
    Slot(Slot),
}

impl Graph {
    pub fn class(&self, id: NodeId) -> Option<&ClassDesc> {
        match self.nodes.get(id)? {
            Node::Class(class) => Some(class),
            _ => None,
        }
    }

    pub fn class_name(&self, id: NodeId) -> &str {
        self.class(id).map_or("", |class| &class.name)
    }

    /// The class and its ancestors, itself first.
    pub fn ancestry(&self, id: NodeId) -> impl Iterator<Item = (NodeId, &ClassDesc)> {
        let first = self.class(id).map(|class| (id, class));
        std::iter::successors(first, |(_, class)| {
            let parent = class.parent?;
            Some((parent, self.class(parent)?))
        })
    }

    pub fn object(&self, slot: Slot) -> Option<&Object> {
        match slot {
            Slot::Ref(id) => match self.nodes.get(id)? {
                Node::Object(object) => Some(object),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn string(&self, slot: Slot) -> Option<&str> {
        match slot {
            Slot::Ref(id) => match self.nodes.get(id)? {
                Node::String(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// The part of `object` that the class called `name` wrote.
    pub fn part<'a>(&'a self, object: &'a Object, name: &str) -> Option<&'a Part> {
        object
            .parts
            .iter()
            .find(|part| self.class_name(part.class) == name)
    }

    /// A field of `part`, by name.
    pub fn field(&self, part: &Part, name: &str) -> Option<Slot> {
        let class = self.class(part.class)?;
        let index = class.fields.iter().position(|field| field.name == name)?;
        part.values.get(index).copied()
    }
}

impl Part {
    /// The objects in the custom data, without the raw bytes between them.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.data.iter().filter_map(|item| match item {
            Item::Slot(slot) => Some(*slot),
            Item::Block(_) => None,
        })
    }

    /// The raw bytes in the custom data, without the objects between them.
    pub fn bytes(&self) -> Vec<u8> {
        self.data
            .iter()
            .filter_map(|item| match item {
                Item::Block(bytes) => Some(bytes.as_slice()),
                Item::Slot(_) => None,
            })
            .flatten()
            .copied()
            .collect()
    }
}
