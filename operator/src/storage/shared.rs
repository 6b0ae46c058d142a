//! A directory that pods mount: one pod writes, the others read, and then it is known whether all see
//! one place.

use crds::{FilePods, FileStorage};
use futures::StreamExt;
use futures::stream;
use kube::core::Selector;
use protocol::{Outcome, ProbeRequest, Reason, StorageAccess, Verdict};
use uuid::Uuid;

use super::findings::{Asked, Finding, Findings};
use crate::conditions::Is;
use crate::context::Context;
use crate::exec::Target;
use crate::node::{self, Tools};
use crate::pod::PodView;

/// Pods that are asked at the same time.
const AT_ONCE: usize = 8;

/// What a pod said, or why it said nothing.
type Said = (String, Result<Outcome, String>);

/// Asks the pods.
pub(super) async fn ask(
    context: &Context,
    namespace: &str,
    file: &FileStorage,
    pods: &FilePods,
    read_only: bool,
) -> Result<Findings, kube::Error> {
    let selector = match Selector::try_from(pods.pod_selector.clone()) {
        Ok(selector) => selector,
        Err(error) => {
            let message = format!("spec.file.pods.podSelector: {error}");
            let pods = Asked::Missing(Reason::InvalidRequest, message.clone());
            return Ok(known(pods, unknown(Reason::InvalidRequest, message)));
        }
    };
    let found = context.tools.cluster.pods(namespace, &selector).await?;
    let (ready, late) = split(found, namespace, pods.container.as_deref());
    let Some((writer, readers)) = ready.split_first() else {
        let message = match late.first() {
            Some((pod, Err(why))) => format!("no pod can be asked; {pod}: {why}"),
            _ => format!(
                "no pod of this namespace matches spec.file.pods.podSelector ({selector}): correct it, or start what mounts the directory"
            ),
        };
        let shared = unknown(Reason::PodsNotFound, message);
        return Ok(known(Asked::PodsOnly, shared));
    };
    let probing = Probing {
        tools: &context.tools,
        path: &file.path,
        // A name of its own each time: what an earlier probe left would be no proof.
        object: (!read_only).then(|| Uuid::new_v4().to_string()),
    };
    let seen = if read_only {
        let why = Reason::StorageReadOnly;
        Ok(unknown(why, why.explanation().into()))
    } else if readers.is_empty() {
        Ok(shared(&file.path, &writer.pod, &late))
    } else {
        probing.share(writer, readers, late).await
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(asked) => return Ok(asked),
    };
    // The last look, with a delete, shows all that works.
    Ok(match probing.probe(writer, false, false).await {
        Err(why) if seen.is == Is::True => known(Asked::PodsOnly, unwritten(writer, &why)),
        Ok(outcome) if seen.is == Is::True && !wrote(&outcome) => {
            let shared = unwritten(writer, &outcome.message);
            known(Asked::Told(Box::new(outcome)), shared)
        }
        Err(_) => known(Asked::PodsOnly, seen),
        Ok(outcome) => known(Asked::Told(Box::new(outcome)), seen),
    })
}

/// The containers that can be asked, and why others cannot.
fn split(
    found: Vec<PodView>,
    namespace: &str,
    container: Option<&str>,
) -> (Vec<Target>, Vec<Said>) {
    let (mut ready, mut late) = (Vec::new(), Vec::new());
    for pod in found.into_iter().filter(|pod| !pod.ended && !pod.leaving) {
        match pod.container(container) {
            Ok(one) => ready.push(Target {
                namespace: namespace.to_owned(),
                pod: pod.name.clone(),
                container: one.name.clone(),
            }),
            Err(problem) => late.push((pod.name.clone(), Err(problem.to_string()))),
        }
    }
    (ready, late)
}

/// One probe, over several pods.
struct Probing<'a> {
    tools: &'a Tools,
    path: &'a str,
    object: Option<String>,
}

impl Probing<'_> {
    async fn probe(&self, target: &Target, leave: bool, left: bool) -> Result<Outcome, String> {
        let storage = StorageAccess::File {
            path: self.path.to_owned(),
        };
        let request = ProbeRequest {
            storage,
            object: self.object.clone(),
            leave,
            left,
            // Only the last look.
            survey: !leave && !left,
        };
        node::probe(self.tools, target, request).await
    }

    /// One writes, the others read; what is known already if the one could not write.
    async fn share(
        &self,
        writer: &Target,
        readers: &[Target],
        mut said: Vec<Said>,
    ) -> Result<Finding, Findings> {
        match self.probe(writer, true, false).await {
            Ok(outcome) if wrote(&outcome) => {}
            Ok(outcome) => {
                let shared = unwritten(writer, &outcome.message);
                return Err(known(Asked::Told(Box::new(outcome)), shared));
            }
            Err(why) => return Err(known(Asked::PodsOnly, unwritten(writer, &why))),
        }
        let read = readers.iter().map(|target| async move {
            (target.pod.clone(), self.probe(target, false, true).await)
        });
        let read = stream::iter(read.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        said.extend(read.collect::<Vec<_>>().await);
        said.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(shared(self.path, &writer.pod, &said))
    }
}

