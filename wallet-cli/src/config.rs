//! The configuration file: what holds where neither a flag nor the environment says otherwise, and names for addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use drystone_core::address::{AddressError, decode_address};
use serde::Deserialize;

use crate::cli::{KnownChain, MAX_TIMEOUT};
use crate::error::{ExitCode, Failure};
use crate::files;
use crate::mnemonic::MAX_ACCOUNT;

/// Room for ten thousand names.
const MAX_FILE_BYTES: usize = 1 << 20;
/// Letters of a name: half of an address, so that no mistyped address passes for one.
const MAX_NAME: usize = 32;

/// The configuration file. Paths in it are relative to it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Like `--chain`.
    pub(crate) chain: Option<KnownChain>,
    /// Like `--genesis`.
    pub(crate) genesis: Option<PathBuf>,
    /// Like `--rpc`, given once for each.
    #[serde(default)]
    pub(crate) rpc: Vec<String>,
    /// Like `--keystore`.
    pub(crate) keystore: Option<PathBuf>,
    /// Like `--account`.
    pub(crate) account: Option<u32>,
    /// Like `--timeout`.
    pub(crate) timeout: Option<u64>,
    /// The names.
    #[serde(default)]
    addresses: BTreeMap<String, String>,
}

/// Names for addresses.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressBook {
    /// The file that has them, or would.
    file: PathBuf,
    /// Addresses in lower case, by name.
    addresses: BTreeMap<String, String>,
}

impl Config {
    /// Reads the file that was named, or else the one at `standard`, which need not exist.
    pub(crate) fn read(named: Option<&Path>, standard: Option<PathBuf>) -> Result<(Config, AddressBook), Failure> {
        let Some(path) = named.map(Path::to_owned).or(standard) else {
            return Ok(Default::default());
        };
        let bytes = match files::read_capped(&path, MAX_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                return Ok((Config::default(), AddressBook { file: path, ..AddressBook::default() }));
            }
            Err(error) => {
                let next = "name the right file with --config, or leave it out";
                let what = format_args!("cannot read the configuration {}: {error}", path.display());
                return Err(Failure::new(ExitCode::BadInput, what, next));
            }
        };
        // Whoever can write it can put his own address behind a name.
        if fs::metadata(&path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o002 != 0) {
            return Err(Failure::new(
                ExitCode::BadInput,
                format_args!("{}: everyone may write it, and so say whom a name pays", path.display()),
                format_args!("close it with: chmod o-w {}", path.display()),
            ));
        }
        let text = str::from_utf8(&bytes).map_err(|error| refuse(&path, format_args!("is not text: {error}")))?;
        Config::parse(&path, text)
    }

    fn parse(path: &Path, text: &str) -> Result<(Config, AddressBook), Failure> {
        let mut config: Config = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            refuse(path, format_args!("line {line}: {}", error.message().replace('\n', "; ")))
        })?;
        if config.chain.is_some() && config.genesis.is_some() {
            return Err(refuse(path, "chain and genesis: only one of both can say which chain it is"));
        }
        if config.account.is_some_and(|account| account > MAX_ACCOUNT) {
            return Err(refuse(path, format_args!("account: accounts are 0 to {MAX_ACCOUNT}")));
        }
        if config.timeout.is_some_and(|seconds| !(1..=MAX_TIMEOUT).contains(&seconds)) {
            return Err(refuse(path, format_args!("timeout: it is 1 to {MAX_TIMEOUT} seconds")));
        }
        let directory = files::directory_of(path);
        for path in [&mut config.genesis, &mut config.keystore].into_iter().flatten() {
            *path = directory.join(&*path);
        }
        let mut book = AddressBook { file: path.to_owned(), ..AddressBook::default() };
        for (name, address) in std::mem::take(&mut config.addresses) {
            let refuse = |what: &dyn fmt::Display| refuse(path, format_args!("addresses.{name}: {what}"));
            check_name(&name).map_err(|error| refuse(&error))?;
            check_address(&address).map_err(|error| refuse(&format_args!("{address:?} is {error}")))?;
            book.addresses.insert(name, address.to_lowercase());
        }
        Ok((config, book))
    }
}

impl AddressBook {
    /// The address behind a name. Whatever is no name is an address, right or wrong.
    ///
    /// # Errors
    /// If it could only be a name, and none of this book.
    pub(crate) fn resolve(&self, typed: &str) -> Result<String, Failure> {
        if let Some(address) = self.addresses.get(typed) {
            return Ok(address.clone());
        }
        // Every address has a 1 after its prefix: a short word with one is more likely a piece of an address.
        if check_name(typed).is_err() || typed.contains('1') {
            return Ok(typed.to_owned());
        }
        let names: Vec<&str> = self.addresses.keys().map(String::as_str).collect();
        let next = match names.as_slice() {
            [] => {
                format!("give the whole address, or name it in {}: [addresses] {typed} = \"...\"", self.file.display())
            }
            _ => format!("give the whole address, or a name of {}: {}", self.file.display(), names.join(", ")),
        };
        Err(Failure::new(ExitCode::BadInput, format_args!("{typed:?} is neither an address nor a name"), next))
    }

    /// The text with its name after each address that has one.
    pub(crate) fn annotate(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (name, address)| {
            text.replace(address.as_str(), &format!("{address} ({name})"))
        })
    }
}

