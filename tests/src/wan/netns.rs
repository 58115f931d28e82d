//! Network namespaces: made, entered, and removed with every process in them, also those that a killed run left behind.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{panic, thread};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Error;

/// Where iproute2 mounts the namespaces that have names.
const NAMED: &str = "/run/netns";

/// Namespaces made by this process.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A network namespace of our own. It is removed when dropped, and what runs in it is killed.
#[derive(Debug)]
pub(super) struct Namespace {
    /// `dry<pid>-<n>`: a later run can tell whose it was.
    pub(super) name: String,
}

impl Namespace {
    /// A new namespace, without any device but a loopback that is down.
    pub(super) fn make() -> Result<Namespace, Error> {
        let name = format!("dry{}-{}", id(), MADE.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name], "")?;
        Ok(Namespace { name })
    }

    /// Runs `ip` commands in the namespace, one a line.
    pub(super) fn configure(&self, lines: &str) -> Result<(), Error> {
        ip(&["-n", &self.name, "-batch", "-"], lines).map(drop)
    }

    /// Runs `code` on a thread of its own inside the namespace. The sockets and devices that it opens stay there, whoever uses
    /// them later.
    pub(super) fn inside<T: Send>(&self, code: impl FnOnce() -> T + Send) -> io::Result<T> {
        let namespace = File::open(Path::new(NAMED).join(&self.name))?;
        let entered = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(code())
        };
        thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|payload| panic::resume_unwind(payload))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes the namespaces of processes that are gone.
pub(super) fn sweep() {
    // Without the directory there was never a namespace.
    let Ok(entries) = fs::read_dir(NAMED) else { return };
    for entry in entries.flatten() {
        if let Some(name) = entry.file_name().to_str()
            && maker(name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
        {
            remove(name);
        }
    }
}

/// The process that made a namespace of this name, if it is one of ours.
fn maker(name: &str) -> Option<u32> {
    let (pid, number) = name.strip_prefix("dry")?.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

/// Kills what runs in a namespace and removes it. All of it fails only where somebody else did it before.
fn remove(name: &str) {
    for pid in ip(&["netns", "pids", name], "").unwrap_or_default().lines() {
        if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw)
            && pid.as_raw_nonzero().get().cast_unsigned() != id()
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let _ = ip(&["netns", "delete", name], "");
}

/// Runs `ip` and gives what it prints.
fn ip(arguments: &[&str], input: &str) -> Result<String, Error> {
    let failed = |said: String| Error::Ip { command: format!("ip {}", arguments.join(" ")), said: said.trim().into() };
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(format!("{error}; next: apt-get install iproute2")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // If it ends before it has read all, its status says so.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_own_have_a_maker() {
        assert_eq!(maker("dry4194304-12"), Some(4_194_304));
        for other in ["dry", "dry1", "dry1-", "dry-1", "dry1-x", "dryer1-1", "web1-1", "dry1-1-1"] {
            assert_eq!(maker(other), None, "{other}");
        }
    }
}
