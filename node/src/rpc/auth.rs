//! The cookie: a secret in a file of the data directory. Whoever can read the file may change the node.

use std::fs::{self, OpenOptions};
use std::hint::black_box;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use drystone_core::api::ErrorCode;

use super::error::RpcError;

/// The name of the file in the data directory.
pub const COOKIE_FILE: &str = ".cookie";

/// The secret of one run of the node.
#[derive(Clone)]
pub struct Cookie {
    secret: String,
    path: PathBuf,
}

/// What a request showed of the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The right one: everything is allowed.
    Full,
    /// None: only what needs no cookie.
    Anonymous,
    /// Another one, for instance of the node's last run: as none, but the error says so.
    Stale,
}

impl Cookie {
    /// Writes 32 secret bytes as 64 hex digits to `<data_dir>/.cookie`, readable by its owner alone, in place of the
    /// last run's. Nobody ever sees half of one.
    pub fn create(data_dir: &Path, secret: [u8; 32]) -> io::Result<Cookie> {
        let path = data_dir.join(COOKIE_FILE);
        let unfinished = data_dir.join(".cookie.new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let secret = hex::encode(secret);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(secret.as_bytes())?;
        fs::rename(&unfinished, &path)?;
        Ok(Cookie { secret, path })
    }

    /// What the `Authorization` field of a request shows.
    pub(super) fn access(&self, headers: &HeaderMap) -> Access {
        let Some(given) = headers.get(AUTHORIZATION) else { return Access::Anonymous };
        let token =
            given.as_bytes().split_first_chunk::<7>().filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
        match token {
            Some((_, token)) if equal(token, self.secret.as_bytes()) => Access::Full,
            _ => Access::Stale,
        }
    }

    /// The refusal of a method that needs the cookie.
    pub(super) fn refusal(&self, method: &str, access: Access) -> RpcError {
        let path = self.path.display();
        let what = match access {
            Access::Stale => format!("{method} needs the node's cookie, and the one given is not this run's"),
            Access::Full | Access::Anonymous => format!("{method} needs the node's cookie"),
        };
        RpcError::new(
            ErrorCode::Unauthorized,
            what,
            format_args!("send the HTTP header Authorization: Bearer <contents of {path}>"),
        )
    }
}

/// Compares in a time that depends on the lengths alone.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && black_box(a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[test]
    fn only_the_cookie_opens() {
        let dir = tempfile::tempdir().unwrap();
        let cookie = Cookie::create(dir.path(), [0xab; 32]).unwrap();
        let secret = "ab".repeat(32);
        assert_eq!(cookie.access(&headers(&format!("Bearer {secret}"))), Access::Full);
        assert_eq!(cookie.access(&headers(&format!("bearer {secret}"))), Access::Full);
        assert_eq!(cookie.access(&HeaderMap::new()), Access::Anonymous);
        for wrong in [secret.clone(), format!("Basic {secret}"), "Bearer ".into(), format!("Bearer {secret}0")] {
            assert_eq!(cookie.access(&headers(&wrong)), Access::Stale, "{wrong}");
        }
        for i in 0..64 {
            let mut wrong = secret.clone().into_bytes();
            wrong[i] ^= 1;
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(cookie.access(&headers(&format!("Bearer {wrong}"))), Access::Stale, "{wrong}");
        }
    }

    #[test]
    fn each_run_replaces_the_file_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(COOKIE_FILE);
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(dir.path().join(".cookie.new"), "left by a crash").unwrap();
        Cookie::create(dir.path(), [1; 32]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "01".repeat(32));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
