//! What a page has its reader do.

use std::fs;

use e2e::parts::binaries;

/// First words of the commands that are run.
const RUN: &[&str] = &["helm", "kubectl"];
/// First words of those that are not, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "cargo",
        "the bed makes the image itself, and has no kind to load it into",
    ),
    ("az", "it needs Microsoft's cloud"),
    ("eksctl", "it needs Amazon's cloud"),
    ("gcloud", "it needs Google's cloud"),
    ("skopeo", "there is no registry to push the image to"),
];

pub fn read(page: &str) -> String {
    fs::read_to_string(binaries::workspace().unwrap().join(page)).unwrap()
}

/// What is between a title and the next one.
pub fn section<'t>(page: &'t str, title: &str) -> &'t str {
    let (_, rest) = page.split_once(&format!("\n{title}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// What a text has its reader do, in its order: the commands of its blocks, those of the plugin within sentences too,
/// and to apply its resources. A resource that is not whole there is an example.
fn steps(text: &str) -> Vec<String> {
    let mut steps = Vec::new();
    // What is between two fences is a block, all else is sentences.
    for (at, part) in text.split("```").enumerate() {
        if at % 2 == 0 {
            let sentences = part.replace('\n', " ");
            let code = sentences.split('`').skip(1).step_by(2);
            let commands = code.filter(|code| code.starts_with("kubectl cassandra-backup "));
            steps.extend(commands.map(str::to_owned));
            continue;
        }
        match part.split_once('\n').unwrap() {
            ("", block) => steps.extend(commands(&dedented(block))),
            ("yaml", block) if block.contains("apiVersion: ") => {
                steps.push(format!(
                    "kubectl apply -f - <<'EOF'\n{}EOF",
                    dedented(block)
                ));
            }
            ("yaml", _) => {}
            (language, _) => panic!("nobody runs a block of {language}: {part}"),
        }
    }
    steps
}

/// A block of a list, without what sets it below its item.
fn dedented(block: &str) -> String {
    let indent = block.len() - block.trim_start_matches(' ').len();
    let lines = block
        .lines()
        .map(|line| line.get(indent..).unwrap_or_default());
    // The last one has what stands before the fence.
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("{}\n", lines.trim_end())
}

/// The commands of a block, each with the lines that belong to it.
fn commands(block: &str) -> Vec<String> {
    let mut commands = Vec::<String>::new();
    let (mut goes_on, mut document) = (false, false);
    for line in block.lines() {
        match commands.last_mut() {
            Some(command) if goes_on || document => {
                command.push('\n');
                command.push_str(line);
            }
            _ => commands.push(line.to_owned()),
        }
        goes_on = line.ends_with('\\');
        document = match document {
            true => line != "EOF",
            false => line.ends_with("<<EOF"),
        };
    }
    commands
}

/// Why a command is not run; `None` for one that is. An error for one of which nobody has said what it needs.
fn left_out(command: &str) -> Result<Option<&'static str>, String> {
    let first = command.split_whitespace().next().unwrap_or_default();
    if RUN.contains(&first) {
        return Ok(None);
    }
    let found = ELSEWHERE.iter().find(|(word, _)| *word == first);
    let found = found.map(|(_, why)| Some(*why));
    found.ok_or_else(|| format!("neither run nor among those that cannot be: {command}"))
}

/// The steps of a text that are run.
pub fn to_run(page: &str, text: &str) -> Vec<String> {
    let mut steps = steps(text);
    steps.retain(|step| match left_out(step) {
        Ok(None) => true,
        Ok(Some(why)) => {
            eprintln!("{page}: not run, {why}: {step}");
            false
        }
        Err(error) => panic!("{page}: {error}"),
    });
    steps
}

#[test]
fn a_step_has_all_its_lines_and_an_example_is_none() {
    let text = "Say `kubectl cassandra-backup list\n--cluster a`, not `kubectl wait`:\n\
                ```\nhelm install \\\n  a\nkubectl apply -f - <<EOF\na: 1\nEOF\nkubectl get b\n```\n\
                ```yaml\nspec: {}\n```\nand\n```yaml\napiVersion: v1\n```\n\
                1. So:\n   ```\n   helm a \\\n     b\n   kubectl c\n   ```\n   \
                ```yaml\n   apiVersion: v2\n   a:\n     b: 1\n   ```\n";
    assert_eq!(
        steps(text),
        [
            "kubectl cassandra-backup list --cluster a",
            "helm install \\\n  a",
            "kubectl apply -f - <<EOF\na: 1\nEOF",
            "kubectl get b",
            "kubectl apply -f - <<'EOF'\napiVersion: v1\nEOF",
            "helm a \\\n  b",
            "kubectl c",
            "kubectl apply -f - <<'EOF'\napiVersion: v2\na:\n  b: 1\nEOF",
        ]
    );
}

#[test]
fn a_new_command_is_not_left_out_unnoticed() {
    assert_eq!(left_out("kubectl get pods"), Ok(None));
    assert!(left_out("skopeo copy a b").unwrap().is_some());
    assert!(left_out("kubectl-login now").is_err());
}
