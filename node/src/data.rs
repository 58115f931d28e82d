//! A node's data directory: its files, who may read them, and the note in it that says where a running node answers.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic;
use std::path::{Path, PathBuf};

use drystone_core::hash::BlockHash;
use drystone_core::params::ChainParams;
use drystone_node::store::{Store, StoreError, StoreOptions};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The note that a running node leaves in `node.json`, with its real addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeNote {
    /// Where it answers JSON-RPC, as `address:port`.
    pub(crate) rpc: String,
    /// Where peers reach it.
    pub(crate) p2p: Option<String>,
    /// Its process.
    pub(crate) pid: u32,
    /// Its name among peers.
    pub(crate) peer_id: Option<String>,
    /// The genesis hash of its chain.
    pub(crate) chain_id: BlockHash,
}

/// The directory that holds all that a node keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// The directory at `path`, which need not exist yet.
    pub(crate) fn at(path: PathBuf) -> DataDir {
        DataDir(path)
    }

    /// Where a node of the chain called `name` keeps its data unless told otherwise.
    pub(crate) fn of_chain(name: &str) -> Result<DataDir, Failure> {
        // A name may hold anything printable. What could lead elsewhere is replaced; two chains that then share a
        // directory are told apart by the store.
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let directory: String = name.chars().map(safe).collect();
        let directory = if directory.starts_with('.') { format!("_{directory}") } else { directory };
        Ok(DataDir(home()?.join(directory)))
    }

    /// The only directory below the default place of which `belongs` holds, for commands that are given none.
    pub(crate) fn only(what: &str, belongs: impl Fn(&DataDir) -> bool) -> Result<DataDir, Failure> {
        let home = home()?;
        let entries = fs::read_dir(&home).into_iter().flatten();
        let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        found.retain(|path| belongs(&DataDir(path.clone())));
        found.sort();
        match &found[..] {
            [only] => Ok(DataDir(only.clone())),
            [] => Err(Failure::new(
                format_args!("there is no {what} in {}", home.display()),
                "start a node with: drystone-node dev, or name its directory with --data-dir",
            )),
            [first, ..] => Err(Failure::new(
                format_args!("there are {} of them in {}: which {what}?", found.len(), home.display()),
                format_args!("name one, as in: --data-dir {}", first.display()),
            )),
        }
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The file of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("ledger.redb")
    }

    /// Opens or creates the store. On some damaged files redb panics; the store answers for it, and nobody need see it.
    pub(crate) fn open_store(
        &self,
        params: &ChainParams,
        options: &StoreOptions,
        progress: impl Fn(f64) + 'static,
    ) -> Result<Store, StoreError> {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let opened = Store::open_file(&self.store(), params, options, progress);
        panic::set_hook(hook);
        opened
    }

    /// The genesis file of the chain that the directory was made for.
    pub(crate) fn genesis(&self) -> PathBuf {
        self.0.join("genesis.json")
    }

    /// The note of a running node.
    pub(crate) fn note(&self) -> PathBuf {
        self.0.join("node.json")
    }

    /// The file of the secret by which peers know this node.
    fn identity(&self) -> PathBuf {
        self.0.join("identity")
    }

    /// The file of the faucet's secret.
    pub(crate) fn faucet(&self) -> PathBuf {
        self.0.join("faucet")
    }

    /// The 32 secret bytes of the faucet's key: those kept here, or else `fresh` ones, kept from now on as the identity is.
    pub(crate) fn keep_faucet(&self, fresh: [u8; 32]) -> Result<[u8; 32], Failure> {
        let lost = "restore it, or delete it: the faucet then takes a new key, and what the old one held is lost";
        keep_secret(&self.faucet(), fresh, lost)
    }

    /// The 32 secret bytes by which peers know this node: those kept here, or else `fresh` ones, which are kept from now on in a
    /// file for its owner alone.
    pub(crate) fn keep_identity(&self, fresh: [u8; 32]) -> Result<[u8; 32], Failure> {
        let lost = "restore it, or delete it: the node then takes a new name among peers, and nothing else is lost";
        keep_secret(&self.identity(), fresh, lost)
    }

    /// Makes sure that the directory exists; a new one opens to its owner alone.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|error| Failure::io("create the data directory", &self.0, &error))
    }

    /// Keeps the genesis file beside the data, so that later commands need not be told the chain again.
    pub(crate) fn keep_genesis(&self, params: &ChainParams) -> Result<(), Failure> {
        let (path, text) = (self.genesis(), params.to_json());
        let kept = fs::read(&path).is_ok_and(|kept| kept == text.as_bytes());
        if kept { Ok(()) } else { replace(&path, text.as_bytes()) }
    }

    /// Leaves a note for other programs.
    pub(crate) fn write_note(&self, note: &NodeNote) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(note).expect("plain data serialises") + "\n";
        replace(&self.note(), text.as_bytes())
    }

    /// Takes the note away; there may be none.
    pub(crate) fn remove_note(&self) -> Result<(), Failure> {
        match fs::remove_file(self.note()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::io("remove", &self.note(), &error)),
            _ => Ok(()),
        }
    }

    /// The note, if there is one.
    pub(crate) fn read_note(&self) -> Result<Option<NodeNote>, Failure> {
        let path = self.note();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| Failure::io("read", &path, &error))?,
        };
        let damaged = |error| {
            Failure::new(
                format_args!("{} is not a node's note: {error}", path.display()),
                "start the node again, which writes it anew",
            )
        };
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }
}

