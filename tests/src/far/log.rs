//! A node's log as it grows: one JSON object a line, with a time in microseconds.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    /// Unix time in microseconds.
    pub at: u64,
    /// What happened.
    pub message: String,
    /// Everything that the line says.
    pub fields: Value,
}

/// A block that a node connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Unix time in microseconds.
    pub at: u64,
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: String,
    /// How long the engine's last call for it took, in milliseconds: connection and commit.
    pub took_ms: u64,
}

/// What was read of a log so far.
pub struct Log {
    path: PathBuf,
    offset: u64,
    /// The beginning of a line whose end is not there yet.
    rest: String,
    lines: Vec<Line>,
}

impl Log {
    /// The log in this file, which may not exist yet.
    pub fn new(path: PathBuf) -> Log {
        Log { path, offset: 0, rest: String::new(), lines: Vec::new() }
    }

    /// Every line so far. What is no JSON, such as the words of a panic, is left out.
    pub fn lines(&mut self) -> &[Line] {
        let mut fresh = String::new();
        if let Ok(mut file) = File::open(&self.path)
            && file.seek(SeekFrom::Start(self.offset)).is_ok()
            && let Ok(read) = file.read_to_string(&mut fresh)
        {
            self.offset += read as u64;
            self.rest += &fresh;
        }
        if let Some(end) = self.rest.rfind('\n') {
            let rest = self.rest.split_off(end + 1);
            let whole = std::mem::replace(&mut self.rest, rest);
            self.lines.extend(whole.lines().filter_map(parse));
        }
        &self.lines
    }

    /// The blocks that were connected so far, also those that were disconnected again; of many at once the last.
    pub fn connected(&mut self) -> Vec<Connected> {
        self.lines().iter().filter_map(connected).collect()
    }

    /// When a block was connected for the first time.
    pub fn connected_at(&mut self, hash: &str) -> Option<Connected> {
        self.lines();
        let named = |line: &&Line| line.fields["hash"] == hash;
        self.lines.iter().filter(named).find_map(connected)
    }
}

fn connected(line: &Line) -> Option<Connected> {
    let number = |name: &str| {
        let field = &line.fields[name];
        // Numbers of 128 bits, such as durations, are written as text.
        field.as_u64().or_else(|| field.as_str()?.parse().ok())
    };
    if !matches!(line.message.as_str(), "block connected" | "blocks connected") {
        return None;
    }
    let hash = line.fields["hash"].as_str()?.to_owned();
    Some(Connected { at: line.at, height: number("height")?, hash, took_ms: number("took_ms").unwrap_or(0) })
}

fn parse(text: &str) -> Option<Line> {
    let fields: Value = serde_json::from_str(text).ok()?;
    let at = microseconds(fields["timestamp"].as_str()?)?;
    Some(Line { at, message: fields["message"].as_str()?.to_owned(), fields })
}

/// The Unix time in microseconds of `2026-11-25T00:00:00.000000Z`.
fn microseconds(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let digits = text.get(20..)?.trim_end_matches('Z');
    let fraction: u64 = format!("{digits:0<6}").get(..6)?.parse().ok()?;
    // Days since 1970 by years that begin in March, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(microseconds("1970-01-01T00:00:00.000000Z"), Some(0));
        assert_eq!(microseconds("2000-02-29T12:00:00.5Z"), Some(951_825_600_500_000));
        assert_eq!(microseconds("2026-11-25T00:52:03.123456Z"), Some(1_795_567_923_123_456));
        assert_eq!(microseconds("yesterday"), None);
    }

    #[test]
    fn a_log_is_read_as_it_grows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::new(path.clone());
        assert!(log.lines().is_empty());
        let line = r#"{"timestamp":"1970-01-01T00:00:01.000002Z","message":"block connected","height":3,"hash":"ab","took_ms":"7"}"#;
        std::fs::write(&path, format!("no JSON\n{line}\n{}", &line[..20])).unwrap();
        let expected = Connected { at: 1_000_002, height: 3, hash: "ab".into(), took_ms: 7 };
        assert_eq!(log.connected(), std::slice::from_ref(&expected));
        std::fs::write(&path, format!("no JSON\n{line}\n{line}\n")).unwrap();
        assert_eq!(log.connected(), [expected.clone(), expected.clone()]);
        assert_eq!(log.connected_at("ab"), Some(expected));
        assert_eq!(log.connected_at("cd"), None);
    }
}
