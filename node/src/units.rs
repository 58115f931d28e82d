//! Numbers in units that people read at a glance.

use drystone_core::pow::Target;

const DAY: f64 = 86_400.0;

/// A time in its two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[first];
    let rest = UNITS.get(first + 1).map(|(below, name)| (seconds % unit / below, name));
    match rest.filter(|(count, _)| *count > 0) {
        Some((count, below)) => format!("{} {name} {count} {below}", seconds / unit),
        None => format!("{} {name}", seconds / unit),
    }
}

/// A speed in the unit that gives it one to three digits before the point.
pub(crate) fn hash_rate(hashes: u64) -> String {
    let units = [(1e12, "TH/s"), (1e9, "GH/s"), (1e6, "MH/s"), (1e3, "kH/s")];
    // What would be rounded to 1000.0 of a unit is 1.0 of the next.
    match units.iter().find(|(size, _)| hashes as f64 >= size * if *size > 1e3 { 0.999_95 } else { 1.0 }) {
        Some((size, unit)) => format!("{:.1} {unit}", hashes as f64 / size),
        None => format!("{hashes} H/s"),
    }
}

/// How many seconds pass on average, at so many hashes a second, until one meets the target.
pub(crate) fn seconds_to_a_block(target: Target, speed: u64) -> f64 {
    let work = target.work().to_le_bytes();
    let hashes = work.iter().rev().fold(0.0, |sum: f64, byte| sum * 256.0 + f64::from(*byte));
    hashes / speed as f64
}

/// The same in words.
pub(crate) fn block_time(target: Target, speed: u64) -> String {
    let seconds = seconds_to_a_block(target, speed);
    let years = seconds / (365.25 * DAY);
    if years >= 1.0 {
        format!("{years:.0} year{}", if years < 1.5 { "" } else { "s" })
    } else {
        duration(seconds.ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drystone_core::pow::CompactTarget;

    #[test]
    fn a_time_has_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_661, "1 h 1 min"),
            (86_400, "1 d"),
            (200_000, "2 d 7 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_speed_has_a_digit_after_the_point() {
        for (speed, text) in
            [(999, "999 H/s"), (1_000, "1.0 kH/s"), (45_900_000, "45.9 MH/s"), (3_210_000_000, "3.2 GH/s")]
        {
            assert_eq!(hash_rate(speed), text);
        }
    }

    #[test]
    fn a_block_takes_as_many_hashes_as_its_target_asks_for() {
        // One hash in 2^24 and a little meets the target.
        let target = CompactTarget(0x1e00_ffff).to_target().unwrap();
        assert_eq!(seconds_to_a_block(target, 1 << 20).round(), 16.0);
        for (speed, text) in [(1 << 30, "1 s"), (1_000_000, "17 s"), (1, "194 d 4 h")] {
            assert_eq!(block_time(target, speed), text);
        }
    }
}
