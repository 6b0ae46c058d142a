//! The object stream: round trips, and hostile input.

use jmx::stream::{JavaObject, Limits, StreamError, Value, read_value, write_value};
use proptest::collection::vec;
use proptest::prelude::*;

/// Written by the ObjectOutputStream of JDK 17: the map that `getEverything` of
/// `tests/java/JmxTestServer.java` returns, nearly every kind of item in it.
const EVERYTHING: &[u8] = include_bytes!("data/everything.ser");

/// Java strings are sequences of UTF-16 units, so every Rust string is one.
fn any_object() -> impl Strategy<Value = JavaObject> {
    let leaf = prop_oneof![
        Just(JavaObject::Null),
        any::<bool>().prop_map(JavaObject::Boolean),
        any::<i32>().prop_map(JavaObject::Integer),
        any::<i64>().prop_map(JavaObject::Long),
        any::<f64>()
            .prop_filter("NaN", |f| !f.is_nan())
            .prop_map(JavaObject::Double),
        any::<String>().prop_map(JavaObject::String),
        // Around the length from which on strings are long strings.
        (65_000usize..66_000).prop_map(|length| JavaObject::String("x".repeat(length))),
        vec(any::<u8>(), 0..300).prop_map(JavaObject::Bytes),
        vec(any::<String>(), 0..4).prop_map(JavaObject::Strings),
        Just(JavaObject::ObjectName("d:type=T".to_owned())),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(JavaObject::Objects),
            vec(inner.clone(), 0..6).prop_map(JavaObject::HashSet),
            (any::<String>(), inner.clone())
                .prop_map(|(name, value)| JavaObject::Attribute(name, Box::new(value))),
            // Two nulls in a row mark the end of a map for the reader.
            vec((any::<String>().prop_map(JavaObject::String), inner), 0..6)
                .prop_map(JavaObject::HashMap),
        ]
    })
}

/// What has to be read of what was written.
fn meaning(object: &JavaObject) -> Value {
    let all = |items: &[JavaObject]| items.iter().map(meaning).collect();
    match object {
        JavaObject::Null => Value::Null,
        JavaObject::Boolean(value) => Value::Bool(*value),
        JavaObject::Integer(value) => Value::Int(*value),
        JavaObject::Long(value) => Value::Long(*value),
        JavaObject::Double(value) => Value::Double(*value),
        JavaObject::String(text) => Value::String(text.clone()),
        JavaObject::Bytes(bytes) => Value::Bytes(bytes.clone()),
        JavaObject::Strings(items) => {
            Value::Array(items.iter().cloned().map(Value::String).collect())
        }
        JavaObject::Objects(items) => Value::Array(all(items)),
        JavaObject::HashSet(items) => Value::Set(all(items)),
        JavaObject::HashMap(entries) => {
            let entry = |(key, value): &(JavaObject, JavaObject)| (meaning(key), meaning(value));
            Value::Map(entries.iter().map(entry).collect())
        }
        JavaObject::ObjectName(name) => Value::Object {
            class: "javax.management.ObjectName".to_owned(),
            fields: vec![("name".to_owned(), Value::String(name.clone()))],
        },
        JavaObject::Attribute(name, value) => Value::Object {
            class: "javax.management.Attribute".to_owned(),
            fields: vec![
                ("name".to_owned(), Value::String(name.clone())),
                ("value".to_owned(), meaning(value)),
            ],
        },
        JavaObject::Marshalled(inner) => Value::Object {
            class: "java.rmi.MarshalledObject".to_owned(),
            fields: vec![
                ("hash".to_owned(), Value::Int(0)),
                ("locBytes".to_owned(), Value::Null),
                ("objBytes".to_owned(), Value::Bytes(write_value(inner))),
            ],
        },
    }
}

fn read(bytes: &[u8]) -> Result<Value, StreamError> {
    read_value(bytes, Limits::default())
}

/// Failures are reported with their input; no files of seeds beside the tests.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn what_is_written_is_read_back(object in any_object()) {
        let marshalled = JavaObject::Marshalled(Box::new(object.clone()));
        for object in [object, marshalled] {
            prop_assert_eq!(read(&write_value(&object)).unwrap(), meaning(&object));
        }
    }

    #[test]
    fn a_stream_that_is_cut_off_has_ended(cut in 0..EVERYTHING.len()) {
        let error = read(&EVERYTHING[..cut]).unwrap_err();
        prop_assert!(matches!(error, StreamError::Ended { .. }), "{:?}", error);
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..4096)) {
        let _ = read(&bytes);
        let with_header = [&[0xac, 0xed, 0, 5], bytes.as_slice()].concat();
        let _ = read(&with_header);
    }

    #[test]
    fn random_items_do_not_panic(
        items in vec(prop_oneof![3 => 0x70u8..=0x7e, 2 => 0u8..4, 1 => any::<u8>()], 0..2048),
    ) {
        let _ = read(&[&[0xac, 0xed, 0, 5], items.as_slice()].concat());
    }
}

