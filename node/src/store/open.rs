//! Opening a store: creating it with its genesis, and refusing what is not this chain's, this release's, or sound.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use drystone_core::encode::encode;
use drystone_core::hash::BlockHash;
use drystone_core::params::ChainParams;
use drystone_core::state::{self, MemoryState, StateChanges};
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, WriteTransaction};

use super::error::{Record, StoreError};
use super::index::{self, Indexes};
use super::migrate::migrate;
use super::tables::{self, FORMAT, HeaderRecord, META, META_CHAIN, META_FORMAT, META_INDEXES, Validity};
use super::update::write_state;
use super::{Store, begin_write};

/// What a store may be opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Memory for cached pages, in bytes.
    pub cache_bytes: usize,
    /// Whether to keep an index of main-chain transactions by id; unsaid, as the file has it, and in a new one yes.
    pub index_transactions: Option<bool>,
    /// Whether to keep an index of what moved each account; unsaid, as the file has it, and in a new one yes.
    pub index_accounts: Option<bool>,
    /// Check every page of the file before trusting any: reads the whole file. For `verify`, not for every start.
    pub check_file: bool,
}

impl Default for StoreOptions {
    /// 64 MiB of cache, the indexes that the file has, no check of the whole file.
    fn default() -> Self {
        StoreOptions { cache_bytes: 64 << 20, index_transactions: None, index_accounts: None, check_file: false }
    }
}

impl StoreOptions {
    /// The indexes to keep in a file that has `kept`.
    fn indexes(&self, kept: Indexes) -> Indexes {
        Indexes {
            transactions: self.index_transactions.unwrap_or(kept.transactions),
            accounts: self.index_accounts.unwrap_or(kept.accounts),
        }
    }
}

impl Store {
    /// Opens the store in the file at `path`, or creates it. `progress` hears the share done, 0 to 1, of whatever takes
    /// long: a check of the file, a migration, an index that was switched on.
    ///
    /// A new file gets its name only once genesis is durable in it, so no crash leaves a half-made store behind.
    pub fn open_file(
        path: &Path,
        params: &ChainParams,
        options: &StoreOptions,
        progress: impl Fn(f64) + 'static,
    ) -> Result<Store, StoreError> {
        if path.try_exists()? {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            // Beginning the chain anew in a file that has lost its content would hide the loss.
            if file.metadata()?.len() == 0 {
                return Err(StoreError::Damaged("the file is empty".into()));
            }
            return open(FileBackend::new(file)?, params, options, progress);
        }
        let draft = path.with_extension("new");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&draft)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // Another node made the store meanwhile, and this may even be its file.
        if path.try_exists()? {
            drop(file);
            let _ = fs::remove_file(&draft);
            return Store::open_file(path, params, options, progress);
        }
        // What a crash left half-made.
        file.set_len(0)?;
        let store = open(FileBackend::new(file)?, params, options, progress)?;
        fs::rename(&draft, path)?;
        File::open(directory_of(path))?.sync_all()?;
        Ok(store)
    }

    /// Opens or creates a store in any backend: memory for simulation, one that fails on purpose for crash tests.
    pub fn open_backend(
        backend: impl StorageBackend,
        params: &ChainParams,
        options: &StoreOptions,
    ) -> Result<Store, StoreError> {
        open(backend, params, options, |_| {})
    }
}

/// The directory that holds a file.
pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens under guard: redb checks pages when it repairs, otherwise it trusts what it wrote, and where a damaged page
/// misleads it, it can panic. Whoever starts a node shall read that the file is damaged all the same.
fn open(
    backend: impl StorageBackend,
    params: &ChainParams,
    options: &StoreOptions,
    progress: impl Fn(f64) + 'static,
) -> Result<Store, StoreError> {
    let guarded = AssertUnwindSafe(|| open_unguarded(backend, params, options, progress));
    catch_unwind(guarded).unwrap_or_else(|_| Err(StoreError::Damaged("its pages contradict each other".into())))
}

