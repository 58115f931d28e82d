//! The system's clocks, which nothing below the shell looks at.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The Unix time in milliseconds; 0 on a machine whose clock stands before 1970.
#[allow(clippy::disallowed_methods, reason = "the shell reads the clock for everybody else")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The time since the first call, on a clock that nobody sets.
#[allow(clippy::disallowed_methods, reason = "the shell reads the clock for everybody else")]
pub(crate) fn uptime() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}
