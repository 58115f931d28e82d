//! Routers among themselves, without hosts and links.

use Direction::{Inbound, Outbound};

use super::*;

const LATENCY_MS: u64 = 50;

/// Routers, the frames under way between them in order of arrival, and who was delivered what how often.
struct Net {
    now: u64,
    rng: Random,
    routers: Vec<Router>,
    frames: VecDeque<(u64, usize, usize, Frame)>,
    delivered: Vec<BTreeMap<GossipId, u32>>,
    /// Messages that begin with it are rejected.
    rejected: Option<u8>,
}

impl Net {
    /// The first of each link dialled the second.
    fn new(hosts: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Net {
        let mut routers = vec![Router::new(); hosts];
        for (a, b) in links {
            routers[a].joined(0, b, Outbound);
            routers[b].joined(0, a, Inbound);
        }
        let delivered = vec![BTreeMap::new(); hosts];
        Net { now: 0, rng: Random::new(5), routers, frames: VecDeque::new(), delivered, rejected: None }
    }

    fn full(hosts: usize) -> Net {
        Net::new(hosts, (0..hosts).flat_map(|a| (0..a).map(move |b| (a, b))))
    }

    fn run(&mut self, until: u64) {
        while self.now < until {
            self.now += 1;
            while self.frames.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, from, to, frame) = self.frames.pop_front().expect("it was seen just now");
                let effects = self.routers[to].receive(self.now, from, frame, &mut self.rng);
                self.carry_out(to, effects);
            }
            if self.now.is_multiple_of(HEARTBEAT_MS) {
                for host in 0..self.routers.len() {
                    let effects = self.routers[host].heartbeat(self.now, &mut self.rng);
                    self.carry_out(host, effects);
                }
            }
        }
    }

    fn carry_out(&mut self, host: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => self.frames.push_back((self.now + LATENCY_MS, host, to, frame)),
                Effect::Deliver { from, id, bytes, .. } => {
                    *self.delivered[host].entry(id).or_default() += 1;
                    let rejected = self.rejected.is_some_and(|first| bytes.first() == Some(&first));
                    let disposition = if rejected { Disposition::Reject } else { Disposition::Accept };
                    let effects = self.routers[host].judge(from, id, disposition);
                    self.carry_out(host, effects);
                }
            }
        }
    }

    fn publish(&mut self, host: usize, bytes: &[u8]) -> GossipId {
        let effects = self.routers[host].publish(self.now, Topic::Blocks, bytes.into(), &mut self.rng);
        self.carry_out(host, effects);
        GossipId::of(Topic::Blocks, bytes)
    }

    /// How often each host was delivered a message.
    fn counts(&self, id: GossipId) -> Vec<u32> {
        self.delivered.iter().map(|delivered| delivered.get(&id).copied().unwrap_or(0)).collect()
    }

    /// Once each, but not to the publisher.
    fn assert_delivered(&self, id: GossipId, publisher: usize) {
        let expected: Vec<u32> = (0..self.routers.len()).map(|host| u32::from(host != publisher)).collect();
        assert_eq!(self.counts(id), expected);
    }
}

fn random() -> Random {
    Random::new(3)
}

/// A router that `peers` dialled.
fn router(peers: usize) -> Router {
    router_with(peers, 0)
}

/// A router that peers dialled, and that dialled others, whose numbers follow.
fn router_with(peers: usize, others: usize) -> Router {
    let mut router = Router::new();
    (0..peers).for_each(|peer| router.joined(0, peer, Inbound));
    (peers..peers + others).for_each(|other| router.joined(0, other, Outbound));
    router
}

fn message(bytes: &[u8]) -> (GossipId, Frame) {
    (GossipId::of(Topic::Blocks, bytes), Frame::publish(Topic::Blocks, bytes.into()))
}

fn send(to: usize, frame: Frame) -> Effect {
    Effect::Send { to, frame }
}

const GRAFT: Frame = Frame::Graft { topic: Topic::Blocks };
const PRUNE: Frame = Frame::Prune { topic: Topic::Blocks };

