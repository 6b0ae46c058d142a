//! The part of an attempt that shares the storage with purges and other backups, in the order that
//! loses nothing: intent, condemned lists, listing, plan, upload and touch, and the manifest last,
//! before the intent's deadline.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use manifest::{BackupName, Header, NodeLayout, SchemaObject};
use protocol::{NodeIdentity, Phase, Progress};
use store::{Key, Store};

use super::commit::{self, Ensured, Reliances, WrittenIntent};
use super::error::Error;
use super::inventory::Inventory;
use super::plan::Storage;
use super::remote::{self, Looking};
use super::transfer::{self, Transfer, Transferred};
use crate::lease::{Deadline, Timer};
use crate::order::{Order, Rule};
use crate::run_context::Run;

/// How long a purge is waited for that is about to delete what this run needs.
const PURGE_PATIENCE: Duration = Duration::from_secs(120);
const PURGE_POLL: Duration = Duration::from_secs(5);

/// What the part works with.
pub struct Exchange<'a> {
    /// Who it is, and who is told.
    pub run: &'a Run,
    /// The node, for the phases that are told.
    pub node: Option<&'a NodeIdentity>,
    /// The storage.
    pub store: &'a dyn Store,
    /// Keys of this node.
    pub layout: &'a NodeLayout,
    /// The backup.
    pub backup: &'a BackupName,
    /// Younger objects are not touched.
    pub touch_after: Duration,
    /// Until when the manifest has to be there.
    pub lifetime: Duration,
    /// Carries the plan out.
    pub transfer: Transfer<'a>,
    /// The process's clock.
    pub timer: &'a dyn Timer,
    /// Every rule, outside tests.
    pub order: Order,
}

/// The schema of the whole cluster, as an object.
pub struct WholeSchema {
    text: Bytes,
    key: Key,
    object: SchemaObject,
}

impl WholeSchema {
    /// Gives it its key.
    pub fn new(layout: &NodeLayout, text: String) -> Result<Self, Error> {
        let hash = blake3::hash(text.as_bytes());
        let object = SchemaObject {
            object: NodeLayout::schema_object(&hash),
            bytes: text.len() as u64,
            blake3: hash.to_hex().to_string(),
        };
        let key = Key::parse(&layout.node_schema(&object.object))?;
        Ok(Self {
            text: text.into(),
            key,
            object,
        })
    }
}

#[cfg(feature = "testing")]
impl WholeSchema {
    /// A schema whose text is its own key.
    pub fn stored_as(key: Key, object: String) -> Self {
        let text = Bytes::copy_from_slice(key.as_str().as_bytes());
        let object = SchemaObject {
            object,
            bytes: text.len() as u64,
            blake3: blake3::hash(&text).to_hex().to_string(),
        };
        Self { text, key, object }
    }
}

/// What is known only when everything is stored.
pub struct Closing {
    /// The header, whose schema is filled in here.
    pub header: Header,
    /// The tokens file.
    pub tokens: String,
}

