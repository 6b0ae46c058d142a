//! Peers that fall silent during a call: the connection stays open, and nothing comes any more.
//! What passes is decided by a packet filter, in a network of the test's own; both need root.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::time::Duration;

use jmx::{Argument, CallOptions, Error, Value};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::support::{Server, run, trouble};

/// Longer than a silent peer is waited for.
const LONG: Duration = Duration::from_secs(110);

/// A rule for packets that are larger than a ping and not than a call.
const LARGE: [&str; 6] = ["-A", "INPUT", "-m", "length", "--length", "100:65535"];

/// Moves this thread, and what it starts, into a new network that has nothing but a loopback.
fn enter_own_network() {
    static FILTER: Once = Once::new();
    // Packages come from another network.
    FILTER.call_once(install_filter);
    let mut keeper = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up && echo up && cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare has to be installed");
    let mut line = String::new();
    let stdout = keeper.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("stdout");
    assert_eq!(line, "up\n", "no network namespace; is this root?");
    let network = File::open(format!("/proc/{}/ns/net", keeper.id())).unwrap();
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    drop(keeper.stdin.take());
    keeper.wait().unwrap();
}

fn filter(rule: &[&str]) {
    run(Command::new("iptables").args(["-w", "10"]).args(rule));
}

/// A fresh machine has none.
fn install_filter() {
    if Command::new("iptables").arg("--version").output().is_ok() {
        return;
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300"]);
        apt
    };
    run(apt().arg("update"));
    run(apt().args(["install", "--no-install-recommends", "iptables"]));
}

/// Waits until a large packet was counted.
async fn call_has_arrived() {
    for _ in 0..500 {
        let list = ["-w", "10", "-v", "-x", "-n", "-L", "INPUT"];
        let listed = Command::new("iptables").args(list).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let rule = listed.lines().find(|line| line.contains("length"));
        let packets = rule.and_then(|rule| rule.split_whitespace().next());
        if packets.unwrap() != "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no call within 10 s");
}

/// A call that takes as long as [`LONG`] and has twice the time.
async fn long_call(client: &jmx::JmxClient) -> Result<Value, Error> {
    let options = CallOptions {
        timeout: Some(LONG * 2),
        ..CallOptions::default()
    };
    let arguments = vec![Argument::long(LONG.as_millis() as i64)];
    client
        .invoke_with(&trouble(), "slow", arguments, options)
        .await
}

fn assert_given_up(result: Result<Value, Error>) {
    match result {
        Err(error @ Error::Lost { .. }) => {
            assert!(error.is_outcome_unknown());
            assert!(error.to_string().contains("timed out"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// As behind a NAT that has forgotten the connection, or when the machine has lost its power.
#[tokio::test]
async fn a_peer_that_is_gone_in_the_middle_of_a_long_call_is_given_up() {
    enter_own_network();
    let server = Server::start(&[]);
    let client = server.client().await;
    filter(&LARGE);
    let vanish = async {
        call_has_arrived().await;
        // It is acknowledged by then, which the kernel puts off by 200 ms at most: so only keepalive
        // can tell.
        tokio::time::sleep(Duration::from_secs(1)).await;
        filter(&["-I", "INPUT", "-j", "DROP"]);
    };
    let (result, ()) = tokio::join!(long_call(&client), vanish);
    assert_given_up(result);
}

/// As behind a router that drops large packets: the connection seems to be alive, and the call
/// never arrives.
#[tokio::test]
async fn a_call_that_is_never_acknowledged_is_given_up() {
    enter_own_network();
    let server = Server::start(&[]);
    let client = server.client().await;
    filter(&[&LARGE[..], &["-j", "DROP"]].concat());
    assert_given_up(long_call(&client).await);
}

#[tokio::test]
async fn a_call_that_only_takes_long_is_waited_for() {
    let server = Server::start(&[]);
    let client = server.client().await;
    let result = long_call(&client).await;
    assert_eq!(result.unwrap(), Value::String("done".to_owned()));
    client.close().await.unwrap();
}
