//! What answers of the API server mean, wherever they come from.

use kube::core::Status;

/// Whether what was written to is gone: a namesake has another uid, which conflicts, and so does what
/// somebody else wrote meanwhile where its version was named.
pub(crate) fn is_gone(status: &Status) -> bool {
    status.is_not_found() || status.is_conflict()
}

/// Whether it will not be taken however often it is tried.
pub(crate) fn is_refusal(status: &Status) -> bool {
    (400..500).contains(&status.code) && status.code != 429
}

/// What was to be deleted or changed may be gone already.
pub(crate) fn gone_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if is_gone(&status) => Ok(()),
        Err(error) => Err(error),
    }
}
