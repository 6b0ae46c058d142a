//! The order of backups, restores, purges and repairs that loses nothing, as rules that a test can break.

/// A rule of the storage's protocol (`docs/storage-layout.md`, "Purge").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A backup writes its intent before it looks at the storage.
    IntentBeforeLook,
    /// A backup reads the condemned lists.
    CondemnedRead,
    /// It reads them before it lists what is there.
    CondemnedBeforeList,
    /// A backup renews the time of what is stored already, so that a cleanup by age spares it.
    StoredRenewed,
    /// Data is stored before the manifest.
    DataBeforeManifest,
    /// What was uploaded is settled before the manifest names it.
    SettleBeforeManifest,
    /// A backup commits only before its deadline.
    CommitBeforeDeadline,
    /// A purge writes its condemned list before its last look.
    CondemnedBeforeLook,
    /// Its last look is at intents.
    IntentsAgain,
    /// Its last look is at manifests.
    ManifestsAgain,
    /// It looks at intents first, then at manifests.
    IntentsBeforeManifests,
    /// A purge deletes only before its deadline.
    DeletesBeforeDeadline,
    /// The condemned list goes after the last delete.
    CondemnedUntilDeleted,
    /// Intents are honoured for a margin after their deadline.
    IntentMargin,
    /// Condemned lists are honoured for a margin after their deadline.
    CondemnedMargin,
    /// Expired manifests go before the data that they name.
    ManifestsBeforeData,
    /// A purge tells which dead intents it removes, and a backup whose own name is among them
    /// takes another.
    IntentsCondemned,
    /// A repair looks at an object again, once nobody new can rely on it, before it deletes it.
    WrongAgain,
    /// A purge of a file system waits before its last look until every client sees what it condemns, and
    /// it sees what others wrote.
    CacheWait,
    /// It waits until every client sees that its last delete is done, before its list goes.
    CacheWaitAgain,
    /// A restore writes its intent before it looks whether a purge has its backup.
    HoldBeforeLook,
    /// A restore looks whether a purge has its backup.
    HeldCondemnedRead,
    /// A restore looks again whether its backup is there, once it is held.
    HeldManifestsAgain,
}

/// Which rules are kept: all of them, outside tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    broken: Option<Rule>,
}

impl Order {
    /// Every rule is kept.
    pub const RIGHT: Self = Self { broken: None };

    /// Every rule but one.
    #[cfg(feature = "testing")]
    pub fn without(rule: Rule) -> Self {
        Self { broken: Some(rule) }
    }

    /// Whether a rule is kept.
    pub(crate) fn keeps(self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }
}