fn refuse(path: &Path, what: impl fmt::Display) -> Failure {
    Failure::new(
        ExitCode::BadInput,
        format_args!("{}: {what}", path.display()),
        "correct the file, or name another one with --config; docs/WALLET.md lists the keys",
    )
}

/// A name is a short word: nothing that a terminal or a shell reads differently, and never an address.
fn check_name(name: &str) -> Result<(), &'static str> {
    if check_address(name).is_ok() {
        return Err("a name cannot be an address itself");
    }
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('-') || !name.bytes().all(word) {
        return Err("a name has 1 to 32 letters, digits, - and _, and does not start with -");
    }
    Ok(())
}

/// Whether this is an address of any chain: which one, is known when it is used.
fn check_address(text: &str) -> Result<(), AddressError> {
    let prefix = text.rsplit_once('1').map_or(String::new(), |(prefix, _)| prefix.to_lowercase());
    decode_address(&prefix, text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use drystone_core::address::encode_address;
    use drystone_core::key::SecretKey;

    fn address(index: u8) -> String {
        encode_address("tdry", &SecretKey::dev(index).account())
    }

    fn parse(text: &str) -> Result<(Config, AddressBook), Failure> {
        Config::parse(Path::new("/there/wallet.toml"), text)
    }

    #[test]
    fn every_key_is_read_and_paths_start_at_the_file() {
        let (config, book) = parse(&format!(
            "genesis = 'g.json'\nrpc = ['a:1', 'b:2']\nkeystore = '/k.json'\naccount = 2\ntimeout = 30\n\
             [addresses]\nalice = '{}'\n",
            address(1).to_uppercase()
        ))
        .unwrap();
        assert_eq!(config.genesis, Some("/there/g.json".into()));
        assert_eq!(
            (config.rpc.as_slice(), config.keystore),
            (&["a:1".into(), "b:2".into()][..], Some("/k.json".into()))
        );
        assert_eq!((config.account, config.timeout), (Some(2), Some(30)));
        assert_eq!(book.resolve("alice").unwrap(), address(1));
        assert_eq!(parse("chain = 'dev'").unwrap().0.chain, Some(KnownChain::Dev));
        assert_eq!(parse("").unwrap().0.chain, None);
    }

    #[test]
    fn mistakes_name_the_file_and_the_key() {
        let other = address(2);
        for (text, words) in [
            ("colour = 1", "line 1: unknown field `colour`"),
            ("\nrpc = 'a:1'", "line 2: "),
            ("chain = 'mian'", "`mian`"),
            ("chain = 'dev'\ngenesis = 'g'", "chain and genesis: "),
            ("account = 2147483648", "account: "),
            ("account = -1", "line 1: "),
            ("timeout = 0", "timeout: "),
            ("timeout = 86401", "timeout: "),
            ("= 1", "line 1: "),
            ("[addresses]\nalice = 'tdry1qqq'", "addresses.alice: \"tdry1qqq\" is not an address"),
            ("[addresses]\nalice = ''", "addresses.alice: "),
            ("[addresses]\nalice = 1", "line 2: "),
            (&format!("[addresses]\na = '{other}'\na = '{other}'"), "line 3: duplicate key"),
            (&format!("[addresses]\n{other} = '{other}'"), "a name cannot be an address itself"),
            (&format!("[addresses]\n'' = '{other}'"), "a name has 1 to 32"),
            (&format!("[addresses]\n'a b' = '{other}'"), "a name has 1 to 32"),
            (&format!("[addresses]\n-a = '{other}'"), "does not start with -"),
            (&format!("[addresses]\n\"a\\u001b[2J\" = '{other}'"), "a name has 1 to 32"),
            (&format!("[addresses]\n{} = '{other}'", "a".repeat(33)), "a name has 1 to 32"),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadInput);
            assert!(failure.message.starts_with("/there/wallet.toml: "), "{failure}");
            assert!(failure.message.contains(words), "{text}: {failure}");
        }
    }

    #[test]
    fn only_a_file_that_was_named_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.toml");
        assert!(Config::read(None, Some(path.clone())).is_ok());
        assert!(Config::read(None, None).is_ok());
        let missing = Config::read(Some(&path), None).unwrap_err();
        assert!(missing.message.contains("cannot read the configuration "), "{missing}");
        fs::write(&path, "account = 1").unwrap();
        assert_eq!(Config::read(None, Some(path.clone())).unwrap().0.account, Some(1));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
        let open = Config::read(Some(&path), None).unwrap_err();
        assert!(open.next.contains("chmod o-w"), "{open}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, b"account = 1 # \xff").unwrap();
        assert!(Config::read(Some(&path), None).unwrap_err().message.contains("not text"));
    }

    #[test]
    fn names_stand_beside_addresses_and_never_for_them() {
        let (_, book) = parse(&format!("[addresses]\nalice = '{}'\nbob = '{}'", address(1), address(2))).unwrap();
        let (alice, bob) = (address(1), address(2));
        assert_eq!(book.annotate(&format!("from {alice} to {bob}.")), format!("from {alice} (alice) to {bob} (bob)."));
        assert_eq!(book.resolve(&alice).unwrap(), alice);
        assert_eq!(book.resolve("tdry1qqq").unwrap(), "tdry1qqq", "a wrong address is explained as one");
        let unknown = book.resolve("Alice").unwrap_err();
        assert!(unknown.next.ends_with("wallet.toml: alice, bob"), "{unknown}");
        assert!(AddressBook::default().resolve("alice").unwrap_err().next.contains("[addresses]"));
    }
}
