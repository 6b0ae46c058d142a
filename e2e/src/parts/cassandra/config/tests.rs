use super::*;

fn yaml(node: &Node) -> Value {
    serde_json::from_str(&node.yaml()).unwrap()
}

#[test]
fn given_tokens_decide_their_number() {
    let mut node = Node::new(Version::V5_0, "127.0.0.9", "/s");
    assert_eq!(yaml(&node)["num_tokens"], 4);
    node.initial_tokens = vec!["-5".into(), "7".into()];
    assert_eq!(yaml(&node)["num_tokens"], 2);
    assert_eq!(yaml(&node)["initial_token"], "-5,7");
}

#[test]
fn four_dot_zero_gets_the_keys_that_it_knows() {
    let node = Node::new(Version::V4_0, "127.0.0.9", "/s");
    let yaml = yaml(&node);
    assert_eq!(yaml["commitlog_sync_period_in_ms"], 10_000);
    assert!(yaml.get("commitlog_sync_period").is_none());
    assert!(yaml.get("uuid_sstable_identifiers_enabled").is_none());
}

#[test]
fn jmx_off_names_no_port_and_its_password_stands_in_a_file_alone() {
    let mut node = Node::new(Version::V5_0, "127.0.0.9", "/s");
    // Not the exports of Java's own packages, which have jmx in their names too.
    let settings = |node: &Node| {
        let arguments = node.jvm("/jars", "jamm.jar");
        let of_jmx = |a: &&String| a.starts_with("-D") && a.contains("jmx");
        arguments.iter().filter(of_jmx).count()
    };
    node.jmx = Jmx::Open;
    assert_eq!(settings(&node), 2);
    node.jmx = Jmx::Off;
    assert_eq!(settings(&node), 0);
    node.jmx = Jmx::Password(Credentials::new("operator", "s3cret"));
    assert!(!node.jvm("/jars", "jamm.jar").join(" ").contains("s3cret"));
    let files = node.files();
    assert!(files.contains(&(JMX_PASSWORDS, "operator s3cret\n".into())));
    assert!(files.contains(&(JMX_ACCESS, "operator readwrite\n".into())));
}

#[test]
fn jmx_over_tls_is_served_by_cassandra_or_by_the_jvm_and_never_by_both() {
    let mut node = Node::new(Version::V5_0, "127.0.0.9", "/s");
    for (server, port) in [
        (JmxServer::Cassandra, "-Dcassandra.jmx.local.port=7199"),
        (
            JmxServer::Jvm { registry_ssl: true },
            "-Dcom.sun.management.jmxremote.port=7199",
        ),
    ] {
        node.jmx = Jmx::Tls(JmxTls {
            credentials: Credentials::new("operator", "s3cret"),
            stores: "/tls".into(),
            client_certificate: true,
            server,
        });
        let arguments = node.jvm("/jars", "jamm.jar");
        let ports: Vec<_> = arguments.iter().filter(|a| a.contains(".port=")).collect();
        assert_eq!(ports, [port]);
        assert!(arguments.contains(&"-Dcom.sun.management.jmxremote.ssl=true".into()));
        assert!(arguments.contains(&"-Djavax.net.ssl.keyStore=/tls/server.p12".into()));
        assert!(!arguments.join(" ").contains("s3cret"));
    }
}
