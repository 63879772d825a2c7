//! What can be wrong with a spec, a weight file or a plan.

/// One sentence per variant: what, where, what was expected, what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of a network spec has a value that no network can have.
    #[error("spec: expected `{field}` to be {expected}, found {found}")]
    Spec {
        /// Path of the field, e.g. `stages[2].stride`.
        field: String,
        /// Which values are allowed.
        expected: String,
        /// The value.
        found: String,
    },
    /// Something would be larger than [`Limits`](crate::Limits) allows.
    #[error("{what}: expected at most {limit}, found {found}")]
    Limit {
        /// What was counted, and where.
        what: String,
        /// The largest count that is allowed.
        limit: u64,
        /// The count, or a lower bound of it where counting stopped early.
        found: u64,
    },
    /// A stage table is no JSON, or lacks a field, or has one that is unknown or of the wrong type.
    #[error("stage table{}: {message}", .field.as_ref().map(|f| format!(", field `{f}`")).unwrap_or_default())]
    StageTable {
        /// Key of the value that could not be read, where the message does not name it.
        field: Option<String>,
        /// What is wrong, with its line and column.
        message: String,
    },
}
