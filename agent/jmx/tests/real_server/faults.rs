//! Wrong addresses, slow answers, lost connections, forgotten sessions.

use std::time::{Duration, Instant};

use jmx::{Argument, CallOptions, Endpoint, Error, JmxClient, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::network::{self, Proxy};
use crate::support::{Server, shared, trouble, values};

/// Something that answers each connection with `answer`, then closes it or keeps it open.
async fn impostor(answer: &'static [u8], closes: bool) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut greeting = [0; 7];
            let _ = client.read_exact(&mut greeting).await;
            let _ = client.write_all(answer).await;
            if !closes {
                kept.push(client);
            }
        }
    });
    let mut endpoint = Endpoint::new("127.0.0.1", port);
    endpoint.connect_timeout = Duration::from_secs(2);
    endpoint
}

async fn connect_error(endpoint: &Endpoint) -> Error {
    JmxClient::connect(endpoint).await.unwrap_err()
}

async fn count(client: &JmxClient) -> i64 {
    let count = client.get_attribute(&trouble(), "Count").await.unwrap();
    count.as_i64().unwrap()
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_is_unreachable() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let error = connect_error(&Endpoint::new("127.0.0.1", port)).await;
    assert!(
        matches!(&error, Error::Unreachable { address, .. } if *address == format!("127.0.0.1:{port}")),
        "{error:?}"
    );
    let error = connect_error(&Endpoint::new("no-such-host.invalid", port)).await;
    assert!(matches!(&error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn other_servers_are_told_from_jmx() {
    let http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    for (answer, closes, expected) in [
        (&http[..], true, "HTTP"),
        (b"\x84\x00\x00\x00\x00", false, "answers the RMI greeting"),
        (b"", true, "ends the connection"),
        (b"\x4f", true, "not the stream protocol"),
    ] {
        let endpoint = impostor(answer, closes).await;
        match connect_error(&endpoint).await {
            Error::NotJmx { address, found } => {
                assert_eq!(address, endpoint.address());
                assert!(found.contains(expected), "{found}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let endpoint = impostor(b"", false).await;
    let start = Instant::now();
    let error = connect_error(&endpoint).await;
    assert!(matches!(&error, Error::NotJmx { .. }), "{error:?}");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn an_answer_that_is_no_object_stream_is_malformed() {
    let endpoint = impostor(b"\x4e\x00\x00\x00\x00\x00\x00\x51\xac\xed\x00\x06", false).await;
    let error = connect_error(&endpoint).await;
    assert!(matches!(&error, Error::Malformed { .. }), "{error:?}");
    assert!(error.to_string().contains("aced 0006"), "{error}");
}

#[tokio::test]
async fn a_registry_without_a_connector_is_not_jmx() {
    let server = Server::start(&["unbound"]);
    let error = connect_error(&server.endpoint()).await;
    assert!(
        matches!(&error, Error::NotJmx { found, .. } if found.contains("jmxrmi")),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_connectors_own_port_is_not_the_registry() {
    let mut endpoint = shared().endpoint();
    endpoint.port = shared().connector_port;
    let error = connect_error(&endpoint).await;
    assert!(matches!(&error, Error::NotJmx { .. }), "{error:?}");
}

#[tokio::test]
async fn a_slow_operation_times_out_and_may_be_given_more_time() {
    let server = Server::start(&[]);
    let mut endpoint = server.endpoint();
    endpoint.call_timeout = Duration::from_millis(700);
    let client = JmxClient::connect(&endpoint).await.unwrap();
    let arguments = || vec![Argument::long(2000)];
    let error = client
        .invoke(&trouble(), "slow", arguments())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Timeout { operation, after }
            if operation.contains("operation slow of test:type=Trouble") && *after == endpoint.call_timeout),
        "{error:?}"
    );
    assert!(error.is_outcome_unknown());
    let options = CallOptions {
        timeout: Some(Duration::from_secs(20)),
        ..CallOptions::default()
    };
    let result = client
        .invoke_with(&trouble(), "slow", arguments(), options)
        .await;
    assert_eq!(result.unwrap(), Value::String("done".to_owned()));
    // The server carried out both.
    assert_eq!(count(&client).await, 2);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_change_whose_reply_is_lost_is_reported_and_not_repeated() {
    let server = Server::start(&[]);
    let proxy = Proxy::before(&server).await;
    let mut endpoint = server.endpoint();
    endpoint.host = network::ADDRESS.to_owned();
    let client = JmxClient::connect(&endpoint).await.unwrap();
    assert_eq!(count(&client).await, 0);

    proxy.cut_next_reply();
    let error = client
        .invoke(&trouble(), "increment", vec![])
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Lost { .. }), "{error:?}");
    assert!(error.is_outcome_unknown());
    assert_eq!(count(&client).await, 1);

    proxy.cut_next_reply();
    let large = client.get_attribute(&values(), "Large").await.unwrap();
    assert_eq!(large.entries().unwrap().len(), 2000);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_no_call() {
    let server = Server::start(&[]);
    let proxy = Proxy::before(&server).await;
    let mut endpoint = server.endpoint();
    endpoint.host = network::ADDRESS.to_owned();
    let client = JmxClient::connect(&endpoint).await.unwrap();
    for expected in 1..=3 {
        proxy.hang_up();
        let count = client
            .invoke(&trouble(), "increment", vec![])
            .await
            .unwrap();
        assert_eq!(count, Value::Int(expected));
    }
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_opened_again() {
    let server = Server::start(&["idle-timeout=3000"]);
    let client = server.client().await;
    let first = client.connection_id().await.unwrap();

    // A call that takes longer than the idle time is not idle.
    let arguments = vec![Argument::long(5000)];
    client.invoke(&trouble(), "slow", arguments).await.unwrap();
    assert_eq!(client.connection_id().await.unwrap(), first);

    tokio::time::sleep(Duration::from_secs(7)).await;
    let second = client.connection_id().await.unwrap();
    assert_ne!(
        second, first,
        "the server kept the session; nothing was tried"
    );

    // A change, too: the server refuses a call of a forgotten session before it does anything.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let count = client
        .invoke(&trouble(), "increment", vec![])
        .await
        .unwrap();
    assert_eq!(count, Value::Int(2));
    assert_ne!(client.connection_id().await.unwrap(), second);

    tokio::time::sleep(Duration::from_secs(7)).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_gone_is_unreachable_and_a_change_is_not_repeated() {
    let server = Server::start(&[]);
    let client = server.client().await;
    let arguments = vec![Argument::long(60_000)];
    let trouble = trouble();
    let call = client.invoke(&trouble, "slow", arguments);
    let kill = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(server);
    };
    let (result, ()) = tokio::join!(call, kill);
    assert!(matches!(&result, Err(Error::Lost { .. })), "{result:?}");
    let error = client.get_attribute(&values(), "Flag").await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_restarted_server_is_found_again_though_its_connector_moved() {
    let first = Server::start(&[]);
    let client = first.client().await;
    let trouble = trouble();
    let increment = || client.invoke(&trouble, "increment", vec![]);
    assert_eq!(increment().await.unwrap(), Value::Int(1));
    let same_port = format!("registry-port={}", first.registry_port);
    let old_connector = first.connector_port;
    drop(first);
    let second = Server::start(&[&same_port]);
    assert_ne!(second.connector_port, old_connector);
    assert_eq!(increment().await.unwrap(), Value::Int(1));
    client.close().await.unwrap();
}
