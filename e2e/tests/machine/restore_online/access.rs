//! Where passwords are asked for; and roles, which come back where they are named.

use std::fs;

use e2e::parts::cassandra::config::{Credentials, Jmx};
use e2e::parts::cassandra::cql;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;

use super::cluster::{Cluster, Storage, rows, run};

/// A node that asks for passwords, and the flags of somebody who knows them.
struct Guarded {
    cluster: Cluster,
    flags: Vec<String>,
    secrets: tempfile::TempDir,
}

impl Guarded {
    /// With a superuser of this name.
    async fn start(superuser: &str) -> Self {
        let owner = Credentials::new(superuser, "it's one");
        let operator = Credentials::new("ops", "another-one");
        let secrets = tempfile::tempdir().unwrap();
        let file = |name: &str, secret: &Credentials| {
            let path = secrets.path().join(name);
            fs::write(&path, &secret.password).unwrap();
            format!("--{name}-password-file={}", path.display())
        };
        let flags = vec![
            format!("--cql-user={superuser}"),
            file("cql", &owner),
            "--jmx-user=ops".to_owned(),
            file("jmx", &operator),
        ];
        let options = Options {
            jmx: Jmx::Password(operator),
            cql: Some(owner),
            ..Options::default()
        };
        Self {
            cluster: Cluster::start(1, &options).await,
            flags,
            secrets,
        }
    }

    fn node(&self) -> &HostCassandra {
        &self.cluster.nodes[0]
    }

    fn with<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let own = self.flags.iter().map(String::as_str);
        own.chain(more.iter().copied()).collect()
    }

    /// Fails unless it ends with this code; what it said.
    async fn restore(&self, storage: &Storage, flags: &[&str], code: i32) -> String {
        let ended = self.cluster.restore(0, storage, &self.with(flags)).await;
        ended.expect(code)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_come_back_where_they_are_named_and_nobody_is_shut_out() {
    let storage = Storage::new();
    let orders = Rows::new("shop", "orders");
    let app = Credentials::new("app", "of the app");
    {
        let source = Guarded::start("owner").await;
        let session = source.node().session().await.unwrap();
        orders.create(&session, "dc1", 1).await.unwrap();
        orders.write(&session, 0..100).await.unwrap();
        run(
            &session,
            &[
                "CREATE ROLE app WITH PASSWORD = 'of the app' AND LOGIN = true",
                "GRANT SELECT ON KEYSPACE shop TO app",
            ],
        )
        .await;
        let flags = source.with(&[]);
        source.cluster.back_up_with(0, &storage, "b1", &flags).await;
    }
    let target = Guarded::start("keeper").await;
    let session = target.node().session().await.unwrap();
    let roles = async || {
        let roles = rows(&session, "SELECT JSON role FROM system_auth.roles").await;
        roles.join(" ")
    };

    fs::write(target.secrets.path().join("wrong"), "a guess").unwrap();
    let wrong = format!(
        "--cql-password-file={}",
        target.secrets.path().join("wrong").display()
    );
    let mut flags = target.with(&["--backup=b1", "--mode=merge"]);
    flags[1] = &wrong;
    let said = target.cluster.restore(0, &storage, &flags).await.expect(12);
    assert!(said.contains("--cql-password-file"), "{said}");
    assert!(!said.contains("a guess"), "{said}");

    // Roles are left alone, unless they are named.
    let merge = ["--backup=b1", "--mode=merge"];
    target.restore(&storage, &merge, 0).await;
    orders.check(&session, 0..100).await.unwrap();
    assert!(!roles().await.contains("app"), "{}", roles().await);

    // Replaced they are never: whoever restores would be shut out.
    let replace = ["--backup=b1", "--mode=replace", "--keyspaces=system_auth"];
    let said = target.restore(&storage, &replace, 2).await;
    assert!(said.contains("would remove all roles"), "{said}");
    let roles_too = [&merge[..], &["--keyspaces=system_auth"]].concat();
    target.restore(&storage, &roles_too, 0).await;
    let all = roles().await;
    for role in ["app", "owner", "keeper"] {
        assert!(all.contains(role), "{role}: {all}");
    }
    let as_app = cql::connect(&[target.node().address()], Some(&app))
        .await
        .unwrap();
    orders.check(&as_app, 0..100).await.unwrap();
    // What the role may not do it still may not.
    let drop = as_app.query_unpaged("DROP TABLE shop.orders", ()).await;
    assert!(
        format!("{drop:?}").contains("no DROP permission"),
        "{drop:?}"
    );
}
