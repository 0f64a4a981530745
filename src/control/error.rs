//! Why a request was not carried out.

use crate::core::tables::Refusal;

/// A sentence for the user, and whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be granted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The system did not do its part.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// The request is wrong in itself.
    pub(super) fn invalid(sentence: impl Into<String>) -> Error {
        Refusal::Invalid(sentence.into()).into()
    }

    /// The request disagrees with what is there.
    pub(super) fn conflict(sentence: impl Into<String>) -> Error {
        Refusal::Conflict(sentence.into()).into()
    }
}

/// For `map_err`: what was being done, then why it failed.
pub(super) fn failed<E: std::fmt::Display>(
    what: impl std::fmt::Display,
) -> impl FnOnce(E) -> Error {
    move |why| Error::Failed(format!("{what}: {why}"))
}

/// Does what may block, as everything that the state is asked may, on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::Failed(format!("the request was not carried out: {e}")))?
}
