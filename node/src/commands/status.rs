//! `drystone-node status`: asks a running node what it is doing and what it waits for, and says it in words.

use drystone_core::api::{MiningStatus, Moment, NodeInfo, Phase, ScrubInfo};
use drystone_core::params::ChainKind;

use super::client::Client;
use crate::cli::StatusOptions;
use crate::clock::now;
use crate::failure::Failure;
use crate::units::{block_time, duration, hash_rate};

/// How far the clocks of this program and of the node may differ before that is worth a word, in milliseconds.
const CLOCKS_DIFFER_MS: u64 = 5_000;
/// After so many block intervals without a block something is wrong: by chance alone it is one time in 10^8.
const LONG_INTERVALS: u64 = 20;

/// Asks and describes.
pub(crate) fn execute(options: StatusOptions) -> Result<String, Failure> {
    let client = Client::to_ask(options.node)?;
    if options.json {
        return Ok(serde_json::to_string_pretty(&client.info).expect("plain data serialises") + "\n");
    }
    Ok(describe(&client, now()))
}

/// One line for each thing, the most important in the middle. `now` is the Unix time here, in milliseconds.
fn describe(client: &Client, now: u64) -> String {
    let Client { info, address, .. } = client;
    let kind = match info.kind {
        ChainKind::Main => "main",
        ChainKind::Test => "test",
        ChainKind::Dev => "dev",
    };
    let moment = info.moment.as_ref();
    let up = moment.map(|moment| format!("up {}, ", ago(moment.time, moment.started))).unwrap_or_default();
    let mut lines = vec![
        ("node", format!("version {}, {up}answers at http://{address}/rpc", info.version)),
        ("chain", format!("{} ({kind}), {}", info.chain, info.chain_id)),
        ("tip", format!("height {}, {}", info.height, info.hash)),
        ("now", doing(info)),
    ];
    lines.extend(moment.and_then(|moment| clock(info, moment, now)).map(|words| ("clock", words)));
    lines.push(("mining", mining(info)));
    if let Some(moment) = moment {
        lines.push(("mempool", format!("{} waiting", count(moment.mempool, "transaction"))));
    }
    lines.extend(moment.and_then(|moment| Some(("disk", disk(moment.scrub.as_ref()?, moment.time)))));
    if let Some((data, note)) = &client.found {
        lines.push(("data", format!("{}, process {}", data.path().display(), note.pid)));
    }
    lines.iter().map(|(name, value)| format!("{name:<9}{value}\n")).collect()
}

/// What the node does, and what it waits for.
fn doing(info: &NodeInfo) -> String {
    let peers = count(info.peers, "peer");
    let target = info.moment.as_ref().and_then(|moment| moment.target_height).unwrap_or(info.headers);
    let behind = target.saturating_sub(info.height);
    let part = info.progress.map(|percent| format!(" ({percent:.1} %)")).unwrap_or_default();
    if info.moment.as_ref().is_some_and(|moment| moment.repairing) {
        let so_far = format!("block {} of about {target}{part}", info.height);
        return format!("repairing: data on disk were damaged, the state is made anew from the blocks, {so_far}");
    }
    if info.phase == Phase::Syncing || behind > 0 && info.progress.is_some_and(|percent| percent < 100.0) {
        let headers = if info.headers < target { format!(", headers up to {}", info.headers) } else { String::new() };
        let from = match info.peers {
            0 => "; no peer is connected to give them, name one with --peer HOST:PORT".to_owned(),
            _ => format!(", from {peers}"),
        };
        let word = if info.phase == Phase::Syncing { "syncing" } else { "catching up" };
        return format!(
            "{word}: block {} of about {target}{part}{headers}, {} to come{from}",
            info.height,
            count(behind, "block")
        );
    }
    if info.peers == 0 && info.kind == ChainKind::Main {
        return "waits for peers: none is connected; name one with --peer HOST:PORT".into();
    }
    let company = if info.peers == 0 { "no peers".to_owned() } else { peers };
    match &info.moment {
        _ if info.height == 0 => format!("ready: waits for the first block, {company}"),
        Some(moment) => {
            let age = moment.time.saturating_sub(moment.tip_time);
            let last = ago(moment.time, moment.tip_time);
            if info.kind != ChainKind::Dev && age > LONG_INTERVALS.saturating_mul(info.interval) {
                let every = duration(info.interval.div_ceil(1000));
                return format!("ready, but the last block is {last} old and one is due every {every}: {company}");
            }
            format!("ready: follows the tip, last block {last} ago, {company}")
        }
        None => format!("ready: follows the tip, {company}"),
    }
}

