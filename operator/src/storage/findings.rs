//! From what probes saw to conditions.

use crds::BackupStorageSpec;
use protocol::{Outcome, Probed, Reason, Seen, Survey, Verdict};

use crate::conditions::Is;

/// How it went to ask a storage with one of its identities.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// This is what the agent saw.
    Told(Box<Outcome>),
    /// Only pods can: they mount the volume, or have the identity.
    PodsOnly,
    /// What is needed to ask is missing.
    Missing(Reason, String),
    /// The agent did not say how it went.
    Silent(Reason, String),
}

/// What is known about a storage.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    /// With the identity of the agents in the pods.
    pub(super) pods: Asked,
    /// With that of maintenance, where it is another one.
    pub(super) maintenance: Option<Asked>,
    /// Whether all pods see one directory, where they were asked.
    pub(super) shared: Option<Finding>,
}

impl Findings {
    /// What is a property of the place, anyone can tell who has seen it.
    fn of_the_place(&self) -> &Asked {
        match (&self.pods, &self.maintenance) {
            (Asked::PodsOnly, Some(maintenance)) => maintenance,
            (pods, _) => pods,
        }
    }

    /// The clusters that have backups in it, if they could be told.
    pub(super) fn survey(&self) -> Option<&Survey> {
        let Asked::Told(outcome) = self.of_the_place() else {
            return None;
        };
        let survey = outcome.probe.as_ref()?.survey.as_ref()?;
        (is_whole(survey) || is_partial(survey)).then_some(survey)
    }
}

/// Whether a survey has told of all that is in the storage.
pub(super) fn is_whole(survey: &Survey) -> bool {
    survey.seen.verdict == Verdict::Yes
}

/// Whether it has told of some clusters, since it could not look into all folders.
fn is_partial(survey: &Survey) -> bool {
    survey.seen.verdict == Verdict::Unknown && !survey.clusters.is_empty()
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) type_: &'static str,
    pub(super) is: Is,
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// Every condition of the storage but those of kstatus, `Ready` first.
pub(super) fn findings(spec: &BackupStorageSpec, known: &Findings) -> Vec<Finding> {
    let maintenance = known.maintenance.as_ref().unwrap_or(&known.pods);
    let pods = Sight::of(&known.pods);
    let place = Sight::of(known.of_the_place());
    let mut findings = vec![ready(spec, known)];
    if spec.read_only {
        let unwritten = |type_, is| Finding {
            type_,
            is,
            reason: Reason::StorageReadOnly,
            message: Reason::StorageReadOnly.explanation().into(),
        };
        let list = place.seen(|it| &it.list);
        findings.push(match list.verdict {
            Verdict::Yes => unwritten("Readable", Is::Unknown),
            _ => finding("Readable", list),
        });
        findings.push(unwritten("Writable", Is::False));
        findings.push(unwritten("CreateOnly", Is::Unknown));
        findings.push(unwritten("Touchable", Is::Unknown));
        findings.push(unwritten("Deletable", Is::False));
    } else {
        let both = worse(pods.seen(|it| &it.list), pods.seen(|it| &it.read));
        findings.push(finding("Readable", both));
        findings.push(finding("Writable", pods.seen(|it| &it.write)));
        findings.push(finding("CreateOnly", place.seen(|it| &it.create_only)));
        findings.push(finding("Touchable", place.seen(|it| &it.touch)));
        findings.push(deletable(maintenance));
    }
    if spec.file.is_none() {
        findings.push(finding(
            "KeepsVersions",
            place.seen(|it| &it.keeps_versions),
        ));
    }
    if spec.file.is_some() {
        let unasked = || finding("Shared", Sight::of(&Asked::PodsOnly).seen(|it| &it.reach));
        findings.push(known.shared.clone().unwrap_or_else(unasked));
    }
    findings.push(finding("Surveyed", place.seen(surveyed)));
    say_once(&mut findings);
    findings
}

/// Where nothing was tried for the reason that `Ready` tells, it is told there.
fn say_once(findings: &mut [Finding]) {
    let Some((ready, others)) = findings.split_first_mut() else {
        return;
    };
    if ready.is != Is::False || ready.message.is_empty() {
        return;
    }
    let same = |one: &&mut Finding| one.is == Is::Unknown && one.message.ends_with(&ready.message);
    for one in others.iter_mut().filter(same) {
        one.message = "not tried: see Ready".into();
    }
}