/// The 32 bytes in the file at `path`, or `fresh` ones in a new file for its owner alone. `lost` says what to do about one
/// that is damaged.
fn keep_secret(path: &Path, fresh: [u8; 32], lost: &str) -> Result<[u8; 32], Failure> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let mut secret = [0; 32];
            hex::decode_to_slice(text.trim(), &mut secret)
                .map(|()| secret)
                .map_err(|_| Failure::new(format_args!("{} is damaged: it is not 64 hex digits", path.display()), lost))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            replace_private(path, (hex::encode(fresh) + "\n").as_bytes()).map(|()| fresh)
        }
        Err(error) => Err(Failure::io("read", path, &error)),
    }
}

/// Below which all data lies unless told otherwise.
fn home() -> Result<PathBuf, Failure> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.ok_or_else(|| Failure::new("there is no home directory", "name a directory with --data-dir"))?;
    Ok(home.join(".drystone"))
}

/// Writes a file aside and puts it in place: a reader sees the old content or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    replace_with(File::options().write(true).create(true).truncate(true), path, bytes)
}

/// The same with a file that its owner alone can read.
fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    replace_with(File::options().write(true).create(true).truncate(true).mode(0o600), path, bytes)
}

fn replace_with(options: &OpenOptions, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let aside = path.with_extension("new");
    let write = || {
        // One that a crash left behind would keep its permissions.
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = options.open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    write().map_err(|error| Failure::io("write", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use drystone_core::genesis::dev_params;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_directory_is_private_and_keeps_its_first_genesis() {
        let parent = tempfile::tempdir().unwrap();
        let dir = DataDir::at(parent.path().join("a/b"));
        dir.create().unwrap();
        dir.create().unwrap();
        let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        dir.keep_genesis(&dev_params()).unwrap();
        fs::write(dir.genesis(), "{").unwrap();
        dir.keep_genesis(&dev_params()).unwrap();
        assert_eq!(fs::read_to_string(dir.genesis()).unwrap(), dev_params().to_json());
    }

    #[test]
    fn the_identity_is_kept_and_private() {
        let parent = tempfile::tempdir().unwrap();
        let dir = DataDir::at(parent.path().to_owned());
        assert_eq!(dir.keep_identity([1; 32]), Ok([1; 32]));
        assert_eq!(dir.keep_identity([2; 32]), Ok([1; 32]), "it stays");
        assert_eq!(fs::metadata(dir.identity()).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(dir.identity(), "00").unwrap();
        let text = dir.keep_identity([3; 32]).unwrap_err().to_string();
        assert!(text.contains("not 64 hex digits") && text.contains("delete it"), "{text}");
    }

    #[test]
    fn the_note_comes_and_goes() {
        let parent = tempfile::tempdir().unwrap();
        let dir = DataDir::at(parent.path().to_owned());
        assert_eq!(dir.read_note(), Ok(None));
        let chain_id = BlockHash([3; 32]);
        let note = NodeNote { rpc: "127.0.0.1:1".into(), p2p: None, pid: 7, peer_id: None, chain_id };
        dir.write_note(&note).unwrap();
        assert_eq!(dir.read_note(), Ok(Some(note)));
        let text = fs::read_to_string(dir.note()).unwrap();
        assert!(text.contains("\"p2p\": null") && text.contains("\"peer_id\": null"), "{text}");
        dir.remove_note().unwrap();
        dir.remove_note().unwrap();
        assert_eq!(dir.read_note(), Ok(None));
        fs::write(dir.note(), "{").unwrap();
        assert!(dir.read_note().is_err());
    }

    #[test]
    fn no_name_of_a_chain_leads_elsewhere() {
        for (name, expected) in [
            ("drystone-dev", "drystone-dev"),
            ("..", "_.."),
            (".ssh", "_.ssh"),
            ("../../etc", "_.._.._etc"),
            ("my chain/1", "my_chain_1"),
        ] {
            let dir = DataDir::of_chain(name).unwrap();
            assert_eq!(dir.path().file_name().unwrap().to_str(), Some(expected));
            assert!(dir.path().parent().unwrap().ends_with(".drystone"));
        }
    }
}