impl Exchange<'_> {
    /// Stores the inventory and commits it. `closing` is asked when all data is stored; `progress`
    /// is kept up to date also where this fails. Returns the manifest's key.
    pub async fn carry_out(
        &self,
        inventory: &mut Inventory,
        schema: Option<WholeSchema>,
        closing: impl AsyncFnOnce() -> Result<Closing, Error>,
        progress: &mut Progress,
    ) -> Result<String, Error> {
        let tokens = Key::parse(&self.layout.tokens(self.backup))?;
        let deadline = Deadline::after(self.lifetime, self.store, self.timer).await?;
        let storage = self
            .declare_and_look(inventory, schema.as_ref(), &tokens, &deadline)
            .await?;
        let earlier = transfer::earlier(self.store, self.layout, inventory, &storage).await?;
        if !self.order.keeps(Rule::DataBeforeManifest) {
            let closing = closing().await?;
            let nothing = Transferred::default();
            self.commit(inventory, nothing, schema, closing, &deadline, progress)
                .await?;
            self.transfer
                .carry_out(inventory, &storage, &earlier)
                .await?;
            return Ok(self.layout.manifest(self.backup));
        }
        self.run.phase(Phase::Uploading, self.node);
        let transferred = self
            .transfer
            .carry_out(inventory, &storage, &earlier)
            .await?;
        *progress = transferred.progress;
        self.run.phase(Phase::Committing, self.node);
        let closing = closing().await?;
        self.commit(inventory, transferred, schema, closing, &deadline, progress)
            .await?;
        Ok(self.layout.manifest(self.backup))
    }

    /// Writes down what the attempt relies on, then looks.
    async fn declare_and_look(
        &self,
        inventory: &Inventory,
        schema: Option<&WholeSchema>,
        tokens: &Key,
        deadline: &Deadline,
    ) -> Result<Storage, Error> {
        let others: Vec<&Key> = schema
            .map(|schema| &schema.key)
            .into_iter()
            .chain([tokens])
            .collect();
        let relies_on = Reliances {
            inventory,
            others: &others,
        };
        let first = self.run.attempt;
        if self.order.keeps(Rule::IntentBeforeLook) {
            let intent = self.write_intent(first, &relies_on, deadline).await?;
            return self.look(&relies_on, Some(intent), deadline).await;
        }
        let storage = self.look(&relies_on, None, deadline).await?;
        self.write_intent(first, &relies_on, deadline).await?;
        Ok(storage)
    }

    async fn write_intent(
        &self,
        first: u32,
        relies_on: &Reliances<'_>,
        deadline: &Deadline,
    ) -> Result<WrittenIntent, Error> {
        let run = (self.run.id, first);
        let (store, state) = (self.store, &self.run.state);
        commit::write_intent(
            store,
            self.layout,
            self.backup,
            run,
            relies_on,
            deadline,
            state,
        )
        .await
    }

    /// What the storage holds, once no purge is about to delete what this run needs.
    async fn look(
        &self,
        relies_on: &Reliances<'_>,
        mut intent: Option<WrittenIntent>,
        deadline: &Deadline,
    ) -> Result<Storage, Error> {
        let started = self.timer.now();
        loop {
            let own = intent.as_ref().map(|intent| intent.key.clone());
            let looking = Looking {
                layout: self.layout,
                inventory: relies_on.inventory,
                wanted: relies_on.keys().chain(own).collect(),
                touch_after: match self.order.keeps(Rule::StoredRenewed) {
                    true => self.touch_after,
                    false => Duration::MAX,
                },
                order: self.order,
            };
            let mut storage = looking.look(self.store).await?;
            if let Some(written) = &intent
                && storage.condemned.remove(written.key.as_str())
                && self.order.keeps(Rule::IntentsCondemned)
            {
                // A purge took it for one that an attempt of this number left long ago.
                let next = written.attempt.saturating_add(1);
                intent = Some(self.write_intent(next, relies_on, deadline).await?);
                continue;
            }
            match storage.condemned.iter().next() {
                None => return Ok(storage),
                Some(key) if self.timer.now().saturating_sub(started) > PURGE_PATIENCE => {
                    return Err(Error::Purge(key.clone()));
                }
                Some(_) => self.timer.sleep(PURGE_POLL).await,
            }
        }
    }

    /// Schema, tokens, and then the manifest.
    async fn commit(
        &self,
        inventory: &Inventory,
        transferred: Transferred,
        schema: Option<WholeSchema>,
        closing: Closing,
        deadline: &Deadline,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let Closing { mut header, tokens } = closing;
        if let Some(schema) = schema {
            self.put_schema(&schema, progress).await?;
            header.schema = Some(schema.object);
        }
        let key = Key::parse(&self.layout.tokens(self.backup))?;
        commit::ensure(self.store, &key, &tokens.into()).await?;
        let tokens = self.layout.tokens_in_cluster(self.backup);
        let footer = commit::footer(progress, tokens, transferred.left_out);
        let state: &Path = &self.run.state;
        let manifest = commit::manifest(header, inventory, footer, state)?;
        let key = Key::parse(&self.layout.manifest(self.backup))?;
        if self.order.keeps(Rule::SettleBeforeManifest) {
            self.store.settle().await?;
        }
        // Last of all: between this and the write lies one request, and the margin.
        deadline.look(self.store, self.timer).await?;
        if deadline.passed(self.timer) && self.order.keeps(Rule::CommitBeforeDeadline) {
            return Err(Error::Deadline);
        }
        if manifest.create(self.store, &key).await? {
            return Ok(());
        }
        // The answer to our own write may have been lost, or another run was faster.
        match remote::committed(self.store, self.layout, self.backup).await? {
            Some((header, _)) if header.run_id == self.run.id => Ok(()),
            Some((header, _)) => Err(Error::Exists {
                backup: self.backup.to_string(),
                run_id: header.run_id,
            }),
            None => Err(Error::Answer(
                "a manifest that is there is not there".into(),
            )),
        }
    }

    async fn put_schema(&self, schema: &WholeSchema, progress: &mut Progress) -> Result<(), Error> {
        let WholeSchema { text, key, object } = schema;
        progress.total.add(object.bytes);
        match commit::ensure(self.store, key, text).await? {
            Ensured::Created => {
                progress.uploaded.add(object.bytes);
                progress.to_upload.add(object.bytes);
            }
            Ensured::Touched { size } if size == object.bytes => {
                progress.reused.add(object.bytes);
                progress.touched += 1;
            }
            Ensured::Touched { size } => {
                return Err(Error::Conflict {
                    key: key.to_string(),
                    expected: object.bytes,
                    found: size,
                });
            }
        }
        Ok(())
    }
}
