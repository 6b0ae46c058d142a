//! The scripts are run for real, with every shell of this machine.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::exec::Session;
use crate::exec::local::LocalExec;

const SHELLS: &[&[&str]] = &[
    &["dash"],
    &["bash", "--posix"],
    &["bash"],
    &["busybox", "sh"],
];

fn shells() -> Vec<LocalExec> {
    let found: Vec<_> = SHELLS
        .iter()
        .filter(|shell| {
            std::process::Command::new(shell[0])
                .arg("-c")
                .arg(":")
                .output()
                .is_ok()
        })
        .map(|shell| LocalExec::with_shell(shell))
        .collect();
    assert!(!found.is_empty(), "no shell on this machine");
    found
}

fn target() -> Target {
    Target {
        namespace: "shop".into(),
        pod: "cassandra-0".into(),
        container: "cassandra".into(),
    }
}

/// A stand-in for the agent: a script that says the hash that the test left beside its directory.
fn agent(version: &str) -> AgentBinary {
    let script = format!(
        "#!/bin/sh\n# {}\nread -r says <\"${{0%/*}}/../says-{version}\" && echo \"$says\"\n",
        "x".repeat(70_000)
    );
    AgentBinary::new(script.into_bytes())
}

struct Container {
    root: TempDir,
}

impl Container {
    fn with(agents: &[&AgentBinary], versions: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (agent, version) in agents.iter().zip(versions) {
            std::fs::write(
                root.path().join(format!("says-{version}")),
                format!("{}\n", agent.hash),
            )
            .unwrap();
        }
        Self { root }
    }

    fn directory(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    fn files(&self, name: &str) -> Vec<String> {
        let mut files: Vec<_> = std::fs::read_dir(self.root.path().join(name))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        files
    }
}

#[tokio::test]
async fn the_agent_arrives_unchanged_and_alone_in_a_private_directory() {
    for exec in shells() {
        let agent = agent("1");
        let container = Container::with(&[&agent], &["1"]);
        let directory = container.directory("a");
        let placed = inject(&exec, &target(), &agent, std::slice::from_ref(&directory))
            .await
            .unwrap();
        assert_eq!(placed.path, format!("{directory}/{}", agent.file_name()));
        let content = agent.content().await.unwrap();
        assert_eq!(std::fs::read(&placed.path).unwrap(), *content);
        assert_eq!(container.files("a"), [agent.file_name()]);
        let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{:?}", exec.shell);
    }
}

#[tokio::test]
async fn an_agent_that_is_there_is_used_again_and_one_of_another_version_is_replaced() {
    for exec in shells() {
        let (old, new) = (agent("1"), agent("2"));
        let container = Container::with(&[&old, &new], &["1", "2"]);
        let directories = [container.directory("a")];
        inject(&exec, &target(), &old, &directories).await.unwrap();
        assert_eq!(exec.commands.lock().unwrap().len(), 2);
        inject(&exec, &target(), &old, &directories).await.unwrap();
        assert_eq!(
            exec.commands.lock().unwrap().len(),
            3,
            "looked once, copied nothing"
        );
        inject(&exec, &target(), &new, &directories).await.unwrap();
        assert_eq!(container.files("a"), [new.file_name()]);
    }
}

/// As when the kubelet ends: the process is said to have ended well, and what it said is lost.
struct Cut(LocalExec);

#[async_trait::async_trait]
impl PodExec for Cut {
    async fn start(&self, target: &Target, command: &[String]) -> Result<Session, ExecError> {
        let session = self.0.start(target, command).await?;
        Ok(Session {
            stdout: Box::new(tokio::io::empty()),
            exit: Box::pin(async { Exit::Code(0) }),
            ..session
        })
    }
}

#[tokio::test]
async fn a_look_that_is_cut_does_not_tell_that_the_agent_is_not_there() {
    let agent = agent("1");
    let container = Container::with(&[&agent], &["1"]);
    let exec = Cut(LocalExec::with_shell(&["/bin/sh"]));
    let error = inject(&exec, &target(), &agent, &[container.directory("a")])
        .await
        .unwrap_err();
    assert!(error.is_temporary(), "{error}");
    assert_eq!(
        exec.0.commands.lock().unwrap().len(),
        1,
        "nothing is copied"
    );
}

#[tokio::test]
async fn an_agent_whose_content_changed_is_copied_again() {
    for exec in shells() {
        let agent = agent("1");
        let container = Container::with(&[&agent], &["1"]);
        let directories = [container.directory("a")];
        let placed = inject(&exec, &target(), &agent, &directories)
            .await
            .unwrap();
        std::fs::write(&placed.path, "#!/bin/sh\necho another\n").unwrap();
        inject(&exec, &target(), &agent, &directories)
            .await
            .unwrap();
        let content = agent.content().await.unwrap();
        assert_eq!(std::fs::read(&placed.path).unwrap(), *content);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_passed_over() {
    for exec in shells() {
        let agent = agent("1");
        let container = Container::with(&[&agent], &["1"]);
        // A file in the way: it cannot be made a directory, not even by root.
        std::fs::write(container.root.path().join("file"), "").unwrap();
        let directories = [
            container.directory("file"),
            "/proc/nothing/here".to_owned(),
            container.directory("good"),
        ];
        let placed = inject(&exec, &target(), &agent, &directories)
            .await
            .unwrap();
        assert!(Path::new(&placed.path).starts_with(container.directory("good")));
    }
}

#[tokio::test]
async fn without_head_the_agent_is_copied_with_dd() {
    let agent = agent("1");
    let container = Container::with(&[&agent], &["1"]);
    let tools = tempfile::tempdir().unwrap();
    for tool in ["dd", "mkdir", "chmod", "rm", "mv"] {
        std::os::unix::fs::symlink(which(tool), tools.path().join(tool)).unwrap();
    }
    let mut exec = LocalExec::with_shell(&["/bin/sh"]);
    exec.path = Some(tools.path().to_owned());
    let placed = inject(&exec, &target(), &agent, &[container.directory("a")])
        .await
        .unwrap();
    let content = agent.content().await.unwrap();
    assert_eq!(std::fs::read(&placed.path).unwrap(), *content);
}

fn which(tool: &str) -> std::path::PathBuf {
    ["/bin", "/usr/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(tool))
        .find(|path| path.exists())
        .unwrap()
}

#[tokio::test]
async fn a_container_without_a_shell_is_told_apart_and_the_remedy_is_named() {
    let exec = LocalExec::with_shell(&["/bin/false", "--no-shell-here"]);
    // The runtimes' way to say that the program is missing.
    struct NoShell(LocalExec);
    #[async_trait::async_trait]
    impl PodExec for NoShell {
        async fn start(&self, target: &Target, command: &[String]) -> Result<Session, ExecError> {
            let mut session = self.0.start(target, command).await?;
            session.exit = Box::pin(async { Exit::NotRun("exec: \"sh\": not found".into()) });
            Ok(session)
        }
    }
    let error = inject(&NoShell(exec), &target(), &agent("1"), &[])
        .await
        .unwrap_err();
    assert!(!error.is_temporary());
    assert!(
        error.to_string().contains("spec.agent.mode: Container"),
        "{error}"
    );
}
