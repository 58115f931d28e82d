//! The place where older formats become the present one.

use redb::WriteTransaction;

use super::error::StoreError;
use super::tables::FORMAT;

/// Brings a store of format `found` to [`FORMAT`], inside the caller's transaction: a crash leaves the old format whole.
///
/// Each format that can be brought forward has an arm that rewrites its tables to the next format and falls through to
/// the following one. There is one format so far, so there is nothing to bring forward.
pub(super) fn migrate(_transaction: &WriteTransaction, found: u32, _progress: &impl Fn(f64)) -> Result<(), StoreError> {
    match found {
        FORMAT => Ok(()),
        found if found > FORMAT => Err(StoreError::NewerFormat { found, known: FORMAT }),
        found => Err(StoreError::OlderFormat { found, known: FORMAT }),
    }
}