#[test]
fn in_a_full_net_everybody_hears_once_and_meshes_keep_their_size() {
    let mut net = Net::full(30);
    net.run(30_500);
    for (host, router) in net.routers.iter().enumerate() {
        for topic in TOPICS {
            // Each dialled those before it.
            let (dialled, others) = router.mesh(topic).partition::<Vec<usize>, _>(|peer| *peer < host);
            let degree = dialled.len() + others.len();
            assert!(degree >= MESH_LOW && others.len() <= MESH_HIGH, "host {host}: {degree}");
            // Who dialled few may be in backoff with nearly all of them.
            assert!(dialled.len() >= MESH_DIALLED || host < 8, "host {host}: {dialled:?}");
            assert!(router.mesh(topic).all(|peer| net.routers[peer].mesh(topic).any(|back| back == host)));
        }
    }
    let id = net.publish(4, b"block");
    // Pushed along the mesh, before any heartbeat.
    net.run(30_900);
    net.assert_delivered(id, 4);
    net.run(62_000);
    net.assert_delivered(id, 4);
    // Nothing is left of it but the id, and later not that.
    assert!(net.routers.iter().all(|router| router.cache.is_empty() && router.pending.is_empty()));
    assert!(net.routers.iter().all(|router| router.seen.contains(&id)));
    net.run(92_000);
    assert!(net.routers.iter().all(|router| router.seen.is_empty() && router.seen_order.is_empty()));
}

#[test]
fn a_fresh_host_publishes_by_fanout() {
    let mut router = router(20);
    let effects = router.publish(1, Topic::Blocks, (*b"block").into(), &mut random());
    let (id, frame) = message(b"block");
    let to: BTreeSet<usize> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Send { to, frame: sent } if *sent == frame => *to,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(to.len(), MESH);
    assert!(router.seen.contains(&id) && router.cache.contains_key(&id));
    assert_eq!(router.publish(2, Topic::Blocks, (*b"block").into(), &mut random()), []);
    // No copy of it comes back to the application.
    assert_eq!(router.receive(3, 0, frame, &mut random()), []);
}

#[test]
fn a_ring_with_chords_delivers() {
    let hosts = 40;
    let mut net = Net::new(hosts, (0..hosts).flat_map(|a| [(a, (a + 1) % hosts), (a, (a + 11) % hosts)]));
    net.run(5_500);
    let id = net.publish(0, b"block");
    net.run(8_000);
    net.assert_delivered(id, 0);
}

#[test]
fn a_rejected_message_does_not_spread_and_its_sender_leaves_the_mesh() {
    let mut net = Net::new(3, [(0, 1), (1, 2)]);
    net.rejected = Some(b'!');
    net.run(2_500);
    let id = net.publish(0, b"!a");
    net.run(net.now + 5_000);
    assert_eq!(net.counts(id), [0, 1, 0]);
    assert!(net.routers[1].mesh(Topic::Blocks).eq([2]) && net.routers[0].mesh(Topic::Blocks).next().is_none());
    // It is not taken back when the backoff is over, but what it says is heard and passed on.
    net.run(net.now + 90_000);
    assert!(net.routers[1].mesh(Topic::Blocks).eq([2]) && net.routers[0].mesh(Topic::Blocks).next().is_none());
    let id = net.publish(0, b"block");
    net.run(net.now + 5_000);
    assert_eq!(net.counts(id), [0, 1, 1]);
}

/// A router to which peer 0 said this many things that were rejected, all before the first verdict.
fn router_after(rejects: u8) -> Router {
    let mut router = router(2);
    for number in 0..rejects {
        assert_eq!(router.receive(1, 0, message(&[number]).1, &mut random()).len(), 1);
    }
    for number in 0..rejects {
        assert_eq!(router.judge(0, message(&[number]).0, Disposition::Reject), []);
    }
    router
}

#[test]
fn rejected_messages_cost_ids_then_fanout_then_the_ear() {
    for rejects in [0, 1, 3, 4, 7, 8, 9, 20, 21, 22] {
        let mut router = router_after(rejects);
        let have = Frame::IHave { topic: Topic::Blocks, ids: vec![GossipId([9; 32])] };
        let asked = !router.receive(2, 0, have, &mut random()).is_empty();
        let told = router.publish(2, Topic::Blocks, (*b"block").into(), &mut random()).len();
        let grafted = router.receive(2, 0, GRAFT, &mut random()).is_empty();
        let expected = (rejects <= 3, if rejects <= 7 { 2 } else { 1 }, rejects == 0 || rejects >= 21, rejects >= 21);
        assert_eq!((asked, told, grafted, router.ignores(0)), expected, "{rejects}");
    }
}

