//! Standard error, where the log scrolls by above one line that stays: whoever writes takes that line away first and
//! puts it back after, so neither tears the other.

use std::io::{self, Stderr, Write, stderr};
use std::sync::{Mutex, PoisonError};

/// The line that stays, if there is one.
static LINE: Mutex<Option<String>> = Mutex::new(None);

/// Erases the line that the cursor is in.
const ERASE: &str = "\r\x1b[2K";
/// Between these a terminal cuts a long line instead of going on in the next, where erasing would not reach.
const CUT: (&str, &str) = ("\x1b[?7l", "\x1b[?7h");

/// Shows a line below the log, or none. Only for terminals.
pub(crate) fn show(line: Option<String>) {
    // A panic while the lock was held leaves a line that can be replaced like any other.
    let mut shown = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody can be told that standard error is gone.
    let _ = stderr().write_all(redraw(shown.as_deref(), b"", line.as_deref()).as_slice());
    *shown = line;
}

/// Where the log goes, an event in each write.
pub(crate) struct Console;

impl Write for Console {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let shown = LINE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out: Stderr = stderr();
        match shown.as_deref() {
            Some(line) => out.write_all(&redraw(Some(line), event, Some(line)))?,
            None => out.write_all(event)?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

/// What takes the line `before` away, writes whole lines of log, and puts the line `after` there.
fn redraw(before: Option<&str>, log: &[u8], after: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if before.is_some() {
        bytes.extend_from_slice(ERASE.as_bytes());
    }
    bytes.extend_from_slice(log);
    if let Some(line) = after {
        bytes.extend_from_slice([CUT.0, line, CUT.1].concat().as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_log_goes_above_the_line_that_stays() {
        let (erase, [on, off]) = (ERASE, [CUT.0, CUT.1]);
        let text = |before, log: &str, after| String::from_utf8(redraw(before, log.as_bytes(), after)).unwrap();
        assert_eq!(text(None, "", None), "");
        assert_eq!(text(None, "", Some("50 %")), format!("{on}50 %{off}"));
        assert_eq!(text(Some("50 %"), "event\n", Some("50 %")), format!("{erase}event\n{on}50 %{off}"));
        assert_eq!(text(Some("50 %"), "", None), erase);
    }
}
