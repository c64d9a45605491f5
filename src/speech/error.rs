//! What goes wrong in engines.

/// What went wrong in an engine, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    /// The folder does not hold a model that this build can run.
    #[error("no usable model in {folder}: {why}")]
    BadModel { folder: String, why: String },
    /// The engine itself failed; a new process may fare better.
    #[error("the speech engine failed: {0}")]
    Engine(String),
    /// The caller said stop.
    #[error("stopped")]
    Stopped,
}