#[test]
fn blame_halves_in_ten_minutes() {
    let mut router = router_after(42);
    let mut beat = 0;
    let mut until = |router: &mut Router, minute: u64| {
        while beat < minute * 60 {
            beat += 1;
            router.heartbeat(beat * HEARTBEAT_MS, &mut random());
        }
    };
    // 42, 21, 10.5: it is heard again when no more than the root of 400 are left.
    until(&mut router, 9);
    assert!(router.ignores(0));
    until(&mut router, 11);
    assert!(!router.ignores(0));
    assert!(router.peers[&0].is_above(GOSSIP_PENALTY));
    until(&mut router, 38);
    assert!(!router.peers[&0].is_above(GOSSIP_PENALTY) && router.peers[&0].is_above(0));
    until(&mut router, 120);
    assert!(!router.peers[&0].is_above(0));
}

#[test]
fn blame_outlasts_the_connection_for_ten_seconds() {
    let come_back_after = |seconds: u64| {
        let mut router = router_after(21);
        assert!(router.ignores(0));
        router.left(1_000, 0);
        (2..=1 + seconds).for_each(|second| {
            router.heartbeat(second * 1_000, &mut random());
        });
        router.joined((1 + seconds) * 1_000, 0, Inbound);
        router.ignores(0)
    };
    assert!(come_back_after(10));
    assert!(!come_back_after(11));
}

#[test]
fn an_ignored_message_does_not_spread_and_blames_nobody() {
    let mut router = router(3);
    router.heartbeat(0, &mut random());
    for number in 0..10u8 {
        let (id, frame) = message(&[number]);
        assert_eq!(router.receive(1, 0, frame, &mut random()).len(), 1);
        assert_eq!(router.judge(0, id, Disposition::Ignore), []);
    }
    assert!(!router.ignores(0) && router.cache.is_empty() && router.pending.is_empty());
}

#[test]
fn a_host_that_lost_its_mesh_hears_by_asking() {
    let mut net = Net::full(10);
    net.run(2_500);
    for peer in 1..10 {
        net.frames.push_back((net.now + 1, peer, 0, PRUNE));
        net.frames.push_back((net.now + 1, 0, peer, PRUNE));
    }
    net.run(3_500);
    // One that needs nobody beside its mesh.
    let mesh = |net: &Net, host: usize| net.routers[host].mesh(Topic::Blocks).count();
    let speaker = (1..10).find(|host| mesh(&net, *host) >= MESH).expect("most have one of that size");
    let id = net.publish(speaker, b"block");
    net.run(3_900);
    let heard = net.counts(id);
    assert!((0..10).all(|host| (heard[host] == 1) != [0, speaker].contains(&host)), "{heard:?}");
    // One heartbeat and three latencies: IHAVE, IWANT, the message.
    net.run(4_000 + 3 * LATENCY_MS);
    net.assert_delivered(id, speaker);
    assert_eq!(mesh(&net, 0), 0);
    // After the backoff the mesh is whole again.
    net.run(66_500);
    assert!(mesh(&net, 0) >= MESH_LOW);
}

#[test]
fn a_verdict_after_the_cache_time_forwards_nothing() {
    let forwarded = |beats: u64| {
        let mut router = router(3);
        router.heartbeat(0, &mut random());
        let (id, frame) = message(b"block");
        router.receive(1, 0, frame, &mut random());
        (1..=beats).for_each(|beat| {
            router.heartbeat(beat * HEARTBEAT_MS, &mut random());
        });
        router.judge(0, id, Disposition::Accept)
    };
    let frame = message(b"block").1;
    assert_eq!(forwarded(0), [send(1, frame.clone()), send(2, frame.clone())]);
    assert_eq!(forwarded(HISTORY_BEATS - 1), [send(1, frame.clone()), send(2, frame)]);
    assert_eq!(forwarded(HISTORY_BEATS), []);
}

