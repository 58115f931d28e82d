//! What the interface answers when it has no result: one code, one line, and what to do next.

use std::fmt::Display;
use std::time::Duration;

use drystone_core::api::{ErrorCode, ErrorData};
use jsonrpsee::types::ErrorObjectOwned;

use super::limits::{CALL_TIMEOUT, MAX_MESSAGE};
use crate::store::StoreError;

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RpcError {
    /// What kind of error.
    pub(crate) code: ErrorCode,
    /// What is wrong, one line.
    pub(crate) message: String,
    /// What to do about it, one line.
    pub(crate) next: String,
}

impl RpcError {
    /// An error from its parts. Texts can quote input: they are cut to a bounded length and to one line.
    pub(crate) fn new(code: ErrorCode, message: impl Display, next: impl Display) -> RpcError {
        let (message, next) = (one_line(&message.to_string(), MAX_MESSAGE), one_line(&next.to_string(), MAX_MESSAGE));
        RpcError { code, message, next }
    }

    /// The node itself failed: said in the log as well, since its operator should know.
    pub(crate) fn node_failure(what: impl Display) -> RpcError {
        tracing::error!("an RPC call failed: {what}");
        RpcError::new(ErrorCode::NodeFailure, format_args!("the node failed: {what}"), "look at the node's log")
    }

    /// A method took longer than a call may.
    pub(crate) fn timed_out(method: &str, patience: Option<Duration>) -> RpcError {
        let seconds = patience.unwrap_or(CALL_TIMEOUT).as_secs();
        RpcError::new(
            ErrorCode::TimedOut,
            format_args!("{method} took longer than {seconds} s"),
            "ask for less, or again when the node is less busy; what was submitted may still be taken",
        )
    }

    /// The node is about to end.
    pub(crate) fn stopping() -> RpcError {
        RpcError::new(ErrorCode::Stopping, "the node is stopping", "ask again once it runs")
    }
}

impl From<StoreError> for RpcError {
    fn from(error: StoreError) -> RpcError {
        RpcError::node_failure(error)
    }
}

impl From<RpcError> for ErrorObjectOwned {
    fn from(error: RpcError) -> ErrorObjectOwned {
        let data = ErrorData { name: error.code.name().to_owned(), next: error.next };
        ErrorObjectOwned::owned(error.code.number(), error.message, Some(data))
    }
}

fn one_line(text: &str, max: usize) -> String {
    let line: String = text.chars().take(max).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() < text.len() && text.chars().nth(max).is_some() { line + "..." } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_short_line() {
        let error = RpcError::new(ErrorCode::Busy, "a\nb\u{1b}[2J", "x".repeat(100_000));
        assert_eq!(error.message, "a b [2J");
        assert_eq!(error.next.len(), MAX_MESSAGE + 3);
        assert_eq!(RpcError::new(ErrorCode::Busy, "é".repeat(MAX_MESSAGE), "").message, "é".repeat(MAX_MESSAGE));
    }

    #[test]
    fn code_name_and_next_reach_the_wire() {
        let object = ErrorObjectOwned::from(RpcError::stopping());
        assert_eq!(object.code(), ErrorCode::Stopping.number());
        let data: ErrorData = serde_json::from_str(object.data().unwrap().get()).unwrap();
        assert_eq!(data.name, "stopping");
        assert!(!data.next.is_empty());
    }
}