proptest! {
    #![proptest_config(cases(1024))]

    #[test]
    fn a_damaged_stream_does_not_panic(
        damage in vec((0..EVERYTHING.len(), any::<u8>()), 1..8),
    ) {
        let mut bytes = EVERYTHING.to_vec();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        let _ = read(&bytes);
    }
}

#[test]
fn the_stream_of_a_real_jvm_is_read() {
    let map = read(EVERYTHING).unwrap();
    assert!(map.entries().unwrap().len() > 50);
}

/// A stream made by hand.
struct Hand(Vec<u8>);

impl Hand {
    fn new() -> Hand {
        Hand(vec![0xac, 0xed, 0, 5])
    }

    fn bytes(mut self, bytes: &[u8]) -> Hand {
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, text: &str) -> Hand {
        let length = (text.len() as u16).to_be_bytes();
        self.bytes(&length).bytes(text.as_bytes())
    }

    /// A new class descriptor without fields; what follows is its parent.
    fn class(self, name: &str, flags: u8) -> Hand {
        let hand = self.bytes(&[0x72]).text(name).bytes(&[0; 8]);
        hand.bytes(&[flags, 0, 0, 0x78])
    }

    /// The item of this number, by reference.
    fn reference(self, number: usize) -> Hand {
        let handle = (0x7e_0000 + number as u32).to_be_bytes();
        self.bytes(&[0x71]).bytes(&handle)
    }

    fn read(&self) -> Result<Value, StreamError> {
        read(&self.0)
    }
}

#[track_caller]
fn assert_too_large(result: Result<Value, StreamError>, expected: &str) {
    match result {
        Err(StreamError::TooLarge { what, .. }) => assert_eq!(what, expected),
        other => panic!("{other:?}"),
    }
}

/// `Object[1]` in `Object[1]` and so on; the innermost holds null.
fn nested_arrays(depth: usize) -> Hand {
    let mut hand = Hand::new()
        .bytes(&[0x75])
        .class("[Ljava.lang.Object;", 2)
        .bytes(&[0x70, 0, 0, 0, 1]);
    for _ in 1..depth {
        hand = hand.bytes(&[0x75]).reference(0).bytes(&[0, 0, 0, 1]);
    }
    hand.bytes(&[0x70])
}

#[test]
fn nesting_is_read_up_to_the_limit_and_refused_beyond_it() {
    let limit = Limits::default().depth;
    // One level is the class descriptor's, inside the innermost of the first array.
    assert!(nested_arrays(limit - 1).read().is_ok());
    assert_too_large(nested_arrays(limit + 1).read(), "levels of nesting");
    assert_too_large(nested_arrays(1_000_000).read(), "levels of nesting");
}

#[test]
fn classes_nested_in_annotations_and_parents_are_bounded_too() {
    let mut parents = Hand::new();
    let mut annotations = Hand::new();
    parents = parents.bytes(&[0x73]);
    annotations = annotations.bytes(&[0x73]);
    for _ in 0..100_000 {
        parents = parents.class("C", 2);
        annotations = annotations
            .bytes(&[0x72])
            .text("C")
            .bytes(&[0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0]);
    }
    assert_too_large(parents.read(), "levels of nesting");
    assert_too_large(annotations.read(), "levels of nesting");
}

#[test]
fn a_long_line_of_ancestors_by_reference_is_bounded() {
    // Each class object brings a class whose parent is the class before.
    let mut hand = Hand::new().bytes(&[0x75]).class("[Ljava.lang.Object;", 2);
    hand = hand.bytes(&[0x70, 0, 0, 0x40, 0]);
    let mut number = 2;
    hand = hand.bytes(&[0x76]).class("C", 2).bytes(&[0x70]);
    for _ in 0..1000 {
        hand = hand.bytes(&[0x76]).class("C", 2).reference(number);
        number += 2;
    }
    assert_too_large(hand.read(), "ancestors of a class");
}

#[test]
fn references_that_double_at_every_level_are_bounded() {
    // list 0 = {null, null}; list n = {list n-1, list n-1}: 2^40 elements in 600 bytes.
    let mut hand = Hand::new().bytes(&[0x75]).class("[Ljava.lang.Object;", 2);
    hand = hand.bytes(&[0x70, 0, 0, 0, 41]);
    hand = hand.bytes(&[0x75]).reference(0);
    hand = hand.bytes(&[0, 0, 0, 2, 0x70, 0x70]);
    for level in 0..40 {
        hand = hand.bytes(&[0x75]).reference(0).bytes(&[0, 0, 0, 2]);
        hand = hand.reference(2 + level).reference(2 + level);
    }
    assert_too_large(hand.read(), "cells of values");
}

