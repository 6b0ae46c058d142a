use std::path::PathBuf;

/// What the operator itself runs, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    /// The agent's executable on this machine.
    pub(crate) agent: PathBuf,
    /// The operator's own.
    pub(crate) operator: PathBuf,
    /// The image that has both under the same paths; none where nobody said.
    pub(crate) image: Option<String>,
    /// When it is pulled, as a pod says it.
    pub(crate) image_pull_policy: Option<String>,
}
