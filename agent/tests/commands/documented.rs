//! What programs read is what docs/commands.md describes, no more and no less.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use crate::stage::{Backup, LOCAL, Stage, TABLE, data_key, node};

const RING: [Uuid; 3] = [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)];
const WHOLE: &str = "nb-1-big.00000001.20";
const SHORT: &str = "nb-2-big.00000002.20";

fn backup<'a>(name: &'a str, started: &'a str, ring: &'a [Uuid]) -> Backup<'a> {
    Backup {
        name,
        started,
        series: Some("nightly"),
        ring,
    }
}

/// Two whole backups.
fn sound() -> Stage {
    let stage = Stage::new();
    for (name, started) in [
        ("older", "2026-11-01T01:00:00Z"),
        ("whole", "2026-11-02T01:00:00Z"),
    ] {
        let own = [("system", LOCAL, &[WHOLE][..]), ("shop", TABLE, &[WHOLE])];
        stage.commit_tables(&backup(name, started, &RING[..1]), node(1), &own);
    }
    stage
}

/// And one with a node that has no manifest, a manifest that is cut, and an object that is too
/// short.
fn damaged() -> Stage {
    let stage = sound();
    let damaged = backup("damaged", "2026-11-03T01:00:00Z", &RING);
    stage.commit(&damaged, node(1), &[WHOLE, SHORT]);
    stage.commit(&damaged, node(2), &[WHOLE]);
    let manifest = stage.path(&format!("manifests/damaged/{}.jsonl", node(2)));
    let whole = fs::read(&manifest).unwrap();
    fs::write(&manifest, &whole[..whole.len() - 10]).unwrap();
    fs::write(stage.path(&data_key(node(1), SHORT)), b"short").unwrap();
    stage
}

/// The section of the page whose heading begins so.
fn section(heading: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    let page = fs::read_to_string(page).unwrap();
    let mut sections = page.split("\n## ");
    let found = sections.find(|section| section.starts_with(heading));
    found.unwrap_or_else(|| panic!("no {heading}")).to_owned()
}

/// The words between backticks.
fn words(text: &str) -> BTreeSet<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .flat_map(|span| span.split(|c: char| !c.is_alphanumeric()))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The fields in the section's table: those of the first column, and those of the elements of a
/// list, whose meaning names them outside of parentheses.
fn fields(section: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let (name, meaning) = row[2..].split_once(" | ").unwrap();
        found.extend(words(name));
        if name.ends_with("[]`") {
            found.extend(words(&outside_parentheses(meaning)));
        }
    }
    found
}

fn outside_parentheses(text: &str) -> String {
    let mut depth = 0;
    let kept = text.chars().filter(|c| {
        depth += i32::from(*c == '(');
        let outside = depth == 0;
        depth -= i32::from(*c == ')');
        outside
    });
    kept.collect()
}

/// The names of all fields, at every depth.
fn told(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                found.insert(name.clone());
                told(value, found);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| told(element, found)),
        _ => {}
    }
}

#[test]
fn every_field_that_a_command_tells_is_described_and_every_field_described_is_told() {
    let (sound, damaged) = (sound(), damaged());
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    let restore = ["restore", "--offline", "--backup=whole", "--data-directory"];
    let restore = [&restore[..], &[directory]].concat();
    let verify = ["verify", "--all", "--repair", "--attribute-cache=0s"];
    let purge = ["purge", "--keep-last=1", "--dry-run"];
    let delete = ["delete", "older", "--attribute-cache=0s"];
    let of_cluster: [(&str, &Stage, &[&str]); 8] = [
        ("Backups,", &damaged, &["list"]),
        ("Backups,", &damaged, &["show", "damaged"]),
        ("`verify`", &damaged, &verify),
        (
            "`restore --offline`",
            &sound,
            &[&restore[..], &["--dry-run"]].concat(),
        ),
        ("`restore --offline`", &sound, &restore),
        ("`check`", &sound, &["check", "--no-cassandra"]),
        ("`purge`", &sound, &purge),
        ("`purge`", &sound, &delete),
    ];
    let mut documents = vec![("Clusters,", sound.json_of_all(&["clusters"]).1)];
    for (heading, stage, arguments) in of_cluster {
        documents.push((heading, stage.json(arguments).1));
    }
    let headings: BTreeSet<&str> = documents.iter().map(|(heading, _)| *heading).collect();
    for heading in headings {
        let mut names = BTreeSet::new();
        for (_, document) in documents.iter().filter(|(of, _)| *of == heading) {
            told(document, &mut names);
        }
        let section = section(heading);
        let described = words(&section);
        let unknown: Vec<_> = names.difference(&described).collect();
        assert!(unknown.is_empty(), "{heading}: not described: {unknown:?}");
        let fields = fields(&section);
        assert!(!fields.is_empty(), "{heading}: no table of fields");
        let gone: Vec<_> = fields.difference(&names).collect();
        assert!(gone.is_empty(), "{heading}: nobody tells {gone:?}");
    }
}
