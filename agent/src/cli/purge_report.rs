//! What a purge decided and did, for people and for programs.

use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::list;
use super::table::Table;
use crate::expiry::Done;
use crate::purge::Amount;
use crate::retention::{Candidate, Decision, Verdict};

/// For people.
pub(super) fn text(done: &Done, dry_run: bool) -> String {
    let report = &done.report;
    let mut table = Table::new(["NAME", "SERIES", "STATE", "STARTED", "VERDICT", "BECAUSE"]);
    for decision in &done.decisions {
        let of = |it: &&Candidate| it.name == decision.name;
        let Some(candidate) = done.candidates.iter().find(of) else {
            continue;
        };
        table.row([
            decision.name.to_string(),
            candidate.series.clone().unwrap_or_else(|| "-".into()),
            format!("{:?}", candidate.state),
            list::started(Some(candidate.started)),
            verdict(decision).into(),
            decision.verdict.reasons(),
        ]);
    }
    let objects =
        |amount: Amount| format!("{} objects, {}", amount.objects, HumanBytes(amount.bytes));
    let gone = if dry_run { "would go" } else { "deleted" };
    let mut lines = vec![(
        gone,
        format!(
            "{} backups, {}",
            report.expired.len(),
            objects(report.deleted)
        ),
    )];
    let mut more = |name, count: u64, what: &str| {
        if count > 0 {
            lines.push((name, format!("{count} {what}")));
        }
    };
    more(
        "young",
        report.young.objects,
        "objects that no backup needs are younger than --grace: a later purge takes them",
    );
    more("spared", report.spared, "objects are needed again");
    // Those of a backup of which others are left are in no other figure.
    let in_part = match report.unfinished {
        true => report.manifests,
        false => 0,
    };
    more(
        "manifests",
        in_part,
        "deleted before it stopped, one for each node",
    );
    more(
        "held",
        report.held.len() as u64,
        "expired backups stay, as a run relies on them or they changed",
    );
    more("intents", report.intents, "of ended runs");
    more("lists", report.condemned_lists, "of crashed purges");
    more("uploads", report.uploads, "incomplete ones ended");
    more("others", report.other_purges, "other purges are at work");
    if let Some(why) = &report.unswept {
        let told = format!("incomplete ones could not be looked for: {why}");
        lines.push(("uploads", told));
    }
    let mut text = table.draw();
    text.push('\n');
    for (name, value) in lines {
        text.push_str(&format!("{name:<10} {value}\n"));
    }
    text
}

/// For programs.
pub(super) fn document(done: &Done, dry_run: bool) -> Value {
    let report = &done.report;
    let decisions: Vec<Value> = done
        .decisions
        .iter()
        .map(|decision| {
            let reasons: Vec<String> = match &decision.verdict {
                Verdict::Keep(reasons) => reasons.iter().map(ToString::to_string).collect(),
                Verdict::Expire(reason) => vec![reason.to_string()],
            };
            json!({"backup": decision.name, "verdict": verdict(decision), "reasons": reasons})
        })
        .collect();
    let amount = |amount: Amount| json!({"objects": amount.objects, "bytes": amount.bytes});
    json!({
        "dryRun": dry_run, "decisions": decisions,
        "expired": report.expired, "held": report.held,
        "manifests": report.manifests, "deleted": amount(report.deleted),
        "young": amount(report.young), "spared": report.spared, "intents": report.intents,
        "condemnedLists": report.condemned_lists, "uploads": report.uploads,
        "otherPurges": report.other_purges, "unswept": report.unswept,
        "finished": !report.unfinished,
    })
}

fn verdict(decision: &Decision) -> &'static str {
    match decision.verdict {
        Verdict::Keep(_) => "keep",
        Verdict::Expire(_) => "expire",
    }
}
