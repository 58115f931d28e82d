//! The keystore: one JSON file that holds the wallet's entropy under a password.
//!
//! Argon2id turns the password into a key, XChaCha20-Poly1305 encrypts the entropy and the number of accounts,
//! and every other field is authenticated with it. An authenticated cipher cannot tell a wrong password from a
//! damaged file, so a plain checksum over all fields stands beside it: it is checked first, and only a file that
//! passes asks for the password. The checksum reveals nothing, for it covers only what the file shows anyway.

use crate::error::{ExitCode, Failure};
use crate::files;
use crate::mnemonic::{self, Entropy};
use crate::password::Password;
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// The `format` field, by which a file is known as a keystore at all.
const FORMAT: &str = "drystone-keystore";
/// The newest version that this program reads, and the one that it writes.
const VERSION: u64 = 1;
const KDF: &str = "argon2id";
const CIPHER: &str = "xchacha20-poly1305";
/// A real keystore has about 500 bytes.
const MAX_FILE_BYTES: usize = 16 * 1024;

/// 32 bytes of entropy, 4 of account count.
const SECRET_BYTES: usize = 36;
/// The secret and the Poly1305 tag.
const CIPHERTEXT_BYTES: usize = SECRET_BYTES + 16;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;

/// What a wallet is: its entropy and how many accounts of it are in use.
pub struct Contents {
    /// The secret that the 24 words stand for.
    pub entropy: Entropy,
    /// Accounts are 0 to this number less one.
    pub accounts: u32,
}

/// What deriving the key from the password costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Independent lanes.
    pub lanes: u32,
}

impl Cost {
    /// The second recommended setting of RFC 9106 (64 MiB, 3 passes), on one lane: about a tenth of a second.
    pub(crate) const DEFAULT: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
    /// The most that a file may ask of this computer: 1 GiB and, with all passes, under a minute.
    pub const MAX: Cost = Cost { memory_kib: 1024 * 1024, passes: 32, lanes: 16 };
}

/// Why a keystore cannot be used or made.
#[derive(Debug, Error)]
pub enum KeystoreError {
    /// No file of that name.
    #[error("there is no keystore at {0}")]
    Missing(PathBuf),
    /// The file or its directory refuses us.
    #[error("no permission to use the keystore {0}")]
    Denied(PathBuf),
    /// The file system takes no writes.
    #[error("cannot write the keystore {0}: its file system is read-only")]
    ReadOnly(PathBuf),
    /// Others may read the file.
    #[error("the keystore {path} is open to other users (mode {mode:03o})")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A new keystore would replace something.
    #[error("{0} exists already, and a keystore is never overwritten")]
    Exists(PathBuf),
    /// Any other failure of the file system.
    #[error("cannot use the keystore {path}: {reason}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// Some other file.
    #[error("{0} is not a Drystone keystore")]
    NotAKeystore(PathBuf),
    /// The file stops early.
    #[error("the keystore {0} is truncated: it ends in the middle")]
    Truncated(PathBuf),
    /// Written by a newer program.
    #[error("the keystore {path} has version {version}, and this program reads up to {VERSION}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// The bytes are not those that were written.
    #[error("the keystore {path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        what: &'static str,
    },
    /// Opening would cost more than [`Cost::MAX`] or less than Argon2 can do.
    #[error("the keystore {path} asks for an absurd key derivation: {} KiB, {} passes, {} lanes",
            cost.memory_kib, cost.passes, cost.lanes)]
    AbsurdCost {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        cost: Cost,
    },
    /// Argon2 could not have its memory.
    #[error("not enough memory to open the keystore: {0} KiB needed")]
    Memory(u32),
    /// The file is whole, but this password does not open it.
    #[error("wrong password for the keystore {0}")]
    WrongPassword(PathBuf),
}

