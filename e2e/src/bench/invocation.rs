//! A command line, as it is run and as a reader can repeat it.

use std::path::Path;

use crate::host::run::Run;

/// Program, arguments and environment.
#[derive(Debug, Clone)]
pub struct Invocation {
    argv: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Invocation {
    /// A program without arguments.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            argv: vec![program.as_ref().to_string_lossy().into_owned()],
            environment: Vec::new(),
        }
    }

    /// A few lines of shell. `$1` and so on are what [`Invocation::arg`] adds.
    pub fn shell(script: &str) -> Self {
        Self::new("sh").args(["-c", script, "sh"])
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<Path>) -> Self {
        self.argv.push(arg.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<Path>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Program and arguments.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// `run` with the environment of this one.
    pub fn surround(&self, run: Run) -> Run {
        self.environment
            .iter()
            .fold(run, |run, (name, value)| run.env(name, value))
    }

    /// The command as the report shows it: what is called `names` here has that name there. The
    /// environment, which holds the secrets, is left out.
    pub fn shown(&self, names: &[(String, &str)]) -> String {
        let named = |word: &String| {
            names.iter().fold(word.clone(), |word, (real, name)| {
                word.replace(real.as_str(), name)
            })
        };
        match self.argv.as_slice() {
            [sh, c, script, zero, rest @ ..] if sh == "sh" && c == "-c" && zero == "sh" => {
                let numbered = (1..).zip(rest);
                numbered.fold(script.clone(), |script, (n, word)| {
                    script.replace(&format!("\"${n}\""), &named(word))
                })
            }
            // What has an empty name, such as the Python of a Python program, is left out.
            words => {
                let words = words.iter().map(named).filter(|word| !word.is_empty());
                words.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_repeated_and_tells_no_secret() {
        let names = [
            ("/opt/x/java".to_owned(), "java"),
            ("17101".into(), "$JMX"),
            ("/opt/setarch".into(), ""),
        ];
        let java = Invocation::new("/opt/setarch");
        let java = java.args(["/opt/x/java", "-jar", "--port=17101"]);
        let java = java.env("KEY", "s3cret");
        assert_eq!(java.shown(&names), "java -jar --port=$JMX");
        let shell = Invocation::shell("cp -r \"$1\" \"$2\"; sync").args(["/a", "/b"]);
        assert_eq!(shell.shown(&names), "cp -r /a /b; sync");
    }
}
