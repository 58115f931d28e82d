//! `drystone-node status`: asks a running node how it is, and says it in words.

use drystone_core::api::{NodeInfo, Phase};
use drystone_core::params::ChainKind;

use super::client::Client;
use crate::cli::RunningNode;
use crate::failure::Failure;

/// Asks and describes.
pub(crate) fn execute(options: RunningNode) -> Result<String, Failure> {
    Ok(describe(&Client::to_ask(options)?))
}

fn describe(client: &Client) -> String {
    let Client { info, address, .. } = client;
    let kind = match info.kind {
        ChainKind::Main => "main",
        ChainKind::Test => "test",
        ChainKind::Dev => "dev",
    };
    let mining = &info.mining;
    let mut lines = vec![
        ("node", format!("version {}, answers at http://{address}/rpc", info.version)),
        ("chain", format!("{} ({kind}), {}", info.chain, info.chain_id)),
        ("tip", format!("height {}, {}", info.height, info.hash)),
        ("phase", phase(info)),
        ("peers", info.peers.to_string()),
        (
            "mining",
            match &mining.refusal {
                _ if mining.threads == 0 => "off".to_owned(),
                Some(refusal) => format!("not now: {refusal}"),
                None => format!("{} hashes per second, threads: {}", mining.hashes_per_second, mining.threads),
            },
        ),
    ];
    lines.extend(mining.reward_to.as_ref().map(|address| ("rewards", format!("to {address}"))));
    if let Some((data, note)) = &client.found {
        lines.push(("process", note.pid.to_string()));
        lines.push(("data", data.path().display().to_string()));
    }
    lines.iter().map(|(name, value)| format!("{name:<9}{value}\n")).collect()
}

/// How far it has come, in words. A node that still gathers headers knows of nothing heavier yet and is behind all the same.
fn phase(info: &NodeInfo) -> String {
    let words = match info.phase {
        Phase::Syncing => "syncing: on its way to the heaviest chain it knows of",
        Phase::Ready => "ready: on the heaviest chain it knows of",
    };
    let headers = match info.headers > info.height {
        true => format!(", block {} of {} whose headers are here", info.height, info.headers),
        false => String::new(),
    };
    match info.progress.filter(|percent| info.phase == Phase::Syncing || *percent < 100.0) {
        Some(percent) => format!("{words}{headers}, {percent:.1} % of the way"),
        None => words.to_owned() + &headers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn client(phase: &str, headers: u64, progress: Option<f64>) -> Client {
        let info = json!({
            "version": "0.1.0", "chain": "drystone-dev", "kind": "dev", "chain_id": "11".repeat(32),
            "address_prefix": "tdry", "account_reserve": "100000", "maturity": 10, "interval": 1000,
            "max_block_bytes": 2097152, "phase": phase, "height": 7, "hash": "22".repeat(32),
            "headers": headers, "progress": progress, "peers": 3,
            "mining": { "threads": 1, "hashes_per_second": 3, "reward_to": "tdry1x", "refusal": null }
        });
        Client::of("127.0.0.1:9".parse().unwrap(), from_value(info).unwrap())
    }

    #[test]
    fn a_node_becomes_words() {
        let text = describe(&client("ready", 7, None));
        for part in ["http://127.0.0.1:9/rpc", "drystone-dev (dev)", "height 7", "ready", "3 hashes", "tdry1x"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("phase    ready: on the heaviest chain it knows of\n"), "{text}");
    }

    #[test]
    fn a_node_on_its_way_says_how_far_it_is() {
        let text = describe(&client("syncing", 70, Some(5.0)));
        assert!(text.contains(", block 7 of 70 whose headers are here, 5.0 % of the way\n"), "{text}");
        let text = describe(&client("ready", 7, Some(0.1)));
        assert!(text.contains("knows of, 0.1 % of the way\n"), "{text}");
        let text = describe(&client("ready", 7, Some(100.0)));
        assert!(text.contains("knows of\n"), "{text}");
    }
}