/// What is wrong with the node's clock, as far as that shows.
fn clock(info: &NodeInfo, moment: &Moment, now: u64) -> Option<String> {
    let (ahead, behind) = (moment.time.saturating_sub(now), now.saturating_sub(moment.time));
    if moment.tip_time > moment.time.saturating_add(info.interval) {
        let ahead = ago(moment.tip_time, moment.time);
        return Some(format!("the tip is dated {ahead} after the node's clock: check that clock"));
    }
    let (differs, word) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    let told = format!("the node's is {} {word} this machine's: set the wrong one", duration(differs / 1000));
    (differs >= CLOCKS_DIFFER_MS).then_some(told)
}

/// What reading the disk over has found.
fn disk(scrub: &ScrubInfo, now: u64) -> String {
    let last = match scrub.last_pass {
        Some(last) => format!("read over last {} ago", ago(now, last)),
        None => "being read over for the first time since the start".to_owned(),
    };
    let found = match scrub.damaged {
        0 => "no damage found".to_owned(),
        damaged => format!("{} found damaged, see the log and check the disk", count(damaged, "record")),
    };
    let missing = match scrub.missing_bodies {
        0 => String::new(),
        bodies => format!(
            "; {} of blocks asked of peers",
            if bodies == 1 { "1 body".into() } else { format!("{bodies} bodies") }
        ),
    };
    format!("{last} ({:.1} % of this pass), {found}{missing}", scrub.done)
}

/// How fast it mines and what to expect of it, or why it does not and until when.
fn mining(info: &NodeInfo) -> String {
    let MiningStatus { threads, hashes_per_second: speed, reward_to, refusal, until } = &info.mining;
    if *threads == 0 {
        return "off".into();
    }
    let to = reward_to.as_ref().map(|address| format!(", to {address}")).unwrap_or_default();
    let threads = count(*threads, "thread");
    let time = info.moment.as_ref().map(|moment| moment.time);
    let left = until.zip(time).map(|(until, time)| until.saturating_sub(time));
    // A development chain rests after each block, which is no trouble.
    let paced = info.kind == ChainKind::Dev && left.is_some_and(|left| left <= info.interval);
    match refusal {
        Some(refusal) if !paced => {
            let until = left.map(|left| format!(", for another {}", duration(left.div_ceil(1000)))).unwrap_or_default();
            format!("not now{until}: {refusal}")
        }
        _ if info.kind == ChainKind::Dev => {
            format!("a block every {}, {threads}{to}", duration(info.interval.div_ceil(1000)))
        }
        _ if *speed == 0 => format!("starting, {threads}{to}"),
        _ => {
            let target = info.moment.as_ref().and_then(|moment| moment.bits.to_target().ok());
            let expected = target.map(|target| format!(", a block in about {}", block_time(target, *speed)));
            let expected = expected.unwrap_or_default();
            format!("{} with {threads}{expected}{to}", hash_rate(*speed))
        }
    }
}

