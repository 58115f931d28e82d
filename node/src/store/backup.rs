//! A copy of the whole ledger as it is at one moment, in a file of its own, while everything goes on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::error::StoreError;
use super::open::directory_of;
use super::{Store, begin_write, tables};

/// Memory for pages of the copy.
const CACHE_BYTES: usize = 16 << 20;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is there already, and is not overwritten.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// The file cannot be written.
    #[error("cannot write {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// It was given up.
    #[error("given up")]
    Cancelled,
    /// Reading or writing a database failed.
    #[error(transparent)]
    Store(StoreError),
}

impl<E> From<E> for BackupError
where
    StoreError: From<E>,
{
    fn from(error: E) -> BackupError {
        BackupError::Store(error.into())
    }
}

impl Store {
    /// Writes what the store holds now to a new file, whose length is returned. It gets its name only once it is whole and
    /// durable. Where `cancelled` says so it ends, and leaves nothing.
    ///
    /// # Errors
    /// If there is a file of that name or it cannot be written, or if this store cannot be read.
    pub fn backup(&self, path: &Path, cancelled: impl Fn() -> bool) -> Result<u64, BackupError> {
        let failed = |error| BackupError::File { path: path.to_owned(), error };
        if path.try_exists().map_err(failed)? {
            return Err(BackupError::Exists(path.to_owned()));
        }
        // Under a name that nobody has or guesses: what is there is not touched.
        let mut tag = [0; 8];
        getrandom::fill(&mut tag).map_err(|error| failed(io::Error::other(error)))?;
        let directory = directory_of(path);
        let draft = directory.join(format!(".drystone-backup-{}", hex::encode(tag)));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        let is_over = || {
            let is_over = cancelled();
            if is_over {
                // At once: closing the copy takes a while, and the program may be ending.
                let _ = fs::remove_file(&draft);
            }
            is_over
        };
        let copied = self.copy_into(file, &is_over).and_then(|()| {
            // Linked and not renamed, so that a file which came meanwhile is not replaced.
            fs::hard_link(&draft, path).map_err(failed)?;
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
            Ok(fs::metadata(path).map_err(failed)?.len())
        });
        // One that cannot be removed takes room, and nothing else.
        let _ = fs::remove_file(&draft);
        copied
    }

    fn copy_into(&self, file: File, cancelled: &impl Fn() -> bool) -> Result<(), BackupError> {
        let from = self.database.begin_read()?;
        let copy = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(FileBackend::new(file)?)?;
        let to = begin_write(&copy)?;
        copy_table(&from, &to, tables::HEADERS, cancelled)?;
        copy_table(&from, &to, tables::TIPS, cancelled)?;
        copy_table(&from, &to, tables::MAIN, cancelled)?;
        copy_table(&from, &to, tables::BODIES, cancelled)?;
        copy_table(&from, &to, tables::UNDO, cancelled)?;
        copy_table(&from, &to, tables::LEAVES, cancelled)?;
        copy_table(&from, &to, tables::PAGES, cancelled)?;
        copy_table(&from, &to, tables::HISTORY, cancelled)?;
        copy_table(&from, &to, tables::TRANSACTIONS, cancelled)?;
        copy_table(&from, &to, tables::ACCOUNTS, cancelled)?;
        copy_table(&from, &to, tables::MEMPOOL, cancelled)?;
        copy_table(&from, &to, tables::META, cancelled)?;
        to.commit()?;
        Ok(())
    }
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
    cancelled: &impl Fn() -> bool,
) -> Result<(), BackupError> {
    let (source, mut target) = (from.open_table(table)?, to.open_table(table)?);
    for entry in source.iter()? {
        if cancelled() {
            return Err(BackupError::Cancelled);
        }
        let (key, value) = entry?;
        target.insert(key.value(), value.value())?;
    }
    Ok(())
}
