//! What peers of one address answer for together.

use drystone_node::engine::limits::BANS;
use drystone_node::engine::message::{Direction, DisconnectReason, PeerEvent, PeerId};
use drystone_node::engine::verdict::{Offence, judge_offence};

use super::*;

const NAMES: [PeerId; 3] = [PeerId([1; 32]), PeerId([2; 32]), PeerId([3; 32])];

impl Bench {
    fn connect(&mut self, peer: PeerId) {
        self.connect_from([192, 0, 2, 1], peer);
    }

    pub(super) fn connect_from(&mut self, ip: [u8; 4], peer: PeerId) {
        let address = (ip, u16::from(peer.0[0])).into();
        self.peer_as(peer, PeerEvent::Connected { address, direction: Direction::Inbound });
    }
}

fn dropped(outputs: &[Output]) -> Vec<(PeerId, DisconnectReason)> {
    let dropped = outputs.iter().filter_map(|output| match output {
        Output::Disconnect { peer, reason } => Some((*peer, reason.clone())),
        _ => None,
    });
    dropped.collect()
}

#[test]
fn no_other_name_takes_an_addresss_points_away_and_a_ban_drops_them_all() {
    let mut bench = Bench::new();
    let [guilty, taking, leaving] = NAMES;
    NAMES.iter().for_each(|name| bench.connect(*name));
    let offence = Offence::FalseClaim;
    assert_eq!(judge_offence(&offence), 25);
    for _ in 0..3 {
        assert!(dropped(&bench.peer_as(guilty, PeerEvent::Offence(offence.clone()))).is_empty());
    }
    bench.peer_as(guilty, PeerEvent::Disconnected);
    bench.peer_as(taking, PeerEvent::Disconnected);
    bench.connect(taking);
    bench.peer_as(leaving, PeerEvent::Offence(offence.clone()));
    bench.peer_as(leaving, PeerEvent::Disconnected);
    bench.connect(guilty);
    let outputs = bench.peer_as(guilty, PeerEvent::Offence(offence.clone()));
    let expected = vec![(guilty, DisconnectReason::Banned(offence)), (taking, DisconnectReason::AddressBanned)];
    assert_eq!(dropped(&outputs), expected);
}

#[test]
fn many_addresses_with_few_points_do_not_make_forget_one_with_many() {
    let mut bench = Bench::new();
    let [guilty, other, _] = NAMES;
    let offence = || PeerEvent::Offence(Offence::FalseClaim);
    bench.connect(guilty);
    for _ in 0..3 {
        bench.peer_as(guilty, offence());
    }
    bench.peer_as(guilty, PeerEvent::Disconnected);
    for number in 0..=BANS as u16 {
        let [high, low] = number.to_be_bytes();
        bench.connect_from([198, 18, high, low], other);
        bench.peer_as(other, offence());
        bench.peer_as(other, PeerEvent::Disconnected);
    }
    bench.connect(guilty);
    assert_eq!(dropped(&bench.peer_as(guilty, offence())).len(), 1, "it is banned");
}
