//! What to expect of a network of one's own: how long blocks take, how many come to nothing, how many confirmations are enough.

use std::fmt;

use super::network::{Plan, Propagation, Relay, in_parallel, propagation, stale_rate};
use super::spend::{Attack, MOST_CONFIRMATIONS, enough};

/// Parts of 1,000 of the hash rate that somebody may have who wants a payment back.
const SHARES: [u64; 5] = [50, 100, 200, 300, 400];

/// An interval is long enough if it is so many times what 90 % of the nodes wait for a block: less than 3 % are stale then.
const SPREADS: u64 = 30;

/// An interval in milliseconds at which blocks do not wait for each other, and so many blocks of each network.
const AT_REST_MS: u64 = 60_000;
const UNSEEN: usize = 20;

/// The shortest interval, in milliseconds, that leaves blocks the time that they need.
fn enough_ms(spread: &Propagation) -> u64 {
    (SPREADS * spread.p90).div_ceil(1_000)
}

/// Whether blocks every `interval_ms` milliseconds leave the time that they need to spread, and how long an interval would.
fn judge_interval(interval_ms: u64, spread: &Propagation) -> String {
    // Blocks wait for each other then, and take longer than they would at an interval that leaves them time.
    if spread.blocks == 0 || spread.p90 > interval_ms * 1_000 {
        return format!("too short by far: see what {} ms would give", 10 * interval_ms);
    }
    let enough_ms = enough_ms(spread);
    if interval_ms >= enough_ms {
        format!("long enough, as any from {enough_ms} ms on")
    } else {
        format!("too short: take {enough_ms} ms or more, {SPREADS} times what 90 % of the nodes wait for a block")
    }
}

/// The fewest confirmations after which `attack` takes a payment back with a probability below `risk`, where the part `stale` of the
/// others' blocks comes to nothing; nothing where a thousand are too few.
fn confirmations(attack: Attack, stale: f64, risk: f64) -> Option<u32> {
    // Who mines alone has no stale blocks.
    let share = attack.share / (attack.share + (1.0 - attack.share) * (1.0 - stale));
    enough(Attack { share, ..attack }, risk)
}

/// Times in which percentiles of the nodes have a block, and what they say.
fn times(spread: &Propagation, what: impl fmt::Display) -> String {
    let Propagation { blocks, p50, p90, p99, .. } = spread;
    if *blocks == 0 {
        return "no block reached every node before the next".into();
    }
    let seconds = |us: &u64| format!("{:.3} s", *us as f64 / 1e6);
    format!("{} {what}", [p50, p90, p99].map(seconds).join(", "))
}

/// Lets a network mine, and says what came of it: a name and a value for each line. Its difficulty follows in `response` intervals.
///
/// # Panics
/// If a checker of the simulator finds something wrong.
pub fn advise(plan: &Plan, blocks: usize, seeds: &[u64], risk: f64, response: u64) -> Vec<(String, String)> {
    let found = stale_rate(plan, blocks, seeds);
    let blocks = found.propagation.blocks;
    let spread = format_args!("until 50, 90, 99 % of the nodes have a block, over the {blocks} that all had");
    let spread = times(&found.propagation, spread);
    // With time between them: how blocks wait for each other is not the question here.
    let interval_ms = plan.interval_ms.max(AT_REST_MS);
    let unseen = &propagation(&[Plan { relay: Relay::Full, interval_ms, ..*plan }], UNSEEN, seeds)[0];
    let least = enough_ms(unseen);
    let unseen = times(
        unseen,
        format_args!("where no node has the block's payments; {SPREADS} times what 90 % wait is {least} ms"),
    );
    let stale = found.expected_ppm as f64 / 1e6;
    let counted = format!("{:.2} % expected, {} of {} counted", 100.0 * stale, found.stale, found.found);
    let mut lines = vec![
        (
            "blocks".into(),
            format!("{} bytes every {} ms, stale ones too, {} nodes", plan.block_bytes, plan.interval_ms, plan.hosts),
        ),
        ("spread".into(), spread),
        ("  unseen".into(), unseen),
        ("stale".into(), counted),
        ("interval".into(), judge_interval(plan.interval_ms, &found.propagation)),
        ("confirmations".into(), format!("for a risk below {risk} that a payment is taken back by")),
    ];
    let attack = |share: u64| Attack { response, ..Attack::new(share as f64 / 1_000.0) };
    let counts = in_parallel(&SHARES, |share| confirmations(attack(*share), stale, risk));
    for (share, enough) in SHARES.iter().zip(counts) {
        let after = |count: u32| (f64::from(count) * plan.interval_ms as f64 / 1e3 / (1.0 - stale)).ceil();
        let value = enough.map_or(format!("not even {MOST_CONFIRMATIONS} are enough"), |count| {
            format!("{count}, after {} s", after(count))
        });
        lines.push((format!("  {} % of hashes", share / 10), value));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_judged_by_how_blocks_spread() {
        let spread = |blocks, p90| Propagation { hosts: 20, blocks, p50: p90 / 2, p90, p99: 2 * p90 };
        assert_eq!(judge_interval(6_600, &spread(9, 220_000)), "long enough, as any from 6600 ms on");
        assert!(judge_interval(6_600, &spread(9, 220_001)).starts_with("too short: take 6601 ms or more"));
        for crowded in [spread(0, 0), spread(9, 300_001)] {
            assert_eq!(judge_interval(300, &crowded), "too short by far: see what 3000 ms would give");
        }
    }

    #[test]
    fn more_confirmations_are_asked_where_blocks_are_stale_and_where_less_risk_is_taken() {
        let of = |share, stale, risk| confirmations(Attack::new(share), stale, risk).expect("some are enough");
        assert_eq!(of(0.1, 0.0, 0.001), 7);
        assert_eq!([0.2, 0.3].map(|share| of(share, 0.1, 0.001)), [17, 53], "as SIMULATION.md says");
        assert!(of(0.3, 0.2, 0.01) > of(0.3, 0.0, 0.01) && of(0.2, 0.0, 0.001) > of(0.2, 0.0, 0.01));
        assert_eq!(confirmations(Attack::new(0.4), 0.5, 0.001), None, "more than half of the blocks that count");
    }
}
