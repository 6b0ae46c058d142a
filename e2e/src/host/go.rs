//! Go modules, built into the cache.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::progress::step;
use super::run::Run;
use super::{cache, tools};

/// A program built from Go sources.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Its name: of the artefact and of the executable.
    pub name: &'a str,
    /// Where its sources are.
    pub source: Source<'a>,
    /// Flags for the linker, besides `-s -w`.
    pub ldflags: &'a str,
}

/// Where the sources of a Go program are.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A `main` package that its own module can build: `path@version`.
    Package(&'a str),
    /// A module of ours: file names and contents, `go.mod` and `go.sum` among them.
    Files(&'a [(&'a str, &'a str)]),
}

impl Program<'_> {
    /// The path of the executable, built when it is not in the cache. Static, with Go's own module
    /// and build caches, so that a change of ours costs a link and not a build.
    pub async fn ensure(&self) -> Result<PathBuf> {
        let key = match self.source {
            Source::Package(package) => cache::key([package, self.ldflags]),
            Source::Files(files) => {
                let contents = files.iter().flat_map(|(name, text)| [*name, *text]);
                cache::key(contents.chain([self.ldflags]))
            }
        };
        let dir = cache::ensure(self.name, &key, async |dir| {
            tools::require(&[tools::GO])?;
            step(format!("build {}", self.describe()), self.build(dir)).await
        });
        Ok(dir.await?.join(self.name))
    }

    fn describe(&self) -> String {
        match self.source {
            Source::Package(package) => package.to_owned(),
            Source::Files(_) => format!("{} from its Go modules", self.name),
        }
    }

    async fn build(&self, dir: PathBuf) -> Result<()> {
        let go = |action: &str| {
            Run::new("go")
                .arg(action)
                // Names each package that it compiles.
                .arg("-v")
                .args(["-trimpath", "-buildvcs=false", "-ldflags"])
                .arg(format!("-s -w {}", self.ldflags))
                .env("CGO_ENABLED", "0")
                // The machine's own Go or nothing: downloading another one is not ours to decide.
                .env("GOTOOLCHAIN", "local")
                .env("GOWORK", "off")
                .tells()
        };
        match self.source {
            Source::Package(package) => {
                // `go install` names the executable after the package's last path element.
                go("install")
                    .env("GOBIN", &dir)
                    .arg(package)
                    .dir(&dir)
                    .ok()
                    .await?;
                let path = package.split('@').next().unwrap_or(package);
                let made = path.rsplit('/').next().unwrap_or(path);
                if made != self.name {
                    fs::rename(dir.join(made), dir.join(self.name))
                        .with_context(|| format!("go install {package} made no {made}"))?;
                }
                Ok(())
            }
            Source::Files(files) => {
                let source = tempfile::tempdir()?;
                for (name, text) in files {
                    fs::write(source.path().join(name), text)?;
                }
                let out = dir.join(self.name);
                go("build")
                    .arg("-o")
                    .arg(out)
                    .arg(".")
                    .dir(source.path())
                    .ok()
                    .await?;
                Ok(())
            }
        }
    }
}