impl From<KeystoreError> for Failure {
    fn from(error: KeystoreError) -> Failure {
        let restore = "put back a copy of this file, or name another one with --keystore FILE";
        let next = match &error {
            KeystoreError::Missing(path) => format!("make one with: drystone-wallet --keystore {} new", path.display()),
            KeystoreError::Denied(path) => {
                format!("see whose it is with: ls -la {}", files::directory_of(path).display())
            }
            KeystoreError::ReadOnly(_) => "name a file on another file system with --keystore FILE".into(),
            KeystoreError::Exposed { path, .. } => {
                format!("close it with: chmod 600 {}", path.display())
            }
            KeystoreError::Exists(path) => format!(
                "show its address with: drystone-wallet --keystore {} address, or name another file with --keystore",
                path.display()
            ),
            KeystoreError::Io { path, .. } => {
                format!("check the disk and directory of {}", path.display())
            }
            KeystoreError::NotAKeystore(_) => "name the right file with --keystore FILE".into(),
            KeystoreError::Newer { .. } => "update drystone-wallet".into(),
            KeystoreError::Truncated(_) | KeystoreError::Damaged { .. } | KeystoreError::AbsurdCost { .. } => {
                restore.into()
            }
            KeystoreError::Memory(_) => "close other programs and run the command again".into(),
            KeystoreError::WrongPassword(_) => "run the command again with the right password".into(),
        };
        Failure::new(ExitCode::Keystore, error, next)
    }
}

/// The file, field by field. Byte strings are hex.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u64,
    kdf: KdfFields,
    cipher: CipherFields,
    checksum: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KdfFields {
    name: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CipherFields {
    name: String,
    nonce: String,
    ciphertext: String,
}

/// A keystore whose bytes are known to be those that were written, still locked.
pub struct Sealed {
    path: PathBuf,
    cost: Cost,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
    ciphertext: [u8; CIPHERTEXT_BYTES],
}

/// Refuses early, before a password is asked for, what [`create`] would refuse in the end.
pub(crate) fn ensure_absent(path: &Path) -> Result<(), KeystoreError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(KeystoreError::Exists(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error(path, error)),
    }
}

/// Writes a new keystore, never over an existing file.
pub(crate) fn create(path: &Path, contents: &Contents, password: &Password, cost: Cost) -> Result<(), KeystoreError> {
    let mut sealed = Sealed {
        path: path.to_owned(),
        cost,
        salt: [0; SALT_BYTES],
        nonce: [0; NONCE_BYTES],
        ciphertext: [0; CIPHERTEXT_BYTES],
    };
    getrandom::fill(&mut sealed.salt)
        .and_then(|()| getrandom::fill(&mut sealed.nonce))
        .map_err(|error| io_error(path, error.into()))?;

    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    secret[..32].copy_from_slice(contents.entropy.as_ref());
    secret[32..].copy_from_slice(&contents.accounts.to_le_bytes());
    let ciphertext = sealed
        .cipher(password)?
        .encrypt(&sealed.nonce.into(), Payload { msg: secret.as_ref(), aad: &sealed.header() })
        .expect("XChaCha20-Poly1305 takes any message that fits in memory");
    sealed.ciphertext.copy_from_slice(&ciphertext);

    files::create(path, &sealed.to_file()).map_err(|error| io_error(path, error))
}

