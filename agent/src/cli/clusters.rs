//! `clusters`: whose backups are in a storage.

use clap::Args;
use protocol::{ClusterFound, ExitCode, Restorable};

use super::list;
use super::query::{self, Failure, Form};
use super::storage::StorageFlags;
use super::table::Table;
use crate::catalogue::{self, SurveyError};
use crate::storage;

#[derive(Debug, Args)]
pub(super) struct ClustersFlags {
    /// How the answer is shown
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
    #[command(flatten)]
    storage: StorageFlags,
}

impl ClustersFlags {
    /// Tells them. Returns the exit code.
    pub fn run(self) -> u8 {
        query::answer(async {
            let access = self.storage.access().map_err(Failure::usage)?;
            let store = storage::open(&access).await?;
            store.reach().await?;
            match catalogue::survey(store.as_ref()).await {
                Ok(found) => {
                    self.print(store.name(), &found)?;
                    Ok(ExitCode::Done)
                }
                Err(error) => {
                    // What is known all the same.
                    if let SurveyError::Partly { found, .. } = &error
                        && !found.is_empty()
                    {
                        self.print(store.name(), found)?;
                    }
                    Err(error.into())
                }
            }
        })
    }

    fn print(&self, storage: &str, found: &[ClusterFound]) -> Result<(), Failure> {
        match self.output {
            Form::Json => query::print_json(&serde_json::json!({ "clusters": found })),
            Form::Text if found.is_empty() => {
                query::print(&format!("no backup of any cluster in {storage}\n"))
            }
            Form::Text => query::print(&table(found)),
        }
    }
}

fn table(found: &[ClusterFound]) -> String {
    let time = |of: &Option<Restorable>| list::started(of.as_ref().map(|of| of.time));
    let mut table = Table::new([
        "CLUSTER",
        "BACKUPS",
        "COMPLETE",
        "FIRST RESTORABLE",
        "LAST RESTORABLE",
        "LAST BACKUP",
    ]);
    for one in found {
        let last = one.last.as_ref().map(|last| last.backup.clone());
        table.row([
            one.cluster.clone(),
            one.backups.to_string(),
            one.complete.to_string(),
            time(&one.first),
            time(&one.last),
            last.unwrap_or_else(|| "-".into()),
        ]);
    }
    table.draw()
}