fn open_unguarded(
    backend: impl StorageBackend,
    params: &ChainParams,
    options: &StoreOptions,
    progress: impl Fn(f64) + 'static,
) -> Result<Store, StoreError> {
    let progress = Rc::new(progress);
    let repair_progress = progress.clone();
    let database = Builder::new()
        .set_cache_size(options.cache_bytes)
        .set_check_integrity_on_open(options.check_file)
        .set_repair_callback(move |repair| repair_progress(repair.progress()))
        .create_with_backend(backend)?;
    let found = if is_new(&database)? { None } else { Some(read_identity(&database, params)?) };
    let indexes = options.indexes(found.map_or(Indexes { transactions: true, accounts: true }, |(_, kept)| kept));
    // An ordinary start writes nothing.
    if found != Some((FORMAT, indexes)) {
        let transaction = begin_write(&database)?;
        match found {
            None => write_genesis(&transaction, params, indexes)?,
            Some((format, _)) => {
                migrate(&transaction, format, &*progress)?;
                transaction.open_table(META)?.insert(META_FORMAT, FORMAT.to_le_bytes().as_slice())?;
                index::switch(&transaction, indexes, &*progress)?;
            }
        }
        transaction.commit()?;
    }
    let store = Store { database, indexes, commits: Arc::default() };
    // Every table is there and has the shape that this format gives it.
    store.snapshot()?;
    Ok(store)
}

/// Whether nothing was ever committed. A file with tables that are not a store's is not new.
fn is_new(database: &Database) -> Result<bool, StoreError> {
    Ok(database.begin_read()?.list_tables()?.next().is_none())
}

/// The format and the indexes of a store, once it is known to be of this chain and of a format that is not newer.
fn read_identity(database: &Database, params: &ChainParams) -> Result<(u32, Indexes), StoreError> {
    let meta = database.begin_read()?.open_table(META)?;
    let format = read_array(&meta, META_FORMAT)?.map(u32::from_le_bytes);
    let found = format.ok_or(StoreError::Rotten(Record::Meta(META_FORMAT)))?;
    if found > FORMAT {
        return Err(StoreError::NewerFormat { found, known: FORMAT });
    }
    let found_chain =
        read_array(&meta, META_CHAIN)?.map(BlockHash).ok_or(StoreError::Rotten(Record::Meta(META_CHAIN)))?;
    let expected = params.chain_id();
    if found_chain != expected {
        return Err(StoreError::OtherChain { found: found_chain, expected });
    }
    let indexes = read_array(&meta, META_INDEXES)?.and_then(|[byte]| Indexes::from_byte(byte));
    Ok((found, indexes.ok_or(StoreError::Rotten(Record::Meta(META_INDEXES)))?))
}

fn read_array<const N: usize>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<Option<[u8; N]>, StoreError> {
    Ok(meta.get(name)?.and_then(|bytes| bytes.value().try_into().ok()))
}

/// Fills a new store: every table, the genesis block and its state.
fn write_genesis(transaction: &WriteTransaction, params: &ChainParams, indexes: Indexes) -> Result<(), StoreError> {
    let block = params.genesis_block();
    let record @ HeaderRecord { hash, work, .. } = genesis_record(params);

    transaction.open_table(tables::HEADERS)?.insert(&hash.0, &record.to_bytes())?;
    transaction.open_table(tables::TIPS)?.insert(&tables::tip_key(work, &hash), ())?;
    transaction.open_table(tables::MAIN)?.insert(&tables::height_key(0), &hash.0)?;
    let body = encode(&block.body);
    transaction.open_table(tables::BODIES)?.insert(&tables::block_key(0, &hash), body.as_slice())?;
    write_state(transaction, &genesis_changes(params))?;
    transaction.open_table(tables::UNDO)?;
    transaction.open_table(tables::TRANSACTIONS)?;
    transaction.open_table(tables::ACCOUNTS)?;
    transaction.open_table(tables::MEMPOOL)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(META_FORMAT, FORMAT.to_le_bytes().as_slice())?;
    meta.insert(META_CHAIN, hash.0.as_slice())?;
    meta.insert(META_INDEXES, [indexes.to_byte()].as_slice())?;
    Ok(())
}

/// The record of the genesis header.
pub(super) fn genesis_record(params: &ChainParams) -> HeaderRecord {
    let header = params.genesis_block().header;
    let work = params.bits.to_target().expect("parameters were checked").work();
    HeaderRecord { hash: header.hash(), header, height: 0, work, validity: Validity::Connected }
}

