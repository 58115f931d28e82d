//! Where the keystore's password comes from: a prompt without echo, a file, or an open file descriptor.

use crate::error::{ExitCode, Failure};
use crate::files;
use crate::strength::Strength;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// Nobody's password is longer; somebody's `--password-file` is the wrong file.
const MAX_PASSWORD_BYTES: usize = 4096;

/// A password, wiped from memory when dropped.
pub(crate) type Password = Zeroizing<String>;

/// The place to read a password from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Ask at the terminal, without echo.
    Prompt,
    /// Read this file.
    File(PathBuf),
    /// Read this descriptor, which the caller opened, to its end.
    Descriptor(u32),
}

/// Why there is no password.
#[derive(Debug, Error)]
pub(crate) enum PasswordError {
    /// No prompt is possible.
    #[error("there is no terminal to ask for the password: {0}")]
    NoTerminal(io::Error),
    /// The file or descriptor cannot be read.
    #[error("cannot read the password from {place}: {reason}")]
    Unreadable {
        /// The file or descriptor.
        place: String,
        /// The system's reason.
        reason: io::Error,
    },
    /// Not text, so it could not be typed at a prompt either.
    #[error("the password is not UTF-8 text")]
    NotText,
    /// More than a line, so probably not a password file.
    #[error("the password has a line break in it")]
    LineBreak,
    /// No password at all.
    #[error("the password is empty")]
    Empty,
    /// The two entries of a new password differ.
    #[error("the two passwords differ")]
    Mismatch,
}

impl From<PasswordError> for Failure {
    fn from(error: PasswordError) -> Failure {
        let next = match error {
            PasswordError::NoTerminal(_) => "give the password with --password-file FILE or --password-fd N",
            PasswordError::Unreadable { .. } => {
                "check the file or descriptor, or leave out --password-file and --password-fd to be asked"
            }
            PasswordError::NotText | PasswordError::LineBreak => {
                "put the password alone on the first line of the --password-file or --password-fd"
            }
            PasswordError::Empty | PasswordError::Mismatch => "run the command again with a password",
        };
        Failure::new(ExitCode::Keystore, error, next)
    }
}

impl Source {
    /// The password of an existing keystore.
    pub(crate) fn read(&self) -> Result<Password, PasswordError> {
        match self {
            Source::Prompt => prompt("Keystore password: ").and_then(accept),
            Source::File(path) => from_file(path, path.display().to_string()),
            // Opening the descriptor by its name needs no unsafe code, and no ownership of it.
            Source::Descriptor(fd) => from_file(Path::new(&format!("/dev/fd/{fd}")), format!("file descriptor {fd}")),
        }
    }

    /// A password for a new keystore: asked twice at a terminal, since a slip would lock the wallet for good, with a hint of
    /// how strong it is.
    pub(crate) fn read_new(&self) -> Result<Password, PasswordError> {
        let Source::Prompt = self else {
            return self.read();
        };
        let first = prompt("New keystore password: ").and_then(accept)?;
        // Only where somebody sits: a script's standard error stays clean. The hint may be lost, the password counts.
        let _ = writeln!(io::stderr(), "{}", Strength::of(&first));
        let second = prompt("The same once more: ")?;
        if first != second {
            return Err(PasswordError::Mismatch);
        }
        Ok(first)
    }
}

/// Asks at the terminal, without echo.
pub(crate) fn prompt(question: &str) -> Result<Password, PasswordError> {
    rpassword::prompt_password(question).map(Zeroizing::new).map_err(PasswordError::NoTerminal)
}

fn from_file(path: &Path, place: String) -> Result<Password, PasswordError> {
    let bytes = files::read_capped(path, MAX_PASSWORD_BYTES)
        .map(Zeroizing::new)
        .map_err(|reason| PasswordError::Unreadable { place, reason })?;
    let text = str::from_utf8(&bytes).map_err(|_| PasswordError::NotText)?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    accept(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

fn accept(password: Password) -> Result<Password, PasswordError> {
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    if password.contains(['\n', '\r']) {
        return Err(PasswordError::LineBreak);
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn from_bytes(bytes: &[u8]) -> Result<Password, PasswordError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, bytes).unwrap();
        Source::File(path).read()
    }

    #[test]
    fn one_trailing_newline_is_trimmed() {
        for bytes in ["pass word", "pass word\n", "pass word\r\n"] {
            assert_eq!(*from_bytes(bytes.as_bytes()).unwrap(), "pass word");
        }
        assert_eq!(*from_bytes(b" padded \n").unwrap(), " padded ");
    }

    #[test]
    fn wrong_files_are_refused() {
        assert!(matches!(from_bytes(b""), Err(PasswordError::Empty)));
        assert!(matches!(from_bytes(b"\n"), Err(PasswordError::Empty)));
        assert!(matches!(from_bytes(b"a\nb\n"), Err(PasswordError::LineBreak)));
        assert!(matches!(from_bytes(b"a\n\n"), Err(PasswordError::LineBreak)));
        assert!(matches!(from_bytes(b"\xff\xfe"), Err(PasswordError::NotText)));
        assert!(matches!(from_bytes(&[b'x'; MAX_PASSWORD_BYTES + 1]), Err(PasswordError::Unreadable { .. })));
        let missing = Source::File("/nonexistent/password".into()).read();
        assert!(matches!(missing, Err(PasswordError::Unreadable { .. })));
    }

    #[test]
    fn a_descriptor_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"from a pipe\n").unwrap();
        drop(writer);
        let source = Source::Descriptor(u32::try_from(reader.as_raw_fd()).unwrap());
        assert_eq!(*source.read().unwrap(), "from a pipe");
        assert_eq!(*source.read_new().unwrap_err().to_string(), *"the password is empty");
        assert!(matches!(Source::Descriptor(999_999).read(), Err(PasswordError::Unreadable { .. })));
    }

    #[test]
    fn without_a_terminal_the_flags_are_named() {
        let failure = Failure::from(PasswordError::NoTerminal(io::Error::other("no /dev/tty")));
        assert_eq!(failure.code, ExitCode::Keystore);
        assert!(failure.next.contains("--password-file"));
        assert!(failure.next.contains("--password-fd"));
    }
}
