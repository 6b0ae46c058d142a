//! What goes wrong on the way: a schema that differs, a damaged object, an operator that is killed at
//! every turn.

use crds::{CassandraRestore, RestorePhase};
use e2e::parts::minio::Minio;
use e2e::product::BUCKET;
use serde_json::json;

use super::{DB, Ground, MINUTES, why};

impl Ground<'_> {
    pub(super) async fn another_table_of_the_same_name_stays_as_it_is(&self) {
        let session = self.cluster.session().await.unwrap();
        for statement in [
            "DROP TABLE shop.people",
            "CREATE TABLE shop.people (id text PRIMARY KEY, city text)",
            "INSERT INTO shop.people (id, city) VALUES ('here', 'Narvik')",
        ] {
            session.query_unpaged(statement, ()).await.unwrap();
        }
        self.restore("other-schema", json!({})).await;
        let status = self.ended("other-schema").await;
        let (reason, message) = why(&status);
        assert_eq!(reason, "RestoreRefused", "{message}");
        assert!(message.starts_with("nothing was changed"), "{message}");
        assert!(
            message.contains("shop.people is there and differs"),
            "{message}"
        );
        let query = "SELECT city FROM shop.people WHERE id = 'here'";
        let found = session.query_unpaged(query, ()).await.unwrap();
        let found = found.into_rows_result().unwrap();
        assert_eq!(found.single_row::<(String,)>().unwrap().0, "Narvik");
        let dropped = session.query_unpaged("DROP TABLE shop.people", ()).await;
        dropped.unwrap();
    }

    pub(super) async fn a_damaged_object_is_named_and_the_restore_goes_on_when_it_is_whole(
        &self,
        minio: &Minio,
    ) {
        let of_orders = |key: &str| key.contains("/shop/orders-") && key.ends_with("-Data.db");
        let data = format!("{DB}/data/");
        let damaged = minio.damage(BUCKET, &data, of_orders).await.unwrap();
        let key = &damaged.key;

        self.restore("damaged", json!({})).await;
        let status = self.ended("damaged").await;
        let (reason, message) = why(&status);
        assert_eq!(reason, "ContentMismatch", "{message}");
        let named = |text: &Option<String>| text.as_ref().is_some_and(|it| it.contains(key));
        assert!(
            status.nodes.iter().any(|it| named(&it.message)),
            "{status:#?}"
        );

        damaged.mend().await.unwrap();
        self.restore("whole-again", json!({})).await;
        self.succeeds("whole-again").await;
        self.data.check(&self.cluster).await;
    }

    pub(super) async fn an_operator_that_is_killed_at_every_turn_ends_it_all_the_same(&self) {
        self.data.spoil(&self.cluster).await;
        self.restore("every-turn", json!({"bandwidthPerNode": "250Ki"}))
            .await;
        // Some of them pass within a second.
        let mut killed_in = Vec::new();
        loop {
            let is_new = |restore: &CassandraRestore| {
                let phase = restore.status.as_ref().and_then(|it| it.phase);
                phase.is_some_and(|it| !killed_in.contains(&it))
            };
            let turn = self
                .namespace
                .wait_for("every-turn", "takes a turn", MINUTES, is_new);
            let phase = turn.await.unwrap().status.unwrap().phase.unwrap();
            if phase.is_final() {
                break;
            }
            killed_in.push(phase);
            self.operator.kill().await.unwrap();
        }
        assert!(
            killed_in.len() >= 3 && killed_in.contains(&RestorePhase::Loading),
            "{killed_in:?}"
        );
        let status = self.succeeds("every-turn").await;
        // Gone on with, not begun again.
        assert!(status.nodes.iter().all(|it| it.attempt == 1), "{status:#?}");
        self.data.check(&self.cluster).await;
    }
}
