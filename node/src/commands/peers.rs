//! `drystone-node peers`: whom a running node is connected to, and whom it refuses.

use drystone_core::api::{BanInfo, PeerDirection, PeerInfo};
use serde_json::json;

use super::bans::remaining;
use super::client::Client;
use crate::cli::PeersOptions;
use crate::clock::now;
use crate::failure::Failure;
use crate::units::duration;

/// Asks and describes.
pub(crate) fn execute(options: PeersOptions) -> Result<String, Failure> {
    let client = Client::to_ask(options.node)?;
    let peers: Vec<PeerInfo> = client.ask("net_peers", &json!([]))?;
    let bans: Vec<BanInfo> = client.ask("net_bans", &json!([]))?;
    if options.json {
        let value = json!({ "peers": peers, "bans": bans });
        return Ok(serde_json::to_string_pretty(&value).expect("plain data serialises") + "\n");
    }
    Ok(describe_peers(&peers, now()) + "\n" + &describe_bans(&bans))
}

fn describe_peers(peers: &[PeerInfo], now: u64) -> String {
    if peers.is_empty() {
        return "no peers are connected\n".into();
    }
    let mut rows = vec![["peer", "direction", "address", "height", "score", "connected", "blocks"].map(str::to_owned)];
    rows.extend(peers.iter().map(|peer| {
        [
            peer.peer_id.clone(),
            direction(peer.direction).to_owned(),
            peer.address.to_string(),
            if peer.ready { peer.height.to_string() } else { "?".to_owned() },
            peer.score.to_string(),
            duration(now.saturating_sub(peer.connected_since) / 1000),
            format!("{} ({})", peer.blocks_received, bytes(peer.block_bytes_received)),
        ]
    }));
    table(&rows)
}

fn direction(direction: PeerDirection) -> &'static str {
    match direction {
        PeerDirection::Inbound => "inbound",
        PeerDirection::Outbound => "outbound",
    }
}

fn describe_bans(bans: &[BanInfo]) -> String {
    if bans.is_empty() {
        return "nobody is banned\n".into();
    }
    let mut rows = vec![["banned", "for another"].map(str::to_owned)];
    rows.extend(bans.iter().map(|ban| [ban.target.clone(), remaining(ban.until)]));
    table(&rows)
}

/// Rows of equally wide columns, the first of them the headings.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let line = |row: &[String; N]| -> String {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1000),
        _ => format!("{} MB", count / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_stand_in_columns() {
        let peer = PeerInfo {
            peer_id: "12D3KooWx".into(),
            address: ([10, 0, 0, 1], 8646).into(),
            direction: PeerDirection::Outbound,
            connected_since: 1_000,
            ready: true,
            height: 1234,
            score: 5,
            blocks_received: 7,
            block_bytes_received: 123_456,
            last_useful: None,
        };
        let stranger = PeerInfo { direction: PeerDirection::Inbound, ready: false, height: 0, ..peer.clone() };
        let text = describe_peers(&[peer, stranger], 62_000);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "peer       direction  address        height  score  connected  blocks");
        assert_eq!(lines[1], "12D3KooWx  outbound   10.0.0.1:8646  1234    5      1 min 1 s  7 (123 kB)");
        assert_eq!(lines[2], "12D3KooWx  inbound    10.0.0.1:8646  ?       5      1 min 1 s  7 (123 kB)");
        assert_eq!(describe_peers(&[], 0), "no peers are connected\n");
    }

    #[test]
    fn bans_say_how_long() {
        let ban = |target: &str, until| BanInfo { target: target.into(), until };
        let text = describe_bans(&[ban("10.0.0.1", now() + 90_000), ban("2001:db8::", 0)]);
        assert!(text.contains("10.0.0.1    1 min 30 s\n") && text.contains("2001:db8::  0 s\n"), "{text}");
        assert_eq!(describe_bans(&[]), "nobody is banned\n");
    }
}
