//! The commands, one file each.

pub(crate) mod address;
pub(crate) mod balance;
pub(crate) mod history;
pub(crate) mod man;
pub(crate) mod new;
pub(crate) mod receipt;
pub(crate) mod replace;
pub(crate) mod restore;
pub(crate) mod send;
pub(crate) mod sign;

use serde_json::Value;

/// What a command has to say, in both forms.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// For people; without a line break at the end.
    pub(crate) text: String,
    /// For programs: one object.
    pub(crate) json: Value,
}