impl Sealed {
    /// Reads a keystore and checks everything that needs no password.
    pub(crate) fn read(path: &Path) -> Result<Sealed, KeystoreError> {
        let bytes = files::read_capped(path, MAX_FILE_BYTES).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => KeystoreError::Missing(path.to_owned()),
            io::ErrorKind::FileTooLarge => KeystoreError::NotAKeystore(path.to_owned()),
            _ => io_error(path, error),
        })?;
        let mode = fs::metadata(path).map_err(|error| io_error(path, error))?.permissions().mode() & 0o777;
        let sealed = Sealed::from_file(path, &bytes)?;
        if mode & 0o077 != 0 {
            return Err(KeystoreError::Exposed { path: path.to_owned(), mode });
        }
        Ok(sealed)
    }

    /// Decrypts the contents.
    pub fn open(&self, password: &Password) -> Result<Contents, KeystoreError> {
        let secret = self
            .cipher(password)?
            .decrypt(&self.nonce.into(), Payload { msg: &self.ciphertext, aad: &self.header() })
            .map(Zeroizing::new)
            .map_err(|_| KeystoreError::WrongPassword(self.path.clone()))?;
        let mut entropy = Entropy::default();
        entropy.copy_from_slice(&secret[..32]);
        let accounts = u32::from_le_bytes([secret[32], secret[33], secret[34], secret[35]]);
        if accounts == 0 || accounts > mnemonic::MAX_ACCOUNT {
            return Err(self.damaged("its number of accounts is absurd"));
        }
        Ok(Contents { entropy, accounts })
    }

    /// What opening it costs.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The cipher under the key that the password gives.
    fn cipher(&self, password: &Password) -> Result<XChaCha20Poly1305, KeystoreError> {
        let Cost { memory_kib, passes, lanes } = self.cost;
        let absurd = || KeystoreError::AbsurdCost { path: self.path.clone(), cost: self.cost };
        let max = Cost::MAX;
        if memory_kib > max.memory_kib || passes > max.passes || lanes > max.lanes {
            return Err(absurd());
        }
        let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| absurd())?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), &self.salt, key.as_mut())
            .map_err(|_| KeystoreError::Memory(memory_kib))?;
        Ok(XChaCha20Poly1305::new((&*key).into()))
    }

    /// All fields but the ciphertext, in fixed order and width: what the cipher authenticates beside the secret.
    fn header(&self) -> Vec<u8> {
        let mut header = FORMAT.as_bytes().to_vec();
        header.extend_from_slice(&VERSION.to_le_bytes());
        for name in [KDF, CIPHER] {
            header.extend_from_slice(&(name.len() as u64).to_le_bytes());
            header.extend_from_slice(name.as_bytes());
        }
        for number in [self.cost.memory_kib, self.cost.passes, self.cost.lanes] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&self.salt);
        header.extend_from_slice(&self.nonce);
        header
    }

    fn checksum(&self) -> [u8; 32] {
        Sha256::new().chain_update(self.header()).chain_update(self.ciphertext).finalize().into()
    }

    /// The text of the file.
    pub fn to_file(&self) -> Vec<u8> {
        let file = File {
            format: FORMAT.into(),
            version: VERSION,
            kdf: KdfFields {
                name: KDF.into(),
                memory_kib: self.cost.memory_kib,
                passes: self.cost.passes,
                lanes: self.cost.lanes,
                salt: hex::encode(self.salt),
            },
            cipher: CipherFields {
                name: CIPHER.into(),
                nonce: hex::encode(self.nonce),
                ciphertext: hex::encode(self.ciphertext),
            },
            checksum: hex::encode(self.checksum()),
        };
        let mut text = serde_json::to_vec_pretty(&file).expect("numbers and strings are JSON");
        text.push(b'\n');
        text
    }

    /// Parses and checks, in the order in which an answer helps most: whole? ours? our version? undamaged?
    /// The `path` is only what errors name.
    pub fn from_file(path: &Path, bytes: &[u8]) -> Result<Sealed, KeystoreError> {
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| {
            if error.is_eof() && (bytes.is_empty() || bytes.starts_with(b"{")) {
                KeystoreError::Truncated(path.to_owned())
            } else if bytes.windows(FORMAT.len()).any(|window| window == FORMAT.as_bytes()) {
                KeystoreError::Damaged { path: path.to_owned(), what: "it is not JSON any more" }
            } else {
                KeystoreError::NotAKeystore(path.to_owned())
            }
        })?;
        if value.get("format").and_then(|format| format.as_str()) != Some(FORMAT) {
            return Err(KeystoreError::NotAKeystore(path.to_owned()));
        }
        if let Some(version) = value.get("version").and_then(|version| version.as_u64())
            && version > VERSION
        {
            return Err(KeystoreError::Newer { path: path.to_owned(), version });
        }

        let damaged = |what| KeystoreError::Damaged { path: path.to_owned(), what };
        let file: File =
            serde_json::from_value(value).map_err(|_| damaged("a field is missing, unknown or of the wrong type"))?;
        if file.version != VERSION || file.kdf.name != KDF || file.cipher.name != CIPHER {
            return Err(damaged("it names an algorithm or version that never was"));
        }
        let sealed = Sealed {
            path: path.to_owned(),
            cost: Cost { memory_kib: file.kdf.memory_kib, passes: file.kdf.passes, lanes: file.kdf.lanes },
            salt: bytes_of(&file.kdf.salt).ok_or_else(|| damaged("the salt is not 16 bytes"))?,
            nonce: bytes_of(&file.cipher.nonce).ok_or_else(|| damaged("the nonce is not 24 bytes"))?,
            ciphertext: bytes_of(&file.cipher.ciphertext).ok_or_else(|| damaged("the ciphertext is not 52 bytes"))?,
        };
        if bytes_of(&file.checksum) != Some(sealed.checksum()) {
            return Err(damaged("its checksum does not match"));
        }
        Ok(sealed)
    }

    fn damaged(&self, what: &'static str) -> KeystoreError {
        KeystoreError::Damaged { path: self.path.clone(), what }
    }
}

