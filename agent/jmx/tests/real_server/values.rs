//! Every kind of value that a bean can return.

use jmx::stream::StreamError;
use jmx::{Error, Value};

use crate::support::{shared, values};

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn texts(items: &[&str]) -> Vec<Value> {
    items.iter().map(|item| text(item)).collect()
}

fn object(class: &str, fields: &[(&str, Value)]) -> Value {
    let field = |(name, value): &(&str, Value)| ((*name).to_owned(), value.clone());
    Value::Object {
        class: class.to_owned(),
        fields: fields.iter().map(field).collect(),
    }
}

/// Name of the entry and what it has to be, for all that have one exact value.
fn expected() -> Vec<(&'static str, Value)> {
    let a_to_1 = Value::Map(vec![(text("a"), Value::Int(1))]);
    let list = |items: &[&str]| Value::List(texts(items));
    let set = |items: &[&str]| Value::Set(texts(items));
    vec![
        ("null", Value::Null),
        ("boolean", Value::Bool(true)),
        ("byte", Value::Int(-1)),
        ("short", Value::Int(-2)),
        ("char", text("é")),
        ("int", Value::Int(i32::MIN)),
        ("long", Value::Long(i64::MAX)),
        ("float", Value::Float(1.5)),
        ("double", Value::Double(-0.25)),
        ("string", text("a\0é€😀")),
        ("bytes", Value::Bytes(vec![0, 255])),
        ("ints", Value::Array(vec![Value::Int(1), Value::Int(2)])),
        ("longs", Value::Array(vec![Value::Long(3)])),
        ("doubles", Value::Array(vec![Value::Double(0.5)])),
        (
            "booleans",
            Value::Array(vec![Value::Bool(true), Value::Bool(false)]),
        ),
        ("strings", Value::Array(vec![text("a"), Value::Null])),
        (
            "nested array",
            Value::Array(vec![
                Value::Array(vec![Value::Int(1)]),
                Value::Array(vec![Value::Int(2), Value::Int(3)]),
            ]),
        ),
        ("ArrayList", list(&["a", "b"])),
        ("LinkedList", list(&["a", "b"])),
        ("ArrayDeque", list(&["a", "b"])),
        ("Arrays.asList", list(&["a", "b"])),
        ("List.of", list(&["a", "b", "c"])),
        ("List.of 1", list(&["a"])),
        ("Set.of", set(&["a"])),
        ("Map.of", a_to_1.clone()),
        ("CopyOnWriteArrayList", list(&["a", "b"])),
        ("unmodifiableList", list(&["a", "b"])),
        ("unmodifiableMap", a_to_1.clone()),
        ("unmodifiableSet", set(&["a"])),
        ("synchronizedList", list(&["a"])),
        ("synchronizedMap", a_to_1.clone()),
        ("emptyList", list(&[])),
        ("emptySet", set(&[])),
        ("emptyMap", Value::Map(vec![])),
        ("singletonList", list(&["a"])),
        ("singleton", set(&["a"])),
        ("singletonMap", a_to_1.clone()),
        ("HashSet", set(&["a"])),
        ("LinkedHashSet", set(&["b", "a"])),
        ("TreeSet", set(&["a", "b"])),
        ("newSetFromMap", set(&["a"])),
        (
            "TreeMap",
            Value::Map(vec![(text("a"), Value::Int(1)), (text("b"), Value::Int(2))]),
        ),
        ("Hashtable", a_to_1.clone()),
        ("Properties", Value::Map(vec![(text("a"), text("1"))])),
        ("ConcurrentHashMap", a_to_1.clone()),
        ("ConcurrentSkipListMap", a_to_1),
        (
            "EnumMap",
            Value::Map(vec![(time_unit("DAYS"), Value::Int(1))]),
        ),
        ("enum", time_unit("SECONDS")),
        (
            "date",
            object(
                "java.util.Date",
                &[("time", Value::Long(1_234_567_890_123))],
            ),
        ),
        (
            "uuid",
            object(
                "java.util.UUID",
                &[
                    ("leastSigBits", Value::Long(2)),
                    ("mostSigBits", Value::Long(1)),
                ],
            ),
        ),
        (
            "class",
            object("java.lang.Class", &[("name", text("[Ljava.lang.String;"))]),
        ),
        (
            "own",
            object(
                "JmxTestServer$Own",
                &[
                    ("number", Value::Int(7)),
                    ("self", Value::Null),
                    ("text", text("own")),
                ],
            ),
        ),
        (
            "atomic",
            object(
                "java.util.concurrent.atomic.AtomicInteger",
                &[("value", Value::Int(5))],
            ),
        ),
        ("first", list(&["shared"])),
        ("second", list(&["shared"])),
    ]
}

fn time_unit(constant: &str) -> Value {
    Value::Enum {
        class: "java.util.concurrent.TimeUnit".to_owned(),
        constant: constant.to_owned(),
    }
}

#[tokio::test]
async fn every_kind_of_value_arrives_as_it_was_sent() {
    let client = shared().client().await;
    let map = client.get_attribute(&values(), "Everything").await.unwrap();
    let entries = map.entries().unwrap();
    let found = |name: &str| {
        let entry = entries.iter().find(|(key, _)| key == &text(name));
        &entry.unwrap_or_else(|| panic!("no {name}")).1
    };
    let expected = expected();
    for (name, value) in &expected {
        assert_eq!(found(name), value, "{name}");
    }

    assert_eq!(found("inet4").as_ip().unwrap().to_string(), "127.0.0.1");
    let Value::Throwable(outer) = found("exception") else {
        panic!("{:?}", found("exception"));
    };
    assert!(outer.is("java.lang.Exception"));
    assert_eq!(outer.to_string(), "java.io.IOException: outer");
    assert_eq!(
        outer.root().to_string(),
        "java.lang.IllegalStateException: inner"
    );
    // Nothing in the map goes unchecked.
    assert_eq!(entries.len(), expected.len() + 2);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_map_of_two_thousand_entries_keeps_its_order() {
    let client = shared().client().await;
    let map = client.get_attribute(&values(), "Large").await.unwrap();
    let pairs = map.into_string_pairs().unwrap();
    assert_eq!(pairs.len(), 2000);
    for (i, (key, value)) in pairs.iter().enumerate() {
        assert_eq!(*key, i.to_string());
        assert_eq!(*value, format!("10.0.{}.{}", i / 256, i % 256));
    }
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_text_longer_than_a_short_string_arrives_whole() {
    let client = shared().client().await;
    let long = client.get_attribute(&values(), "LongText").await.unwrap();
    assert_eq!(long.as_str().unwrap(), "é".repeat(100_000));
    client.close().await.unwrap();
}

#[tokio::test]
async fn an_object_that_contains_itself_is_an_error_and_the_session_goes_on() {
    let client = shared().client().await;
    let error = client.get_attribute(&values(), "Cycle").await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Malformed {
                source: StreamError::TooLarge { .. },
                ..
            }
        ),
        "{error:?}"
    );
    let flag = client.get_attribute(&values(), "Flag").await.unwrap();
    assert_eq!(flag, Value::Bool(true));
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_value_that_the_server_cannot_write_is_named() {
    let client = shared().client().await;
    let result = client.get_attribute(&values(), "Unserializable").await;
    let message = result.unwrap_err().to_string();
    assert!(message.contains("NotSerializableException"), "{message}");
    client.close().await.unwrap();
}