/// The time from `then` to `now`, both in Unix milliseconds.
fn ago(now: u64, then: u64) -> String {
    duration(now.saturating_sub(then) / 1000)
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    const NOW: u64 = 1_800_000_000_000;

    /// What status says of a node on a main chain that follows the tip with three peers, but for `changes`.
    fn status_of(changes: Value) -> String {
        let mut info = json!({
            "version": "0.1.0", "chain": "drystone", "kind": "main", "chain_id": "11".repeat(32),
            "address_prefix": "dry", "account_reserve": "100000", "maturity": 10, "interval": 30_000,
            "max_block_bytes": 2097152, "phase": "ready", "height": 7, "hash": "22".repeat(32),
            "headers": 7, "progress": 100.0, "peers": 3,
            "mining": { "threads": 0, "hashes_per_second": 0, "reward_to": null, "refusal": null },
            "time": NOW, "started": NOW - 3_700_000, "tip_time": NOW - 12_000, "bits": "1e00ffff",
            "target_height": 7, "repairing": false, "mempool": 1
        });
        for (name, value) in changes.as_object().unwrap() {
            info[name] = value.clone();
        }
        let client = Client::of("127.0.0.1:9".parse().unwrap(), from_value(info).unwrap());
        describe(&client, NOW + 100)
    }

    fn assert_says(changes: Value, line: &str) {
        let text = status_of(changes);
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }

    #[test]
    fn a_node_on_the_tip_is_told_in_a_few_lines() {
        let text = status_of(json!({}));
        for line in [
            "node     version 0.1.0, up 1 h 1 min, answers at http://127.0.0.1:9/rpc",
            "now      ready: follows the tip, last block 12 s ago, 3 peers",
            "mining   off",
            "mempool  1 transaction waiting",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
        assert!(!text.contains("clock"), "{text}");
    }

    #[test]
    fn what_a_node_waits_for_is_said() {
        let far = json!({ "phase": "syncing", "headers": 70, "target_height": 140, "progress": 5.0 });
        assert_says(
            far,
            "now      syncing: block 7 of about 140 (5.0 %), headers up to 70, 133 blocks to come, from 3 peers",
        );
        let near = json!({ "headers": 8, "target_height": 8, "progress": 87.5, "peers": 1 });
        assert_says(near, "now      catching up: block 7 of about 8 (87.5 %), 1 block to come, from 1 peer");
        let cut = json!({ "phase": "syncing", "headers": 9, "target_height": 9, "progress": 77.7, "peers": 0 });
        assert_says(
            cut,
            "now      syncing: block 7 of about 9 (77.7 %), 2 blocks to come; no peer is connected to give them, name one with --peer HOST:PORT",
        );
        let alone = json!({ "peers": 0, "progress": null, "target_height": null });
        assert_says(alone, "now      waits for peers: none is connected; name one with --peer HOST:PORT");
        let repair =
            json!({ "phase": "syncing", "repairing": true, "headers": 70, "target_height": 70, "progress": 10.0 });
        assert!(status_of(repair).contains("\nnow      repairing: data on disk were damaged"));
        let silent = json!({ "tip_time": NOW - 3_600_000 });
        assert_says(silent, "now      ready, but the last block is 1 h old and one is due every 30 s: 3 peers");
    }

    #[test]
    fn mining_is_told_in_units_with_what_to_expect_or_why_not() {
        let mining = |mining: Value| json!({ "mining": mining });
        let speed =
            |speed: u64| json!({ "threads": 2, "hashes_per_second": speed, "reward_to": null, "refusal": null });
        // One hash in 2^24 and a little meets the target.
        assert_says(mining(speed(1_000_000)), "mining   1.0 MH/s with 2 threads, a block in about 17 s");
        assert_says(mining(speed(999)), "mining   999 H/s with 2 threads, a block in about 4 h 39 min");
        assert_says(mining(speed(1)), "mining   1 H/s with 2 threads, a block in about 194 d 4 h");
        assert_says(mining(speed(0)), "mining   starting, 2 threads");
        let refused = json!({ "threads": 2, "hashes_per_second": 0, "reward_to": "dry1x", "refusal": "no peers" });
        assert_says(mining(refused), "mining   not now: no peers");
        let until = NOW + 90_000;
        let behind = json!({ "threads": 2, "hashes_per_second": 0, "reward_to": "dry1x", "refusal": "the clock", "until": until });
        assert_says(mining(behind), "mining   not now, for another 1 min 30 s: the clock");
        let paced =
            json!({ "threads": 1, "hashes_per_second": 3, "reward_to": "tdry1x", "refusal": "x", "until": NOW + 900 });
        let dev = json!({ "kind": "dev", "interval": 1000, "mining": paced });
        assert_says(dev, "mining   a block every 1 s, 1 thread, to tdry1x");
    }

    #[test]
    fn clocks_that_disagree_are_told() {
        let ahead = json!({ "tip_time": NOW + 50_000 });
        assert_says(ahead, "clock    the tip is dated 50 s after the node's clock: check that clock");
        let behind = json!({ "time": NOW - 3_600_000, "tip_time": NOW - 3_700_000 });
        assert_says(behind, "clock    the node's is 1 h behind this machine's: set the wrong one");
    }

    #[test]
    fn what_was_found_on_disk_is_told() {
        let scrub = |last_pass: Option<u64>, damaged: u64, missing: u64| json!({ "scrub": { "done": 40.0, "last_pass": last_pass, "damaged": damaged, "missing_bodies": missing } });
        let first =
            "disk     being read over for the first time since the start (40.0 % of this pass), no damage found";
        assert_says(scrub(None, 0, 0), first);
        let found = "disk     read over last 2 h ago (40.0 % of this pass), 3 records found damaged, see the log and check the disk; 1 body of blocks asked of peers";
        assert_says(scrub(Some(NOW - 7_200_000), 3, 1), found);
    }

    #[test]
    fn an_older_node_is_described_as_far_as_it_says() {
        let info = json!({
            "version": "0.0.9", "chain": "drystone-dev", "kind": "dev", "chain_id": "11".repeat(32),
            "address_prefix": "tdry", "account_reserve": "100000", "maturity": 10, "interval": 1000,
            "max_block_bytes": 2097152, "phase": "ready", "height": 7, "hash": "22".repeat(32),
            "headers": 7, "progress": null, "peers": 0,
            "mining": { "threads": 1, "hashes_per_second": 3, "reward_to": "tdry1x", "refusal": null }
        });
        let text = describe(&Client::of("127.0.0.1:9".parse().unwrap(), from_value(info).unwrap()), NOW);
        assert!(text.contains("now      ready: follows the tip, no peers\n") && !text.contains("mempool"), "{text}");
    }
}
