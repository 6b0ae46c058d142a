//! What the machine must have already: root, and the tools of the languages whose registries the
//! parts come from. Everything that is missing is named in one message, with the remedy.

use std::path::PathBuf;

/// A program that must be on the machine.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Its name in `PATH`.
    pub program: &'static str,
    /// What it is needed for.
    pub needed_for: &'static str,
    /// How it is got on Debian.
    pub remedy: &'static str,
}

/// `go`, for the parts that are Go modules.
pub const GO: Tool = Tool {
    program: "go",
    needed_for: "Kubernetes, MinIO and helm, which are built from Go modules",
    remedy: "install Go 1.24 or newer (https://go.dev/doc/install)",
};
/// `mvn`, for Cassandra.
pub const MVN: Tool = Tool {
    program: "mvn",
    needed_for: "Cassandra, which comes from Maven Central",
    remedy: "apt-get install maven",
};
/// `jlink`, for the Java runtime in the Cassandra image.
pub const JLINK: Tool = Tool {
    program: "jlink",
    needed_for: "the Java runtime of the Cassandra image",
    remedy: "apt-get install openjdk-17-jdk-headless",
};
/// `python3`, for what comes as Python wheels.
pub const PYTHON: Tool = Tool {
    program: "python3",
    needed_for: "JDK 11, which comes as a Python wheel",
    remedy: "apt-get install python3 python3-venv",
};
/// `openssl`, for Java's key stores.
pub const OPENSSL: Tool = Tool {
    program: "openssl",
    needed_for: "Java's key stores, for JMX over TLS",
    remedy: "apt-get install openssl",
};
/// `npm`, for Azurite.
pub const NPM: Tool = Tool {
    program: "npm",
    needed_for: "Azurite, which comes from npm",
    remedy: "apt-get install npm",
};
/// `cargo`, for our own images.
pub const CARGO: Tool = Tool {
    program: "cargo",
    needed_for: "the operator and the agent in the images",
    remedy: "install Rust (https://rustup.rs)",
};
/// `apt-get`, for the parts that Debian has.
pub const APT: Tool = Tool {
    program: "apt-get",
    needed_for: "etcd, containerd and the network tools",
    remedy: "use Debian 12 or a system like it",
};

/// The machine lacks something that only its owner can give.
#[derive(Debug, thiserror::Error)]
#[error("this machine cannot run the test bed yet:\n{}", .0.join("\n"))]
pub struct Missing(Vec<String>);

/// Checks for root, which the bed needs for network namespaces, mounts and containers, and for
/// `tools`.
pub fn require(tools: &[Tool]) -> Result<(), Missing> {
    let root = rustix::process::geteuid().is_root();
    let missing = missing(root, tools, |program| find(program).is_some());
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Missing(missing))
    }
}

/// Where `program` is, by `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| {
            use std::os::unix::fs::PermissionsExt as _;
            file.metadata()
                .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
}

fn missing(root: bool, tools: &[Tool], has: impl Fn(&str) -> bool) -> Vec<String> {
    let mut missing = Vec::new();
    if !root {
        missing.push(
            "- root is missing, needed for network namespaces, mounts and containers: run it with sudo -E"
                .to_owned(),
        );
    }
    for Tool {
        program,
        needed_for,
        remedy,
    } in tools
    {
        if !has(program) {
            missing.push(format!(
                "- {program} is missing, needed for {needed_for}: {remedy}"
            ));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_missing_is_named_at_once_with_its_remedy() {
        let lines = missing(false, &[GO, MVN, NPM], |program| program == "mvn");
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("sudo"), "{lines:?}");
        assert!(
            lines[1].contains("go is missing") && lines[1].contains("go.dev"),
            "{lines:?}"
        );
        assert!(lines[2].contains("apt-get install npm"), "{lines:?}");
        assert!(missing(true, &[MVN], |_| true).is_empty());
    }
}
