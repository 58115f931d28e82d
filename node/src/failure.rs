//! What the program says when it cannot do what was asked: one line for the cause, one for the next step.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::path::Path;

use drystone_node::store::StoreError;

/// A failure as the user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    message: String,
    next: String,
}

impl Failure {
    /// A failure from what went wrong and what to do about it, each one line.
    pub(crate) fn new(message: impl fmt::Display, next: impl fmt::Display) -> Failure {
        Failure { message: message.to_string(), next: next.to_string() }
    }

    /// A file or directory that could not be used. `action` is a verb: read, write, create.
    pub(crate) fn io(action: &str, path: &Path, error: &Error) -> Failure {
        let next = match error.kind() {
            ErrorKind::NotFound => "check the path",
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "change its permissions, or name another place that you can write to"
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "free some disk space and start again; nothing is lost"
            }
            ErrorKind::AlreadyExists => "remove it first, or choose another name",
            _ => "check the path and the disk",
        };
        Failure::new(format_args!("cannot {action} {}: {error}", path.display()), next)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\nnext: {}", self.message, self.next)
    }
}

impl From<StoreError> for Failure {
    /// The store's messages name the way out after their last colon.
    fn from(error: StoreError) -> Failure {
        let text = error.to_string();
        let (message, next) = text.rsplit_once(": ").unwrap_or((&text, "check the disk and start again"));
        Failure::new(message, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_two_lines() {
        let error = Failure::io("write", Path::new("/x"), &ErrorKind::StorageFull.into());
        let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("error: cannot write /x: "), "{lines:?}");
        assert!(lines[1].starts_with("next: free some disk space"), "{lines:?}");
    }

    #[test]
    fn a_store_failure_keeps_its_way_out() {
        let text = Failure::from(StoreError::InUse).to_string();
        let expected = "error: the database is in use by another process\n\
                        next: stop that node, or give this one another --data-dir";
        assert_eq!(text, expected);
        let io = StoreError::Io(Error::other("a: b"));
        assert!(Failure::from(io).to_string().ends_with("\nnext: check the disk and start again"));
    }
}
