//! How far synchronisation has come, as a line on a terminal, with the time that is left where that can be told.

use std::collections::VecDeque;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use drystone_node::engine::operator::Progress;
use drystone_node::mailbox::{Mailbox, MailboxError};
use tokio::time::{MissedTickBehavior, interval};

use crate::console;
use crate::units::duration;

/// How often the engine is asked.
const POLL: Duration = Duration::from_secs(1);
/// Over which time the speed is measured, in milliseconds.
const WINDOW_MS: u64 = 60_000;
/// From less than this no time left is told.
const SHORTEST_MS: u64 = 5_000;
/// The length of the bar in characters.
const BAR: u64 = 24;
/// Blocks behind which a node counts as on its way even while it still gathers headers.
const BEHIND: u64 = 8;

/// Shows a line while the node is on its way to the tip, until the engine ends. Only where somebody can look: standard
/// error is a terminal, and the log on it is not for programs.
pub(crate) async fn show(mailbox: Mailbox, log_json: bool) {
    if log_json || !stderr().is_terminal() {
        return;
    }
    let _shown = Shown;
    let (mut journey, mut seconds) = (Journey::default(), interval(POLL));
    // After a pause the next look is a second later, not at once and many times.
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        match mailbox.call(|engine, now| (now, engine.progress())).await {
            Ok((now, progress)) => console::show(journey.line(now, &progress)),
            // The line stays as it is.
            Err(MailboxError::Busy) => {}
            Err(MailboxError::Stopped) => return,
        }
    }
}

/// Takes the line away however the task ends.
struct Shown;

impl Drop for Shown {
    fn drop(&mut self) {
        console::show(None);
    }
}

/// What was seen on the way so far.
#[derive(Default)]
struct Journey {
    /// Unix times in milliseconds and heights, oldest first, of the last minute.
    seen: VecDeque<(u64, u64)>,
    /// Whether the node was on its way at the last look: one look alone can fall into the middle of a reorganisation.
    under_way: bool,
}

impl Journey {
    /// The line for a look at the Unix time `now` in milliseconds, or none where the node has arrived.
    fn line(&mut self, now: u64, progress: &Progress) -> Option<String> {
        let target = progress.target().unwrap_or(0);
        let under_way = target > progress.height && (progress.syncing || target > progress.height + BEHIND);
        let shown = std::mem::replace(&mut self.under_way, under_way) && under_way;
        if !under_way {
            self.seen.clear();
            return None;
        }
        // A clock that was set makes all that was seen before it worthless.
        if self.seen.back().is_some_and(|(last, _)| now < *last || now - last > WINDOW_MS) {
            self.seen.clear();
        }
        self.seen.push_back((now, progress.height));
        while self.seen.front().is_some_and(|(first, _)| now - first > WINDOW_MS) {
            self.seen.pop_front();
        }
        shown.then(|| describe(progress, target, self.speed()))
    }

    /// Blocks a second; nothing where too little was seen to tell, or nothing moves.
    fn speed(&self) -> Option<f64> {
        let ((start, low), (end, high)) = (self.seen.front()?, self.seen.back()?);
        let (took, blocks) = (end - start, high.checked_sub(*low)?);
        (took >= SHORTEST_MS && blocks > 0).then(|| blocks as f64 * 1000.0 / took as f64)
    }
}

fn describe(progress: &Progress, target: u64, speed: Option<f64>) -> String {
    let Progress { height, headers, .. } = *progress;
    let part = progress.per_mille().unwrap_or(0);
    let done = (part * BAR / 1000) as usize;
    let bar = "#".repeat(done) + &"-".repeat(BAR as usize - done);
    let mut line = format!("syncing [{bar}] {}.{} %, block {height} of {target}", part / 10, part % 10);
    if headers < target {
        line += &format!(", headers {headers}");
    }
    match speed {
        Some(speed) => {
            let left = duration(((target - height) as f64 / speed).ceil() as u64);
            line + &format!(", {speed:.*} blocks/s, about {left} left", usize::from(speed < 10.0))
        }
        None => line + ", time left unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(height: u64, headers: u64, claimed: Option<u64>) -> Progress {
        Progress { height, headers, claimed, missing: headers - height, syncing: headers > height + BEHIND }
    }

    /// Looks once a second while the height rises by `speed`.
    fn travel(journey: &mut Journey, seconds: u64, speed: u64, target: u64) -> Option<String> {
        let look = |second| journey.line(1000 * second, &at(second * speed, target, Some(target)));
        (0..=seconds).map(look).last().flatten()
    }

    #[test]
    fn the_time_left_follows_from_the_last_minute() {
        let line = travel(&mut Journey::default(), 100, 50, 10_000).unwrap();
        assert_eq!(
            line,
            "syncing [############------------] 50.0 %, block 5000 of 10000, 50 blocks/s, about 1 min 40 s left"
        );
        let mut journey = Journey::default();
        travel(&mut journey, 300, 10, 1_000_000);
        // Slow for a minute: what was fast before does not count.
        let slow = |second: u64| journey.line(300_000 + 1000 * second, &at(3_000 + second / 2, 1_000_000, None));
        let line = (1..=60).map(slow).last().flatten().unwrap();
        assert!(line.contains(", 0.5 blocks/s"), "{line}");
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let mut journey = Journey::default();
        assert_eq!(journey.line(0, &at(0, 100, None)), None, "one look can be a reorganisation");
        let line = journey.line(1_000, &at(50, 100, None)).unwrap();
        assert!(line.ends_with("block 50 of 100, time left unknown"), "{line}");
        // Only headers move.
        let line = (2..20).map(|second| journey.line(1000 * second, &at(50, 100 + second, Some(900)))).last().flatten();
        let line = line.unwrap();
        assert!(line.contains("block 50 of 900, headers 119,"), "{line}");
        // The clock is set back: measured anew.
        travel(&mut journey, 30, 5, 10_000);
        let line = journey.line(10, &at(200, 10_000, None)).unwrap();
        assert!(line.ends_with("time left unknown"), "{line}");
        // A stall longer than a minute.
        travel(&mut journey, 30, 5, 10_000);
        let line = (31..120).map(|second| journey.line(1000 * second, &at(150, 10_000, None))).last().flatten();
        assert!(line.unwrap().ends_with("time left unknown"));
    }

    #[test]
    fn the_line_goes_when_the_node_arrives() {
        let mut journey = Journey::default();
        assert!(travel(&mut journey, 10, 5, 10_000).is_some());
        assert_eq!(journey.line(11_000, &at(10_000, 10_000, Some(10_000))), None);
        assert_eq!(journey.line(12_000, &at(10_000, 10_001, Some(10_001))), None, "an ordinary block");
        let quiet = Progress { height: 5, headers: 5, claimed: None, missing: 0, syncing: true };
        assert_eq!((journey.line(13_000, &quiet), journey.line(14_000, &quiet)), (None, None));
    }
}