#[test]
fn a_full_mesh_refuses_and_the_heartbeat_prunes_it_with_backoff() {
    let mut router = router(13);
    for peer in 0..12 {
        assert_eq!(router.receive(0, peer, GRAFT, &mut random()), []);
    }
    assert_eq!(router.receive(0, 12, GRAFT, &mut random()), [send(12, PRUNE)]);
    assert_eq!(router.receive(0, 3, GRAFT, &mut random()), []);
    let effects = router.heartbeat(1_000, &mut random());
    assert_eq!(router.mesh(Topic::Blocks).count(), MESH);
    let pruned = (0..12).filter(|peer| effects.contains(&send(*peer, PRUNE)));
    let pruned: Vec<usize> = pruned.collect();
    assert_eq!(pruned.len(), 6);
    // Too early, the backoff begins anew.
    assert_eq!(router.receive(60_999, pruned[0], GRAFT, &mut random()), [send(pruned[0], PRUNE)]);
    assert_eq!(router.receive(61_000, pruned[0], GRAFT, &mut random()), [send(pruned[0], PRUNE)]);
    assert_eq!(router.receive(61_000, pruned[1], GRAFT, &mut random()), []);
}

#[test]
fn a_full_mesh_takes_whom_we_dialled_and_keeps_two_of_them() {
    for dialled in 1..=4 {
        for seed in 0..20 {
            let mut router = router_with(13, dialled);
            for peer in 0..12 {
                assert_eq!(router.receive(0, peer, GRAFT, &mut random()), []);
            }
            assert_eq!(router.receive(0, 12, GRAFT, &mut random()), [send(12, PRUNE)]);
            for peer in 13..13 + dialled {
                assert_eq!(router.receive(0, peer, GRAFT, &mut random()), []);
            }
            assert_eq!(router.mesh(Topic::Blocks).count(), MESH_HIGH + dialled);
            router.heartbeat(1_000, &mut Random::new(seed));
            assert_eq!(router.mesh(Topic::Blocks).count(), MESH);
            let kept = router.mesh(Topic::Blocks).filter(|peer| *peer >= 13).count();
            assert!(kept >= MESH_DIALLED.min(dialled), "{kept} of {dialled}");
        }
    }
    // Where there are no others they go too.
    let mut router = router_with(0, 14);
    for peer in 0..14 {
        assert_eq!(router.receive(0, peer, GRAFT, &mut random()), []);
    }
    router.heartbeat(1_000, &mut random());
    assert_eq!(router.mesh(Topic::Blocks).count(), MESH);
}

/// Whom a router's heartbeat grafts, when these have grafted it.
fn grafted(mut router: Router, mesh: impl IntoIterator<Item = usize>, now: u64) -> BTreeSet<usize> {
    for peer in mesh {
        assert_eq!(router.receive(now, peer, GRAFT, &mut random()), []);
    }
    let effects = router.heartbeat(now, &mut random());
    let grafted = |effect: &Effect| match effect {
        Effect::Send { to, frame } if *frame == GRAFT => Some(*to),
        _ => None,
    };
    effects.iter().filter_map(grafted).collect()
}

#[test]
fn the_heartbeat_grafts_two_that_we_dialled_into_a_mesh_of_others() {
    let fresh = || router_with(11, 4);
    for size in MESH_LOW..MESH_HIGH {
        let grafted = grafted(fresh(), 0..size, 1_000);
        assert!(grafted.len() == 2 && grafted.iter().all(|peer| *peer >= 11), "{size}: {grafted:?}");
    }
    // As many as lack.
    assert_eq!(grafted(fresh(), (0..6).chain([14]), 1_000).len(), 1);
    assert!(grafted(fresh(), (0..6).chain([13, 14]), 1_000).is_empty());
    // Not in backoff, nor while to blame.
    let mut router = fresh();
    router.receive(0, 11, PRUNE, &mut random());
    router.receive(0, 12, message(b"bad").1, &mut random());
    router.judge(12, message(b"bad").0, Disposition::Reject);
    router.left(0, 13);
    assert_eq!(grafted(router.clone(), 0..6, 60_999), BTreeSet::from([14]));
    assert_eq!(grafted(router, 0..6, 61_000), BTreeSet::from([11, 14]));
}

