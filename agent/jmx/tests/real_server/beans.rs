//! Attributes, operations, queries.

use jmx::{Argument, Error, Value};

use crate::support::{name, shared, trouble, values};

#[tokio::test]
async fn arguments_of_every_type_reach_the_operation() {
    let client = shared().client().await;
    let long = "ж".repeat(40_000);
    let arguments = vec![
        Argument::boolean(true),
        Argument::int(-7),
        Argument::long(1 << 40),
        Argument::set(["b", "a"]),
        Argument::string(long.clone()),
    ];
    let result = client.invoke(&trouble(), "typed", arguments).await.unwrap();
    assert_eq!(
        result.as_str().unwrap(),
        format!("true -7 1099511627776 [a, b] {long}")
    );
    client.close().await.unwrap();
}

#[tokio::test]
async fn attributes_that_do_not_exist_or_fail_are_left_out_of_a_list() {
    let client = shared().client().await;
    let names = ["Flag", "Nope", "LongText"];
    let found = client.get_attributes(&values(), &names).await.unwrap();
    let found: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(found, ["Flag", "LongText"]);
    client.close().await.unwrap();
}

#[tokio::test]
async fn an_attribute_is_set_and_one_that_is_not_there_is_told() {
    let client = shared().client().await;
    // A bean of the JDK's own, whose log of collections nobody reads here.
    let memory = name("java.lang:type=Memory");
    for wanted in [true, false] {
        let value = jmx::JavaObject::Boolean(wanted);
        client
            .set_attribute(&memory, "Verbose", value)
            .await
            .unwrap();
        let found = client.get_attribute(&memory, "Verbose").await.unwrap();
        assert_eq!(found, Value::Bool(wanted));
    }
    let value = jmx::JavaObject::Boolean(true);
    let missing = client.set_attribute(&memory, "Nope", value).await;
    assert!(missing.unwrap_err().is_missing_member());
    client.close().await.unwrap();
}

#[tokio::test]
async fn beans_are_found_by_name_and_by_pattern() {
    let client = shared().client().await;
    assert!(client.is_registered(&values()).await.unwrap());
    assert!(!client.is_registered(&name("test:type=Nope")).await.unwrap());
    let mut names = client.query_names(&name("test:*")).await.unwrap();
    names.sort();
    assert_eq!(names, [trouble(), values()]);
    assert_eq!(client.query_names(&name("nope:*")).await.unwrap(), []);
    client.close().await.unwrap();
}

#[tokio::test]
async fn the_beans_own_exceptions_come_without_their_wrappers() {
    let client = shared().client().await;
    for (operation, expected_class, expected_message) in [
        ("throwIo", "java.io.IOException", "disk on fire"),
        (
            "throwUnchecked",
            "java.lang.IllegalArgumentException",
            "Keyspace nope does not exist",
        ),
        (
            "throwError",
            "java.lang.StackOverflowError",
            "java.lang.StackOverflowError",
        ),
    ] {
        match client.invoke(&trouble(), operation, vec![]).await {
            Err(Error::Mbean {
                class,
                message,
                operation: subject,
            }) => {
                assert_eq!(class, expected_class);
                assert_eq!(message, expected_message);
                assert!(subject.contains(operation), "{subject}");
            }
            other => panic!("{operation}: {other:?}"),
        }
    }
    let error = client.get_attribute(&trouble(), "Broken").await;
    assert!(matches!(error, Err(Error::Mbean { .. })), "{error:?}");
    client.close().await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_told_apart() {
    let client = shared().client().await;
    let nowhere = name("test:type=Nowhere");
    let bean = client.get_attribute(&nowhere, "A").await.unwrap_err();
    assert!(
        matches!(&bean, Error::InstanceNotFound { mbean } if mbean == "test:type=Nowhere"),
        "{bean:?}"
    );
    let attribute = client.get_attribute(&values(), "Nope").await.unwrap_err();
    assert!(
        matches!(&attribute, Error::AttributeNotFound { attribute, .. } if attribute == "Nope"),
        "{attribute:?}"
    );
    // Once with a name that does not exist, once with types that do not fit.
    for (operation, arguments) in [
        ("nope", vec![]),
        ("slow", vec![Argument::string("not a number")]),
    ] {
        let error = client.invoke(&trouble(), operation, arguments).await;
        assert!(
            matches!(&error, Err(error @ Error::OperationNotFound { .. }) if error.is_missing_member()),
            "{error:?}"
        );
    }
    client.close().await.unwrap();
}

#[tokio::test]
async fn calls_run_at_the_same_time_over_one_session() {
    let client = shared().client().await;
    let trouble = trouble();
    let long = client.invoke(&trouble, "slow", vec![Argument::long(1500)]);
    let short = async {
        for _ in 0..20 {
            let large = client.get_attribute(&values(), "Large").await.unwrap();
            assert_eq!(large.entries().unwrap().len(), 2000);
        }
        std::time::Instant::now()
    };
    let long = async { (long.await.unwrap(), std::time::Instant::now()) };
    let ((done, long_end), short_end) = tokio::join!(long, short);
    assert_eq!(done, Value::String("done".to_owned()));
    assert!(
        short_end < long_end,
        "the short calls waited for the long one"
    );
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_session_survives_the_servers_garbage_collection_without_leases() {
    let client = shared().client().await;
    let before = client.connection_id().await.unwrap();
    for _ in 0..3 {
        client.invoke(&trouble(), "collect", vec![]).await.unwrap();
    }
    assert_eq!(client.connection_id().await.unwrap(), before);
    client.close().await.unwrap();
}
