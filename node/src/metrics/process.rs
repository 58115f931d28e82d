//! What the operating system knows of this program, where it tells, under the names that every Prometheus client uses.

use std::fs;

use super::instruments::Page;

/// Writes it, of a program that started at the Unix time `started` in milliseconds.
pub(super) fn write(page: &mut Page, started: u64) {
    let started = started as f64 / 1000.0;
    page.gauge("process_start_time_seconds", "When the program started, in Unix time.", started);
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Memory that the program holds.", bytes);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is this directory.
        page.gauge("process_open_fds", "Open file descriptors.", open.count().saturating_sub(1));
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}
