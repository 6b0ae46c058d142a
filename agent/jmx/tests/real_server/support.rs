//! Starts the Java program, and ends it whatever happens.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use jmx::{Endpoint, JmxClient, ObjectName};
use tempfile::TempDir;

/// A server of its own for one test. Dropping it kills the process; if the test program itself is
/// killed, the server sees the end of its standard input and exits.
pub struct Server {
    child: Child,
    pub registry_port: u16,
    pub connector_port: u16,
}

impl Server {
    pub fn start(options: &[&str]) -> Server {
        Self::start_with(&[], options)
    }

    /// `properties` are `-Dname=value` for the JVM.
    pub fn start_with(properties: &[String], options: &[&str]) -> Server {
        let mut child = Command::new("java")
            // A host that no stub's reader may dial: it is in a block that is never routed.
            .arg("-Djava.rmi.server.hostname=203.0.113.9")
            .arg("-Djava.rmi.server.randomIDs=true")
            .args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(properties)
            .arg("-cp")
            .arg(classes())
            .arg("JmxTestServer")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java (JDK 17 or later) has to be installed");
        let stdout = child.stdout.take().expect("piped");
        let mut server = Server {
            child,
            registry_port: 0,
            connector_port: 0,
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("stdout");
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("READY"), "the test server said {line:?}");
        let mut port = || {
            words
                .next()
                .and_then(|word| word.parse().ok())
                .expect("port")
        };
        server.registry_port = port();
        server.connector_port = port();
        server
    }

    pub fn endpoint(&self) -> Endpoint {
        let mut endpoint = Endpoint::new("127.0.0.1", self.registry_port);
        endpoint.connect_timeout = Duration::from_secs(20);
        endpoint
    }

    pub async fn client(&self) -> JmxClient {
        JmxClient::connect(&self.endpoint()).await.expect("connect")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One plain server for all tests that leave no trace in it.
pub fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

/// Where the compiled program is; compiled once a run, so that it is never older than its source.
fn classes() -> &'static Path {
    static CLASSES: OnceLock<TempDir> = OnceLock::new();
    CLASSES
        .get_or_init(|| {
            let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("temporary folder");
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/java/JmxTestServer.java");
            run(Command::new("javac")
                .arg("-d")
                .arg(directory.path())
                .arg(source));
            directory
        })
        .path()
}

/// Runs a tool, and fails with its output if it fails.
pub fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} has to be installed: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn name(text: &str) -> ObjectName {
    text.parse().expect("object name")
}

pub fn values() -> ObjectName {
    name("test:type=Values")
}

pub fn trouble() -> ObjectName {
    name("test:type=Trouble")
}