#[test]
fn among_many_that_dial_it_and_are_silent_a_host_hears_at_once() {
    // Host 0 dialled two hosts, of 3 that know each other. 40 others dial it, and pass nothing on.
    let honest = [(0, 1), (0, 2), (1, 2), (3, 1), (3, 2)];
    let mut net = Net::new(44, honest.into_iter().chain((4..44).map(|other| (other, 0))));
    net.run(1_500);
    for number in 0..100u8 {
        net.run(net.now + 7_000);
        let id = net.publish(3, &[number]);
        net.run(net.now + 4 * LATENCY_MS);
        assert_eq!(net.counts(id)[..4], [1, 1, 1, 0], "{number}");
    }
}

#[test]
fn a_backoff_outlasts_the_connection_and_is_kept_by_us() {
    let mut router = router(1);
    router.receive(0, 0, PRUNE, &mut random());
    router.left(0, 0);
    router.heartbeat(1_000, &mut random());
    router.joined(2_000, 0, Inbound);
    assert!(!router.heartbeat(60_999, &mut random()).contains(&send(0, GRAFT)));
    assert!(router.heartbeat(61_000, &mut random()).contains(&send(0, GRAFT)));
    router.left(61_500, 0);
    router.heartbeat(62_000, &mut random());
    assert!(router.peers.is_empty());
}

#[test]
fn an_id_is_asked_for_once_in_ten_seconds_and_within_bounds() {
    let mut router = router(3);
    let ids: Vec<GossipId> = (0..2).map(|number: u8| GossipId([number; 32])).collect();
    let have = |ids: &[GossipId]| Frame::IHave { topic: Topic::Blocks, ids: ids.to_vec() };
    let want = |to, ids: &[GossipId]| [send(to, Frame::IWant { ids: ids.to_vec() })];
    assert_eq!(router.receive(0, 0, have(&ids[..1]), &mut random()), want(0, &ids[..1]));
    assert_eq!(router.receive(9_999, 1, have(&ids), &mut random()), want(1, &ids[1..]));
    assert_eq!(router.receive(10_000, 2, have(&ids), &mut random()), want(2, &ids[..1]));

    let many = |first: u16| -> Vec<GossipId> {
        let id = |number: u16| GossipId::of(Topic::Blocks, &number.to_le_bytes());
        (first..first + 6_000).map(id).collect()
    };
    let asked = |effects: Vec<Effect>| match &effects[..] {
        [] => 0,
        [Effect::Send { frame: Frame::IWant { ids }, .. }] => ids.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(router.receive(11_000, 0, have(&many(0)), &mut random())), IDS - 1);
    router.heartbeat(11_001, &mut random());
    assert_eq!(asked(router.receive(11_002, 0, have(&many(6_000)), &mut random())), IDS);
    assert_eq!(asked(router.receive(11_002, 0, have(&many(12_000)), &mut random())), 0);
    for _ in 0..IHAVES_PER_BEAT {
        router.receive(11_003, 1, have(&[]), &mut random());
    }
    assert_eq!(asked(router.receive(11_003, 1, have(&many(12_000)), &mut random())), 0);
    router.heartbeat(12_000, &mut random());
    assert_eq!(asked(router.receive(12_001, 1, have(&many(12_000)), &mut random())), IDS);
    assert!(router.asked.len() <= ASKED);
}

#[test]
fn ids_are_told_for_three_heartbeats_and_answered_three_times() {
    let mut router = router(20);
    router.heartbeat(0, &mut random());
    router.publish(1, Topic::Blocks, (*b"block").into(), &mut random());
    let (id, frame) = message(b"block");
    let told = Frame::IHave { topic: Topic::Blocks, ids: vec![id] };
    for beat in 1..=4 {
        let effects = router.heartbeat(beat * HEARTBEAT_MS, &mut random());
        let expected = if beat <= GOSSIP_BEATS { LAZY } else { 0 };
        assert_eq!(
            effects.iter().filter(|effect| matches!(effect, Effect::Send { frame, .. } if *frame == told)).count(),
            expected
        );
    }
    let want = || Frame::IWant { ids: vec![id, GossipId([0; 32])] };
    for _ in 0..ANSWERS {
        assert_eq!(router.receive(5_000, 7, want(), &mut random()), [send(7, frame.clone())]);
    }
    assert_eq!(router.receive(5_000, 7, want(), &mut random()), []);
    assert_eq!(router.receive(5_000, 8, want(), &mut random()), [send(8, frame)]);
}