fn ready(spec: &BackupStorageSpec, known: &Findings) -> Finding {
    // Each pod would have a part of the backup.
    if let Some(shared) = &known.shared
        && shared.is == Is::False
    {
        return Finding {
            type_: "Ready",
            ..shared.clone()
        };
    }
    // Where nothing is written, it matters to nobody but the operator, whoever it is then.
    let asked = match spec.read_only {
        true => known.of_the_place(),
        false => &known.pods,
    };
    let (is, reason, message) = match asked {
        Asked::Told(outcome) if outcome.reason == Reason::Reachable => {
            let limit = if spec.read_only {
                "; it is read-only, so that no backup is made into it"
            } else {
                ""
            };
            (
                Is::True,
                Reason::Reachable,
                format!("{}{limit}", outcome.message),
            )
        }
        Asked::Told(outcome) => (Is::False, outcome.reason, outcome.message.clone()),
        Asked::Missing(reason, message) => (Is::False, *reason, message.clone()),
        Asked::Silent(reason, message) => (Is::False, *reason, message.clone()),
        Asked::PodsOnly => match &known.maintenance {
            // A refusal says nothing about the pods, but where nothing is, nobody finds anything.
            Some(Asked::Told(outcome))
                if matches!(
                    outcome.reason,
                    Reason::StorageNotFound
                        | Reason::StorageUnavailable
                        | Reason::StorageUnsuitable
                ) =>
            {
                (Is::False, outcome.reason, outcome.message.clone())
            }
            _ => (
                Is::True,
                Reason::NotProbed,
                Reason::NotProbed.explanation().into(),
            ),
        },
    };
    Finding {
        type_: "Ready",
        is,
        reason,
        message,
    }
}

/// Whoever has nothing to ask with has nothing to delete with.
fn deletable(maintenance: &Asked) -> Finding {
    match maintenance {
        Asked::Missing(reason, message) => Finding {
            type_: "Deletable",
            is: Is::False,
            reason: *reason,
            message: message.clone(),
        },
        other => finding("Deletable", Sight::of(other).seen(|it| &it.delete)),
    }
}

/// What one identity saw.
enum Sight<'a> {
    All(&'a Probed),
    Nothing(Seen),
}

impl<'a> Sight<'a> {
    fn of(asked: &'a Asked) -> Self {
        let nothing = |reason, message: &str| {
            Self::Nothing(Seen {
                verdict: Verdict::Unknown,
                reason,
                message: message.to_owned(),
            })
        };
        match asked {
            Asked::Told(outcome) => match &outcome.probe {
                Some(probed) => Self::All(probed),
                None => nothing(outcome.reason, &outcome.message),
            },
            Asked::PodsOnly => nothing(Reason::NotProbed, Reason::NotProbed.explanation()),
            Asked::Missing(reason, message) => nothing(*reason, message),
            Asked::Silent(reason, message) => nothing(*reason, message),
        }
    }

    /// One of the things; where it was not tried, why.
    fn seen(&self, which: impl Fn(&Probed) -> &Seen) -> Seen {
        let probed = match self {
            Self::Nothing(why) => return why.clone(),
            Self::All(probed) => probed,
        };
        let seen = which(probed);
        if seen != &Seen::default() {
            return seen.clone();
        }
        let missed = |what: &str, why: &Seen| Seen {
            verdict: Verdict::Unknown,
            reason: why.reason,
            message: format!("not tried, since {what}: {}", why.message),
        };
        if probed.reach.verdict != Verdict::Yes {
            return missed("the storage was not reached", &probed.reach);
        }
        if probed.write.verdict != Verdict::Yes {
            return missed("no object could be written", &probed.write);
        }
        seen.clone()
    }
}

/// Whether it could be told whose backups are in it. An agent of an older version does not know.
fn surveyed(probed: &Probed) -> &Seen {
    const NOT_TOLD: &Seen = &Seen {
        verdict: Verdict::Unknown,
        reason: Reason::NotProbed,
        message: String::new(),
    };
    probed
        .survey
        .as_ref()
        .map_or(NOT_TOLD, |Survey { seen, .. }| seen)
}

/// The one that says less good.
fn worse(one: Seen, other: Seen) -> Seen {
    let rank = |seen: &Seen| match seen.verdict {
        Verdict::No => 0,
        Verdict::Unknown => 1,
        Verdict::Yes => 2,
    };
    if rank(&one) < rank(&other) {
        one
    } else {
        other
    }
}

fn finding(type_: &'static str, seen: Seen) -> Finding {
    Finding {
        type_,
        is: match seen.verdict {
            Verdict::Yes => Is::True,
            Verdict::No => Is::False,
            Verdict::Unknown => Is::Unknown,
        },
        reason: seen.reason,
        message: seen.message,
    }
}