fn wrote(outcome: &Outcome) -> bool {
    let write = outcome.probe.as_ref().map(|probed| probed.write.verdict);
    write == Some(Verdict::Yes)
}

fn unwritten(writer: &Target, why: &str) -> Finding {
    let message = format!("pod {} could not write: {why}", writer.pod);
    unknown(Reason::NotProbed, message)
}

fn known(pods: Asked, shared: Finding) -> Findings {
    Findings {
        pods,
        maintenance: None,
        shared: Some(shared),
    }
}

fn unknown(reason: Reason, message: String) -> Finding {
    Finding {
        type_: "Shared",
        is: Is::Unknown,
        reason,
        message,
    }
}

/// Whether the pods see what one of them wrote.
fn shared(path: &str, writer: &str, others: &[Said]) -> Finding {
    let blind: Vec<&str> = others
        .iter()
        .filter(|(_, said)| said.as_ref().is_ok_and(does_not_see))
        .map(|(pod, _)| pod.as_str())
        .collect();
    if !blind.is_empty() {
        return Finding {
            type_: "Shared",
            is: Is::False,
            reason: Reason::StorageUnsuitable,
            message: format!(
                "what pod {writer} wrote to {path} is not seen there by {}: mount the same volume in all pods",
                blind.join(", ")
            ),
        };
    }
    let silent = others.iter().find_map(|(pod, said)| match said {
        Ok(outcome) if sees(outcome) => None,
        Ok(outcome) => Some(format!("{pod}: {}", outcome.message)),
        Err(why) => Some(format!("{pod}: {why}")),
    });
    match silent {
        Some(why) => unknown(
            Reason::PodNotReady,
            format!("not all pods could be asked; {why}"),
        ),
        None => Finding {
            type_: "Shared",
            is: Is::True,
            reason: Reason::Probed,
            message: format!("{} pods see one place", others.len() + 1),
        },
    }
}

fn verdict(outcome: &Outcome) -> Verdict {
    let Some(probed) = &outcome.probe else {
        return Verdict::Unknown;
    };
    match probed.reach.verdict {
        Verdict::Yes => probed.read.verdict,
        other => other,
    }
}

fn sees(outcome: &Outcome) -> bool {
    verdict(outcome) == Verdict::Yes
}

fn does_not_see(outcome: &Outcome) -> bool {
    verdict(outcome) == Verdict::No
}

#[cfg(test)]
mod tests {
    use protocol::{Probed, Seen};

    use super::*;

    fn saw(reach: Verdict, read: Verdict) -> Result<Outcome, String> {
        let seen = |verdict| Seen {
            verdict,
            ..Seen::default()
        };
        let probed = Probed {
            reach: seen(reach),
            read: seen(read),
            ..Probed::default()
        };
        Ok(Outcome {
            probe: Some(Box::new(probed)),
            ..Outcome::ended(Reason::Failed, "m", 1)
        })
    }

    #[test]
    fn one_pod_that_does_not_see_it_is_enough_and_one_that_is_not_heard_leaves_it_open() {
        use Verdict::{No, Unknown, Yes};
        let of = |others: Vec<Result<Outcome, String>>| {
            let named = others.into_iter().enumerate();
            let others: Vec<_> = named
                .map(|(number, said)| (format!("c-{}", number + 1), said))
                .collect();
            shared("/backup", "c-0", &others)
        };
        assert_eq!(of(vec![]).is, Is::True);
        assert_eq!(of(vec![saw(Yes, Yes), saw(Yes, Yes)]).is, Is::True);
        for silent in [
            Err("no route".to_owned()),
            saw(Unknown, Unknown),
            saw(Yes, Unknown),
        ] {
            let found = of(vec![saw(Yes, Yes), silent.clone()]);
            assert_eq!((found.is, found.reason), (Is::Unknown, Reason::PodNotReady));
            assert!(found.message.contains("c-2"), "{found:?}");
            for blind in [saw(Yes, No), saw(No, Unknown)] {
                let found = of(vec![saw(Yes, Yes), silent.clone(), blind]);
                assert_eq!(
                    (found.is, found.reason),
                    (Is::False, Reason::StorageUnsuitable)
                );
                assert!(found.message.contains("seen there by c-3"), "{found:?}");
            }
        }
    }
}