#[test]
fn a_quarter_of_many_is_told_each_heartbeat() {
    for (peers, expected) in [(MESH + 5, 5), (MESH + 27, 6), (MESH + 28, 7), (MESH + 60, 15)] {
        let mut router = router(peers);
        router.heartbeat(0, &mut random());
        router.publish(1, Topic::Blocks, (*b"block").into(), &mut random());
        let effects = router.heartbeat(1_000, &mut random());
        let told = effects.iter().filter(|effect| matches!(effect, Effect::Send { frame: Frame::IHave { .. }, .. }));
        assert_eq!(told.count(), expected, "{peers}");
    }
}

#[test]
fn what_is_over_a_bound_pushes_out_the_oldest() {
    let mut router = router(1);
    let (first, frame) = message(b"first");
    router.receive(0, 0, frame, &mut random());
    router.heartbeat(1_000, &mut random());
    for number in 0..PENDING as u32 {
        router.receive(1_001, 0, message(&number.to_le_bytes()).1, &mut random());
    }
    assert_eq!(router.pending.len(), PENDING);
    assert!(!router.pending.contains_key(&first) && router.seen.contains(&first));

    let (own, _) = message(b"own");
    router.publish(1_002, Topic::Blocks, (*b"own").into(), &mut random());
    router.heartbeat(2_000, &mut random());
    for number in 0..CACHED as u32 {
        router.publish(2_001, Topic::Transactions, number.to_le_bytes().into(), &mut random());
    }
    assert_eq!(router.cache.len(), CACHED);
    assert!(!router.cache.contains_key(&own) && router.seen.contains(&own));

    for number in 0..SEEN as u32 {
        router.mark_seen(2_002, GossipId::of(Topic::Blocks, &[&number.to_le_bytes()[..], b"seen"].concat()));
    }
    assert_eq!((router.seen.len(), router.seen_order.len()), (SEEN, SEEN));
    assert!(!router.seen.contains(&first) && !router.seen.contains(&own));

    (1..PEERS + 10).for_each(|peer| router.joined(2_000, peer, Inbound));
    assert_eq!(router.peers.len(), PEERS);
    router.left(2_000, 5);
    router.joined(2_001, PEERS + 10, Inbound);
    assert!(router.peers.contains_key(&(PEERS + 10)) && !router.peers.contains_key(&5));
}

#[test]
fn ones_own_words_go_to_six_where_the_mesh_is_smaller() {
    let mut router = router(10);
    (0..2).for_each(|peer| drop(router.receive(0, peer, GRAFT, &mut random())));
    let effects = router.publish(1, Topic::Blocks, (*b"block").into(), &mut random());
    let to: BTreeSet<usize> = effects
        .iter()
        .map(|effect| match effect {
            Effect::Send { to, .. } => *to,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(to.len() == MESH && to.contains(&0) && to.contains(&1), "{to:?}");
}

#[test]
fn what_is_judged_late_is_told_to_nobody_outside_of_the_mesh() {
    for (beats, told) in [(GOSSIP_BEATS - 1, LAZY), (GOSSIP_BEATS, 0)] {
        let mut router = router(20);
        let (id, frame) = message(b"block");
        router.receive(1, 0, frame, &mut random());
        (1..=beats).for_each(|beat| drop(router.heartbeat(beat * HEARTBEAT_MS, &mut random())));
        router.judge(0, id, Disposition::Accept);
        let effects = router.heartbeat((beats + 1) * HEARTBEAT_MS, &mut random());
        let ids = effects.iter().filter(|effect| matches!(effect, Effect::Send { frame: Frame::IHave { .. }, .. }));
        assert_eq!(ids.count(), told);
    }
}
