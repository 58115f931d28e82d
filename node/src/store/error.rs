//! What can go wrong with the store: one variant per cause, each message with the way out.

use std::fmt;
use std::io::{self, ErrorKind};

use drystone_core::hash::{BlockHash, Txid};
use drystone_core::state::{HistoryNode, PagePath, StateKey};
use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

/// Why the store cannot be opened, read or written. Never a verdict on a block: the fault is this machine's.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file was made for another genesis.
    #[error(
        "the database holds chain {found}, this node runs chain {expected}: give another --data-dir, or the --genesis file of chain {found}"
    )]
    OtherChain {
        /// The chain id in the file.
        found: BlockHash,
        /// The chain id of the parameters.
        expected: BlockHash,
    },
    /// A later release wrote the file.
    #[error(
        "the database has format {found}, this release knows formats up to {known}: run the newer release that wrote it"
    )]
    NewerFormat {
        /// The file's format.
        found: u32,
        /// This release's format.
        known: u32,
    },
    /// An earlier release wrote the file, in a format that this one cannot read any more.
    #[error("the database has format {found}, too old to migrate to format {known}: move it away and start anew")]
    OlderFormat {
        /// The file's format.
        found: u32,
        /// This release's format.
        known: u32,
    },
    /// The file is not a database, or its structure is broken.
    #[error(
        "the database is damaged ({0}): try `drystone-node verify --repair`; if that fails restore a copy, or move the file away and start anew"
    )]
    Damaged(String),
    /// One record is missing, undecodable or contradicts the others, in a file whose structure holds.
    #[error("rotten data on disk ({0}): stop the node and run `drystone-node verify --repair`")]
    Rotten(Record),
    /// The lock is held elsewhere.
    #[error("the database is in use by another process: stop that node, or give this one another --data-dir")]
    InUse,
    /// No space, or over a quota.
    #[error("the disk is full: free some space and start again; nothing committed is lost")]
    DiskFull,
    /// The file or its directory cannot be written.
    #[error("the database cannot be written ({0}): make the data directory writable, or give another --data-dir")]
    ReadOnly(io::Error),
    /// An earlier failure closed the file.
    #[error("the database stopped after an earlier failure: start the node again; nothing committed is lost")]
    Stopped,
    /// Any other failure of the operating system.
    #[error("cannot read or write the database ({0}): check the disk and start again")]
    Io(io::Error),
}

/// A record of the store, as repair needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A header, its height, work or validity.
    Header(BlockHash),
    /// The main chain's entry at a height.
    Main(u64),
    /// A body.
    Body(BlockHash),
    /// An undo.
    Undo(BlockHash),
    /// A leaf of the state.
    Leaf(StateKey),
    /// A page of the state tree.
    Page(PagePath),
    /// A key of the tree's table that is no path.
    PageKey,
    /// A node of the history range.
    History(HistoryNode),
    /// An entry of the transaction index.
    Transaction(Txid),
    /// An entry of the account history index, at a height.
    AccountHistory(u64),
    /// A head of the header tree.
    Tip(BlockHash),
    /// A named value.
    Meta(&'static str),
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::Header(hash) => write!(f, "header {hash}"),
            Record::Main(height) => write!(f, "main chain at height {height}"),
            Record::Body(hash) => write!(f, "body of block {hash}"),
            Record::Undo(hash) => write!(f, "undo of block {hash}"),
            Record::Leaf(key) => write!(f, "state leaf {key}"),
            Record::Page(path) => write!(f, "state tree page {path:?}"),
            Record::PageKey => write!(f, "key of a state tree page"),
            Record::History(node) => write!(f, "history node {} of level {}", node.index, node.level),
            Record::Transaction(txid) => write!(f, "index entry of transaction {txid}"),
            Record::AccountHistory(height) => write!(f, "account history at height {height}"),
            Record::Tip(hash) => write!(f, "tip {hash}"),
            Record::Meta(name) => write!(f, "value {name:?}"),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::DiskFull,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(error),
            // redb's answer to a file that is not its own, and to one cut short.
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => StoreError::Damaged(error.to_string()),
            _ => StoreError::Io(error),
        }
    }
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> StoreError {
        match error {
            StorageError::Io(error) => error.into(),
            StorageError::Corrupted(what) => StoreError::Damaged(what),
            StorageError::PreviousIo | StorageError::DatabaseClosed | StorageError::LockPoisoned(_) => {
                StoreError::Stopped
            }
            other => StoreError::Io(io::Error::other(other)),
        }
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> StoreError {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::InUse,
            DatabaseError::Storage(error) => error.into(),
            // An old redb layout, a repair that gave up: the structure cannot be used.
            other => StoreError::Damaged(other.to_string()),
        }
    }
}