#[test]
fn a_long_text_that_is_referred_to_often_is_bounded() {
    let text = "x".repeat(60_000);
    let mut hand = Hand::new().bytes(&[0x75]).class("[Ljava.lang.Object;", 2);
    hand = hand.bytes(&[0x70, 0, 0, 0x40, 0]);
    hand = hand.bytes(&[0x74]).text(&text);
    for _ in 1..0x4000 {
        hand = hand.reference(2);
    }
    assert_too_large(hand.read(), "cells of values");
}

#[test]
fn announced_lengths_are_not_believed() {
    let array = |class: &str, length: i32| {
        let hand = Hand::new().bytes(&[0x75]).class(class, 2).bytes(&[0x70]);
        hand.bytes(&length.to_be_bytes()).read()
    };
    for class in ["[B", "[J", "[Ljava.lang.Object;"] {
        assert_too_large(array(class, i32::MAX), "elements");
        assert!(matches!(array(class, -1), Err(StreamError::Invalid { .. })));
        let most = Limits::default().elements as i32;
        assert!(matches!(array(class, most), Err(StreamError::Ended { .. })));
    }
    let long = Hand::new().bytes(&[0x7c]).bytes(&[0xff; 8]);
    assert_too_large(long.read(), "bytes");
    let block = Hand::new().bytes(&[0x7a, 0x7f, 0xff, 0xff, 0xff]);
    assert_too_large(block.read(), "elements");
}

#[test]
fn a_stream_longer_than_the_limit_is_refused() {
    let resets = [&[0xac, 0xed, 0, 5][..], &vec![0x79; 1000]].concat();
    let limits = Limits {
        bytes: 100,
        ..Limits::default()
    };
    assert_too_large(read_value(&resets, limits), "bytes");
}

#[test]
fn references_lead_only_to_what_was_there_before() {
    assert!(matches!(
        Hand::new().reference(0).read(),
        Err(StreamError::Invalid { .. })
    ));
    // A class that is its own parent.
    let own = Hand::new().bytes(&[0x73]).class("C", 2).reference(0);
    assert!(matches!(own.read(), Err(StreamError::Invalid { .. })));
    // After a reset the numbers begin again.
    let reset = |number| {
        let hand = Hand::new().bytes(&[0x75]).class("[Ljava.lang.Object;", 2);
        let hand = hand.bytes(&[0x70, 0, 0, 0, 3, 0x79, 0x74]).text("a");
        hand.bytes(&[0x74]).text("b").reference(number).read()
    };
    let texts = |c: &str| Value::Array(["a", "b", c].map(|t| Value::String(t.to_owned())).to_vec());
    assert_eq!(reset(0).unwrap(), texts("a"));
    assert_eq!(reset(1).unwrap(), texts("b"));
    assert!(matches!(reset(2), Err(StreamError::Invalid { .. })));
}

#[test]
fn an_exception_of_the_sender_ends_the_stream_with_its_name() {
    let hand = Hand::new().bytes(&[0x7b, 0x73]);
    let hand = hand.class("java.io.NotSerializableException", 2);
    let hand = hand.class("java.lang.Throwable", 2).bytes(&[0x70]);
    match hand.read() {
        Err(StreamError::Aborted(thrown)) => {
            assert_eq!(thrown.class, "java.io.NotSerializableException");
            assert!(thrown.is("java.lang.Throwable"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn classes_that_contradict_themselves_are_refused() {
    for flags in [0x06, 0x04] {
        let hand = Hand::new().bytes(&[0x73]).class("C", flags).bytes(&[0x70]);
        assert!(
            matches!(hand.read(), Err(StreamError::Invalid { .. })),
            "{flags}"
        );
    }
    let externalizable = Hand::new().bytes(&[0x73]).class("C", 0x0c);
    let value = externalizable
        .bytes(&[0x70, 0x77, 2, 1, 2, 0x78])
        .read()
        .unwrap();
    let class = "C".to_owned();
    assert_eq!(
        value,
        Value::Object {
            class,
            fields: vec![]
        }
    );
}

#[test]
fn a_proxy_is_read_with_its_handler() {
    // TC_PROXYCLASSDESC with one interface, parent java.lang.reflect.Proxy with the field h.
    let hand = Hand::new()
        .bytes(&[0x73, 0x7d, 0, 0, 0, 1])
        .text("java.rmi.Remote");
    let hand = hand.bytes(&[0x78, 0x72]).text("java.lang.reflect.Proxy");
    let hand = hand.bytes(&[0; 8]).bytes(&[2, 0, 1, b'L']).text("h");
    let hand = hand
        .bytes(&[0x74])
        .text("Ljava/lang/reflect/InvocationHandler;");
    let hand = hand.bytes(&[0x78, 0x70, 0x74]).text("handler");
    let value = hand.read().unwrap();
    assert_eq!(value.field("h"), Some(&Value::String("handler".to_owned())));
}
