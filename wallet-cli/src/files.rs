//! Files that are either whole or absent: written aside, flushed, then put in place; and reading with a bound.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// A checked file ends with the SHA-256 of the rest.
const CHECKSUM_BYTES: usize = 32;

/// Writes a file that must not exist yet, readable by its owner only. Where it fails nothing is left; after a crash the file is there
/// in full or not at all, but for what [`place`] says.
///
/// Fails with [`io::ErrorKind::AlreadyExists`], and changes nothing, if anything has that name.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = write_aside(path, bytes)?;
    // A directory that cannot be opened cannot be flushed: nothing is put there.
    let placed = File::open(directory_of(path)).and_then(|directory| place(&aside, path).map(|()| directory));
    // Renamed it is gone; and one that stays is in nobody's way.
    let _ = fs::remove_file(&aside);
    placed?.sync_all().inspect_err(|_| drop(fs::remove_file(path)))
}

/// Gives a file a name that must not exist yet. It is linked rather than renamed, because a rename would replace a file that another
/// process created in the meantime. Where hard links are unknown, as on memory sticks, an empty file takes the name first, and a
/// crash may leave it.
fn place(aside: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(aside, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).create_new(true).open(path)?;
            fs::rename(aside, path).inspect_err(|_| drop(fs::remove_file(path)))
        }
        linked => linked,
    }
}

/// Writes a file, replacing one of that name. After a crash the old content or the new one is there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = write_aside(path, bytes)?;
    if let Err(error) = fs::rename(&aside, path) {
        fs::remove_file(&aside)?;
        return Err(error);
    }
    sync_directory(path)
}

/// Reads a file of at most `cap` bytes. A longer one fails with [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read_capped(path: &Path, cap: usize) -> io::Result<Vec<u8>> {
    read_to_cap(File::open(path)?, cap)
}

/// Reads a stream of at most `cap` bytes to its end. A longer one fails with [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read_to_cap(stream: impl Read, cap: usize) -> io::Result<Vec<u8>> {
    // In full at once: growing would leave copies behind, of secrets too.
    let mut bytes = Vec::with_capacity(cap.min(1 << 20) + 1);
    stream.take(cap as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > cap {
        // It may be a secret, in the wrong file.
        bytes.zeroize();
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {cap} bytes")));
    }
    Ok(bytes)
}

/// Reads what [`replace_checked`] wrote, at most `cap` bytes; nothing if it is not there in full or is damaged.
pub(crate) fn read_checked(path: &Path, cap: usize) -> Option<Vec<u8>> {
    let mut bytes = read_capped(path, cap + CHECKSUM_BYTES).ok()?;
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if Sha256::digest(content)[..] != checksum[..] {
        return None;
    }
    bytes.truncate(bytes.len() - CHECKSUM_BYTES);
    Some(bytes)
}

/// As [`replace`], with a checksum behind it.
pub(crate) fn replace_checked(path: &Path, mut bytes: Vec<u8>) -> io::Result<()> {
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    replace(path, &bytes)
}

/// Writes and flushes a temporary file beside `path`, creating its directory if need be. Returns its path.
fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    create_directory_of(path)?;
    let mut tag = [0; 8];
    getrandom::fill(&mut tag)?;
    let aside = directory_of(path).join(format!(".drystone-{}.tmp", hex::encode(tag)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        fs::remove_file(&aside)?;
        return Err(error);
    }
    Ok(aside)
}

/// Makes the directory of a file, for its owner only, if it is not there.
fn create_directory_of(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory_of(path))
}

/// A new name is durable only once its directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// The directory that holds `path`.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn create_is_private_and_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        create(&path, b"first").unwrap();
        let error = create(&path, b"second").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(parent.permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn create_leaves_nothing_where_it_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::create_dir(&path).unwrap();
        assert_eq!(create(&path, b"first").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn replace_replaces_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace(&path, b"first").unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_cap_is_the_last_length_that_passes() {
        assert_eq!(read_to_cap(&b"four"[..], 4).unwrap(), b"four");
        let error = read_to_cap(&b"fives"[..], 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