impl From<TransactionError> for StoreError {
    fn from(error: TransactionError) -> StoreError {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => StoreError::Io(io::Error::other(other)),
        }
    }
}

impl From<TableError> for StoreError {
    fn from(error: TableError) -> StoreError {
        match error {
            TableError::Storage(error) => error.into(),
            // A table that is missing or of another shape, under a format that we know.
            other => StoreError::Damaged(other.to_string()),
        }
    }
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> StoreError {
        match error {
            CommitError::Storage(error) => error.into(),
            _ => StoreError::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use redb::BackendError;

    use super::*;

    /// Every variant, so that a new one is seen here.
    fn all() -> Vec<StoreError> {
        let (found, expected) = (BlockHash([1; 32]), BlockHash([2; 32]));
        vec![
            StoreError::OtherChain { found, expected },
            StoreError::NewerFormat { found: 2, known: 1 },
            StoreError::OlderFormat { found: 0, known: 1 },
            StoreError::Damaged("torn".into()),
            StoreError::Rotten(Record::Body(found)),
            StoreError::InUse,
            StoreError::DiskFull,
            StoreError::ReadOnly(ErrorKind::PermissionDenied.into()),
            StoreError::Stopped,
            StoreError::Io(ErrorKind::Other.into()),
        ]
    }

    #[test]
    fn every_message_is_one_line_and_names_the_way_out() {
        for error in all() {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            let way_out = ["give", "run", "move", "restore", "stop", "free", "make", "start", "check"];
            let (_, after) = text.split_once(": ").expect("cause: way out");
            assert!(way_out.iter().any(|word| after.contains(word)), "{text}");
        }
    }

    #[test]
    fn causes_keep_their_kind_through_redb() {
        let through = |kind: ErrorKind| StoreError::from(StorageError::from(BackendError::Io(kind.into())));
        assert!(matches!(through(ErrorKind::StorageFull), StoreError::DiskFull));
        assert!(matches!(through(ErrorKind::FileTooLarge), StoreError::DiskFull));
        assert!(matches!(through(ErrorKind::ReadOnlyFilesystem), StoreError::ReadOnly(_)));
        assert!(matches!(through(ErrorKind::InvalidData), StoreError::Damaged(_)));
        assert!(matches!(through(ErrorKind::UnexpectedEof), StoreError::Damaged(_)));
        assert!(matches!(through(ErrorKind::TimedOut), StoreError::Io(_)));
        assert!(matches!(StoreError::from(StorageError::PreviousIo), StoreError::Stopped));
        assert!(matches!(StoreError::from(DatabaseError::DatabaseAlreadyOpen), StoreError::InUse));
        assert!(matches!(StoreError::from(DatabaseError::UpgradeRequired(1)), StoreError::Damaged(_)));
        assert!(matches!(StoreError::from(CommitError::TransactionPoisoned), StoreError::Stopped));
        let missing = TableError::TableDoesNotExist("leaves".into());
        assert!(matches!(StoreError::from(missing), StoreError::Damaged(_)));
    }
}