/// The genesis state as changes to an empty one.
pub(super) fn genesis_changes(params: &ChainParams) -> StateChanges {
    let leaves = params.genesis_leaves().into_iter().map(|(key, leaf)| (key, Some(leaf))).collect();
    let Ok(tree) = state::update(&MemoryState::default(), &leaves);
    StateChanges { leaves, pages: tree.pages, ..StateChanges::default() }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use drystone_core::genesis::{dev_params, main_params};
    use drystone_core::state::{StateView, root};
    use redb::TableDefinition;
    use redb::backends::InMemoryBackend;
    use tempfile::TempDir;

    use super::*;

    fn directory() -> TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn open_at(directory: &TempDir, params: &ChainParams) -> Result<Store, StoreError> {
        Store::open_file(&directory.path().join("store.redb"), params, &StoreOptions::default(), |_| {})
    }

    /// Writes one named value behind the store's back.
    fn set_meta(directory: &TempDir, name: &str, value: &[u8]) {
        let database = Database::open(directory.path().join("store.redb")).expect("opens");
        let transaction = database.begin_write().expect("begins");
        transaction.open_table(META).expect("opens").insert(name, value).expect("inserts");
        transaction.commit().expect("commits");
    }

    #[test]
    fn a_fresh_store_holds_genesis_and_its_state() {
        let (directory, params) = (directory(), dev_params());
        for _fresh_then_reopened in 0..2 {
            let store = open_at(&directory, &params).expect("opens");
            let snapshot = store.snapshot().expect("reads");
            let (tip, genesis) = (snapshot.tip().expect("has a tip"), params.genesis_block());
            assert_eq!((tip.height, tip.hash, tip.header), (0, params.chain_id(), genesis.header));
            assert_eq!(snapshot.body(&tip.hash).expect("reads"), Some(genesis.body));
            assert_eq!(root(&snapshot).expect("reads"), genesis.header.state_root);
            for (key, leaf) in params.genesis_leaves() {
                assert_eq!(snapshot.leaf(&key).expect("reads"), Some(leaf));
            }
            let tips: Result<Vec<_>, _> = snapshot.tips().collect();
            assert_eq!(tips.expect("reads"), [(tip.work, tip.hash)]);
        }
        assert!(!directory.path().join("store.new").exists());
    }

    #[test]
    fn a_half_made_file_is_made_anew() {
        let directory = directory();
        fs::write(directory.path().join("store.new"), [0; 100_000]).expect("writes");
        open_at(&directory, &dev_params()).expect("opens");
    }

    #[test]
    fn another_chain_is_named() {
        let (directory, dev, main) = (directory(), dev_params(), main_params());
        open_at(&directory, &dev).expect("opens");
        let Err(error) = open_at(&directory, &main) else { panic!("opens another chain") };
        let StoreError::OtherChain { found, expected } = error else { panic!("{error}") };
        assert_eq!((found, expected), (dev.chain_id(), main.chain_id()));
        open_at(&directory, &dev).expect("and nothing is lost");
    }

    #[test]
    fn formats_that_are_newer_or_too_old_are_refused() {
        let (directory, params) = (directory(), dev_params());
        open_at(&directory, &params).expect("opens");
        set_meta(&directory, META_FORMAT, &(FORMAT + 1).to_le_bytes());
        assert!(
            matches!(open_at(&directory, &params), Err(StoreError::NewerFormat { found, .. }) if found == FORMAT + 1)
        );
        set_meta(&directory, META_FORMAT, &0u32.to_le_bytes());
        assert!(matches!(open_at(&directory, &params), Err(StoreError::OlderFormat { found: 0, .. })));
        set_meta(&directory, META_FORMAT, &FORMAT.to_le_bytes());
        open_at(&directory, &params).expect("and nothing is lost");
    }

    #[test]
    fn rotten_names_are_told() {
        let params = dev_params();
        for name in [META_FORMAT, META_CHAIN, META_INDEXES] {
            let directory = directory();
            open_at(&directory, &params).expect("opens");
            set_meta(&directory, name, &[9; 5]);
            assert!(
                matches!(open_at(&directory, &params), Err(StoreError::Rotten(Record::Meta(found))) if found == name)
            );
        }
    }

    #[test]
    fn what_is_no_store_is_damaged() {
        let params = dev_params();
        let file = |bytes: &[u8]| {
            let directory = directory();
            fs::write(directory.path().join("store.redb"), bytes).expect("writes");
            directory
        };
        assert!(matches!(open_at(&file(b"a letter to a friend"), &params), Err(StoreError::Damaged(_))));
        assert!(matches!(open_at(&file(&[0; 4096]), &params), Err(StoreError::Damaged(_))));

        let whole = directory();
        open_at(&whole, &params).expect("opens");
        let bytes = fs::read(whole.path().join("store.redb")).expect("reads");
        for cut in [100, 1000, bytes.len() / 2, bytes.len() - 1] {
            let opened = open_at(&file(&bytes[..cut]), &params);
            assert!(matches!(opened, Err(StoreError::Damaged(_))), "cut to {cut}");
        }

        let foreign = directory();
        let database = Database::create(foreign.path().join("store.redb")).expect("creates");
        let transaction = database.begin_write().expect("begins");
        transaction.open_table(TableDefinition::<u64, u64>::new("shopping")).expect("opens");
        transaction.commit().expect("commits");
        drop(database);
        assert!(matches!(open_at(&foreign, &params), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn one_process_at_a_time() {
        let (directory, params) = (directory(), dev_params());
        let _first = open_at(&directory, &params).expect("opens");
        assert!(matches!(open_at(&directory, &params), Err(StoreError::InUse)));
    }

    #[test]
    fn two_that_create_do_not_meet() {
        let (directory, params) = (directory(), dev_params());
        let draft = File::create(directory.path().join("store.new")).expect("creates");
        draft.lock().expect("locks");
        assert!(matches!(open_at(&directory, &params), Err(StoreError::InUse)));
    }

    /// Memory that starts to refuse writes with one kind of error.
    #[derive(Debug)]
    struct Refusing {
        memory: InMemoryBackend,
        refuses: Arc<AtomicBool>,
        kind: ErrorKind,
    }

    impl StorageBackend for Refusing {
        fn len(&self) -> io::Result<u64> {
            self.memory.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.memory.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.memory.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            if self.refuses.load(Ordering::Relaxed) { Err(self.kind.into()) } else { self.memory.write(offset, data) }
        }
    }

    #[test]
    fn a_disk_that_refuses_says_why_and_then_the_store_stops() {
        let is_expected = |kind: ErrorKind, error: &StoreError| match kind {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => matches!(error, StoreError::DiskFull),
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => matches!(error, StoreError::ReadOnly(_)),
            _ => matches!(error, StoreError::Io(_)),
        };
        use ErrorKind::{Other, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        for kind in [StorageFull, QuotaExceeded, ReadOnlyFilesystem, PermissionDenied, Other] {
            let refuses = Arc::new(AtomicBool::new(false));
            let backend = Refusing { memory: InMemoryBackend::new(), refuses: refuses.clone(), kind };
            let store = Store::open_backend(backend, &dev_params(), &StoreOptions::default()).expect("opens");
            refuses.store(true, Ordering::Relaxed);
            let mut update = store.begin().expect("begins");
            update.put_mempool(&[]).expect("is only in memory so far");
            let error = update.commit().expect_err("the disk refuses");
            assert!(is_expected(kind, &error), "{kind}: {error}");
            assert!(matches!(store.begin().map(drop), Err(StoreError::Stopped)), "{kind}");
        }
    }

    #[test]
    fn a_missing_directory_and_a_directory_in_place_are_errors() {
        let params = dev_params();
        let (directory, options) = (directory(), StoreOptions::default());
        let nowhere = directory.path().join("no/such/store.redb");
        assert!(matches!(Store::open_file(&nowhere, &params, &options, |_| {}), Err(StoreError::Io(_))));
        assert!(matches!(Store::open_file(directory.path(), &params, &options, |_| {}), Err(StoreError::Io(_))));
    }

    #[test]
    fn snapshots_and_stores_cross_threads() {
        fn crosses<T: Send + Sync>() {}
        crosses::<Store>();
        crosses::<crate::store::Snapshot>();
        fn moves<T: Send>() {}
        moves::<crate::store::Update>();
    }

    #[test]
    fn a_check_of_the_file_finds_what_an_ordinary_start_trusts() {
        let (directory, params) = (directory(), dev_params());
        let path = directory.path().join("store.redb");
        let store = open_at(&directory, &params).expect("opens");
        drop(store);
        let mut bytes = fs::read(&path).expect("reads");
        // The balance of an account, wherever it lies.
        let needle = params.allocations[0].amount.0.to_le_bytes();
        let places: Vec<_> = (0..bytes.len() - 8).filter(|at| bytes[*at..at + 8] == needle).collect();
        places.iter().for_each(|at| bytes[at + 1] ^= 1);
        fs::write(&path, bytes).expect("writes");
        let options = StoreOptions { check_file: true, ..StoreOptions::default() };
        assert!(matches!(Store::open_file(&path, &params, &options, |_| {}), Err(StoreError::Damaged(_))));
    }
}