/// Exactly `N` bytes from their hex digits.
fn bytes_of<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

fn io_error(path: &Path, reason: io::Error) -> KeystoreError {
    let path = path.to_owned();
    match reason.kind() {
        io::ErrorKind::PermissionDenied => KeystoreError::Denied(path),
        io::ErrorKind::ReadOnlyFilesystem => KeystoreError::ReadOnly(path),
        io::ErrorKind::AlreadyExists => KeystoreError::Exists(path),
        _ => KeystoreError::Io { path, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::OnceLock;

    /// The least that Argon2 does: the tests are about the file, not about its price.
    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

    fn password(text: &str) -> Password {
        Zeroizing::new(text.to_owned())
    }

    fn contents() -> Contents {
        Contents { entropy: Zeroizing::new([7; 32]), accounts: 3 }
    }

    /// The text of one keystore, with the password "right".
    fn text() -> &'static str {
        static TEXT: OnceLock<String> = OnceLock::new();
        TEXT.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("wallet.json");
            create(&path, &contents(), &password("right"), CHEAP).unwrap();
            fs::read_to_string(&path).unwrap()
        })
    }

    fn parse(text: &str) -> Result<Sealed, KeystoreError> {
        Sealed::from_file(Path::new("wallet.json"), text.as_bytes())
    }

    /// The file with one field changed and the checksum made right again, as an attacker would.
    fn forged(change: impl FnOnce(&mut Sealed)) -> Sealed {
        let mut sealed = parse(text()).unwrap();
        change(&mut sealed);
        Sealed::from_file(Path::new("wallet.json"), &sealed.to_file()).unwrap()
    }

    #[test]
    fn round_trip_with_the_default_cost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/wallet.json");
        ensure_absent(&path).unwrap();
        create(&path, &contents(), &password("right"), Cost::DEFAULT).unwrap();
        let sealed = Sealed::read(&path).unwrap();
        assert_eq!(sealed.cost, Cost::DEFAULT);
        let opened = sealed.open(&password("right")).unwrap();
        assert_eq!(opened.entropy, contents().entropy);
        assert_eq!(opened.accounts, 3);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_existing_file_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.json");
        fs::write(&path, "precious").unwrap();
        let refused =
            [ensure_absent(&path).unwrap_err(), create(&path, &contents(), &password("right"), CHEAP).unwrap_err()];
        for error in refused {
            assert!(matches!(error, KeystoreError::Exists(_)), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_wrong_password_is_not_damage() {
        let sealed = parse(text()).unwrap();
        for wrong in ["wrong", "right ", "Right"] {
            let error = sealed.open(&password(wrong)).err().unwrap();
            assert!(matches!(error, KeystoreError::WrongPassword(_)), "{error}");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        for other in ["hello", "[]", "{}", r#"{"format":"other"}"#, "7"] {
            assert!(matches!(parse(other), Err(KeystoreError::NotAKeystore(_))), "{other}");
        }
        let newer = text().replace("\"version\": 1", "\"version\": 2");
        assert!(matches!(parse(&newer), Err(KeystoreError::Newer { version: 2, .. })));
        let older = text().replace("\"version\": 1", "\"version\": 0");
        assert!(matches!(parse(&older), Err(KeystoreError::Damaged { .. })));
        let unknown = text().replace("\"checksum\"", "\"extra\": 1, \"checksum\"");
        assert!(matches!(parse(&unknown), Err(KeystoreError::Damaged { .. })));
    }

    #[test]
    fn missing_denied_and_exposed_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.json");
        assert!(matches!(Sealed::read(&path), Err(KeystoreError::Missing(_))));
        let denied = io_error(&path, io::ErrorKind::PermissionDenied.into());
        assert!(matches!(denied, KeystoreError::Denied(_)));
        let read_only = io_error(&path, io::ErrorKind::ReadOnlyFilesystem.into());
        assert!(matches!(read_only, KeystoreError::ReadOnly(_)));
        let nowhere = create(Path::new("/proc/none/wallet.json"), &contents(), &password("right"), CHEAP).unwrap_err();
        assert!(matches!(nowhere, KeystoreError::Io { .. }), "{nowhere}");
        fs::write(&path, text()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = Sealed::read(&path).err().unwrap();
        assert!(matches!(exposed, KeystoreError::Exposed { mode: 0o640, .. }));
        assert!(Failure::from(exposed).next.contains("chmod 600"));
        fs::write(&path, vec![b' '; MAX_FILE_BYTES + 1]).unwrap();
        assert!(matches!(Sealed::read(&path), Err(KeystoreError::NotAKeystore(_))));
    }

    #[test]
    fn every_cut_is_truncation() {
        let whole = text().trim_end();
        for length in 0..whole.len() {
            let error = parse(&whole[..length]).err().unwrap();
            assert!(matches!(error, KeystoreError::Truncated(_)), "{length}: {error}");
        }
    }

    /// A hostile file has a right checksum; the bounds stand before the first allocation.
    #[test]
    fn a_file_cannot_ask_for_a_terabyte() {
        let max = Cost::MAX;
        let absurd = [
            Cost { memory_kib: 1 << 30, ..CHEAP },
            Cost { memory_kib: max.memory_kib + 1, ..CHEAP },
            Cost { memory_kib: 7, ..CHEAP },
            Cost { passes: max.passes + 1, ..CHEAP },
            Cost { passes: 0, ..CHEAP },
            Cost { memory_kib: 1024, lanes: max.lanes + 1, ..CHEAP },
            Cost { lanes: 0, ..CHEAP },
        ];
        for cost in absurd {
            let error = forged(|sealed| sealed.cost = cost).open(&password("right")).err().unwrap();
            assert!(matches!(error, KeystoreError::AbsurdCost { .. }), "{cost:?}: {error}");
        }
    }

    /// With the checksum repaired, only the cipher is left to notice a changed header.
    #[test]
    fn the_header_is_authenticated() {
        let changes: [fn(&mut Sealed); 4] = [
            |sealed| sealed.cost.passes = 2,
            |sealed| sealed.salt[0] ^= 1,
            |sealed| sealed.nonce[23] ^= 1,
            |sealed| sealed.ciphertext[0] ^= 1,
        ];
        for change in changes {
            let error = forged(change).open(&password("right")).err().unwrap();
            assert!(matches!(error, KeystoreError::WrongPassword(_)), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// No flipped bit opens, and none is blamed on the password.
        #[test]
        fn a_flipped_bit_is_never_a_wrong_password(at in 0..text().len(), bit in 0..8u8) {
            let mut bytes = text().as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            match Sealed::from_file(Path::new("wallet.json"), &bytes) {
                Err(
                    KeystoreError::Damaged { .. }
                    | KeystoreError::NotAKeystore(_)
                    | KeystoreError::Truncated(_)
                    | KeystoreError::Newer { .. },
                ) => {}
                Err(error) => prop_assert!(false, "{error}"),
                // Space for another blank, or the case of a hex digit: the same file to a reader.
                Ok(sealed) => prop_assert!(sealed.open(&password("right")).is_ok()),
            }
        }
    }
}
