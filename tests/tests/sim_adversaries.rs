//! Each adversary alone against honest engines: that it really did what it is for, what it gains, and what it cannot do.
//!
//! Runs are the same each time, and bounds on shares of blocks leave about three standard deviations to a change of the engine
//! that draws other numbers.

use std::collections::{BTreeMap, BTreeSet};

use drystone_core::hash::BlockHash;
use drystone_core::key::SecretKey;
use drystone_core::params::ChainParams;
use drystone_node::engine::limits::{HEADERS_PER_RESPONSE, OUTBOUND_PEERS, PEERS};
use drystone_node::engine::mempool::{AccountReader, Limits};
use drystone_node::engine::message::NetEvent;
use drystone_tests::random::Random;
use drystone_tests::sim::deviant::{Equivocating, Hopping, Lying, Misdating, Races, Selfish, Withholding};
use drystone_tests::sim::host::{Node, id_of, reward_account};
use drystone_tests::sim::setup::{SPAMMER, WITHHOLDER, network_params};
use drystone_tests::sim::{MINUTE, Outcome, SECOND, Setup, World};

const HOSTS: usize = 10;
/// The adversary, where there is one.
const ADVERSARY: usize = HOSTS;

/// Ten honest hosts for some hours, with the adversaries of these names; what the network says is kept.
fn world(hours: u64, payment_every: u64, faults: &str, params: ChainParams) -> World {
    let setup = Setup::new(0xad5e, HOSTS, hours * 60 * MINUTE, faults.parse().expect("names of faults"));
    let mut world = World::new(Setup { payment_every, params, ..setup });
    world.log = Some(Vec::new());
    world
}

/// Ten honest hosts and nobody else.
fn honest(hours: u64, payment_every: u64) -> World {
    world(hours, payment_every, "none", network_params())
}

/// Runs to the end of the adversary's time, looks at the network, and runs on to the end.
fn run(name: &str, mut world: World, look: impl FnOnce(&World)) -> Outcome {
    world.run_until(world.setup.duration - 1);
    look(&world);
    let outcome = world.run(None);
    println!("{name}: {:?}", outcome.counts);
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.counts.penalties, 0);
    assert!(outcome.counts.agreed_after_ms.is_some_and(|ms| ms <= 91_000), "{:?}", outcome.counts);
    outcome
}

fn node(world: &World, host: usize) -> &Node {
    world.hosts[host].node().expect("it runs")
}

/// The adversary's part of the blocks on the chain of an honest host, of 1,000.
fn share(world: &World) -> u64 {
    let rewards = world.rewards(0);
    let share = 1_000 * rewards.get(&reward_account(ADVERSARY)).unwrap_or(&0) / rewards.values().sum::<u64>();
    println!("{share} of 1,000 blocks");
    share
}

/// How many of the events that honest hosts told of are such.
fn told(world: &World, is: impl Fn(&NetEvent) -> bool) -> usize {
    let log = world.log.as_ref().expect("it is kept");
    log.iter().filter(|(_, host, event)| world.hosts[*host].honest && is(event)).count()
}

/// The hashes, parents and times of the adversary's blocks that honest hosts connected.
fn connected(world: &World) -> BTreeMap<BlockHash, (BlockHash, u64)> {
    let mut blocks = BTreeMap::new();
    for (_, host, hash) in world.connected.as_ref().expect("they are kept") {
        let snapshot = node(world, *host).engine.snapshot();
        let (header, body) = (snapshot.header(hash).expect("reads"), snapshot.body(hash).expect("reads"));
        let (header, body) = (header.expect("connected").header, body.expect("connected"));
        if world.hosts[*host].honest && body.reward_to == reward_account(ADVERSARY) {
            blocks.insert(*hash, (header.prev_hash, header.time));
        }
    }
    blocks
}

/// A selfish miner with this part of all hashes, of 1,000: its part of the blocks, and its races.
fn selfish(hours: u64, part: u64) -> (u64, Races) {
    let mut world = honest(hours, 0);
    let mut races = None;
    world.add_deviant_miner(part, |own| {
        let selfish = Selfish::new(own, network_params());
        races = Some(selfish.races());
        Box::new(selfish)
    });
    let (mut gained, races) = (0, races.expect("it was made"));
    let outcome = run("selfish", world, |world| gained = share(world));
    println!("{:?}", races.get());
    assert!(outcome.counts.reorganisations > 10, "{:?}", outcome.counts);
    (gained, races.get())
}

#[test]
fn a_selfish_miner_with_an_eighth_of_the_hashes_loses() {
    let (gained, races) = selfish(8, 125);
    // By equation 8 of the paper 97 of 1,000 blocks, if half of the others follow it in a race.
    assert!(gained < 125, "{gained}");
    assert!(races.hidden > 30 && races.begun > 20 && races.won < races.begun, "{races:?}");
}

#[test]
fn a_selfish_miner_with_two_fifths_of_the_hashes_gains() {
    let (gained, races) = selfish(6, 400);
    // By equation 8 of the paper 484 of 1,000 blocks, if nobody follows it in a race; three standard deviations are 75.
    assert!((410..560).contains(&gained), "{gained}");
    assert!(races.hidden > 200 && races.won > 30, "{races:?}");
}

#[test]
fn blocks_that_nobody_can_check_are_passed_over() {
    let mut world = honest(4, 30 * SECOND);
    let mut withheld = None;
    world.add_deviant_miner(100, |own| {
        let withholding = Withholding::new(own, network_params(), SecretKey::dev(WITHHOLDER));
        withheld = Some(withholding.withheld());
        Box::new(withholding)
    });
    let outcome = run("withhold", world, |world| {
        assert_eq!(share(world), 0, "nobody builds on what nobody can check");
        let given_up = told(world, |event| matches!(event, NetEvent::Unavailable { .. }));
        let withheld = withheld.as_ref().expect("it was made").get();
        println!("{withheld:?}, heads left {given_up} times");
        assert!(withheld.transactions > 20, "announced and asked for: {withheld:?}");
        assert!(withheld.bodies > 20, "downloaded: {withheld:?}");
        assert!(given_up > 20, "{given_up}");
    });
    assert!(outcome.counts.mined > outcome.counts.height + 20, "it mined: {:?}", outcome.counts);
    assert!(outcome.counts.confirmed() > 400, "payments went through: {:?}", outcome.counts);
}

#[test]
fn of_two_blocks_at_one_height_one_counts() {
    let mut world = honest(4, 30 * SECOND);
    world.connected = Some(Vec::new());
    world.add_deviant_miner(100, |own| Box::new(Equivocating::new(own, network_params())));
    let outcome = run("equivocate", world, |world| {
        let share = share(world);
        assert!((50..150).contains(&share), "{share}");
        let blocks = connected(world);
        let parents: BTreeSet<&BlockHash> = blocks.values().map(|(parent, _)| parent).collect();
        let pairs = blocks.len() - parents.len();
        println!("{pairs} pairs of {} blocks", blocks.len());
        assert!(pairs > 30, "each of two was connected by some: {pairs}");
    });
    assert!(outcome.counts.reorganisations > 20, "{:?}", outcome.counts);
    assert_eq!(outcome.counts.bans, 0, "both are valid, and so are their announcements");
    assert!(outcome.counts.confirmed() > 400, "{:?}", outcome.counts);
}

#[test]
fn a_liar_moves_nobody_and_bans_nobody() {
    let mut world = honest(4, 0);
    let mut old = None;
    world.add_deviant_miner(0, |_| {
        let lying = Lying::new(Random::new(5));
        old = Some(lying.told());
        Box::new(lying)
    });
    let outcome = run("lie", world, |world| {
        let liar = id_of(ADVERSARY);
        let states = told(world, |event| matches!(event, NetEvent::StateMismatch { peer, .. } if *peer == liar));
        let others = told(world, |event| matches!(event, NetEvent::StateMismatch { peer, .. } if *peer != liar));
        let old = old.as_ref().expect("it was made").get();
        println!("{states} false roots seen, {old} old blocks told of");
        assert!(states > 100 && others == 0 && old > 50, "{states}, {others}, {old}");
        assert!(node(world, 0).engine.peers().contains(&liar), "it is borne");
    });
    let counts = outcome.counts;
    assert!(counts.deepest <= 1 && counts.height + 5 > counts.mined, "{counts:?}");
}

#[test]
fn false_times_move_neither_the_block_interval_nor_the_shares() {
    let mut world = honest(6, 0);
    world.connected = Some(Vec::new());
    let max_future = world.setup.params.max_future;
    world.add_deviant_miner(250, |own| {
        assert_eq!(own, reward_account(ADVERSARY));
        Box::new(Misdating::new(max_future, Random::new(5)))
    });
    let outcome = run("misdate", world, |world| {
        let tip = node(world, 0).engine.tip();
        assert!(tip.header.time <= world.clock_ms(0) + max_future);
        let times: BTreeMap<BlockHash, u64> = {
            let snapshot = node(world, 0).engine.snapshot();
            let header = |height| {
                let hash = snapshot.main_hash(height).expect("reads").expect("on the chain");
                (hash, snapshot.header(&hash).expect("reads").expect("on the chain").header.time)
            };
            (0..=tip.height).map(header).collect()
        };
        let blocks = connected(world);
        let after = |wait: &dyn Fn(u64) -> bool| {
            blocks.values().filter(|(parent, time)| times.get(parent).is_some_and(|before| wait(time - before))).count()
        };
        let (early, late) = (after(&|wait| wait == 1), after(&|wait| wait >= max_future * 3 / 4));
        println!("{early} blocks early, {late} late, of {}", blocks.len());
        assert!(early > 50 && late > 50, "{early}, {late}");
        let share = share(world);
        assert!((200..300).contains(&share), "{share}");
    });
    // A third of a hash rate more than the chain began with gives H/T ln(4/3) blocks before the difficulty is right.
    let expected = 6 * 3_600_000 / 30_000 + 35;
    assert!(outcome.counts.height.abs_diff(expected) < expected / 10, "{:?}", outcome.counts);
}

/// What a hash is worth to a hopping miner with a quarter of the hash rate, in thousandths of what it is worth to others.
fn hop(response: u64, blocks: &mut u64) -> u64 {
    let mut world =
        world(5, 0, "none", ChainParams { response: response * network_params().interval, ..network_params() });
    let mut hops = None;
    world.add_deviant_miner(250, |_| {
        let hopping = Hopping::default();
        hops = Some(hopping.hops());
        Box::new(hopping)
    });
    run("hop", world, |world| *blocks = share(world));
    let hops = hops.expect("it was made").get();
    println!("{hops:?}: {}", hops.gain());
    assert!((200..800).contains(&(hops.on * 1_000 / hops.all)), "it mined, and it did not: {hops:?}");
    hops.gain()
}

#[test]
fn mining_on_and_off_gains_next_to_nothing() {
    let mut blocks = 0;
    let gain = hop(120, &mut blocks);
    assert!((1_000..1_120).contains(&gain), "{gain}");
    assert!((80..220).contains(&blocks), "{blocks}");
    // Where the difficulty jumps, it does: the measure would show it.
    let gain = hop(8, &mut blocks);
    assert!(gain > 1_150, "{gain}");
}

#[test]
fn a_host_among_many_of_one_will_keeps_up() {
    let victim = HOSTS - 1;
    run("eclipse", world(4, 0, "eclipse", network_params()), |world| {
        let heights: Vec<u64> = (0..HOSTS).map(|host| node(world, host).engine.tip().height).collect();
        assert!(heights[victim] + 1 >= heights[0], "{heights:?}");
        let peers = node(world, victim).engine.peers();
        let others = peers.iter().filter(|peer| world.hosts[..HOSTS].iter().all(|host| host.id != **peer)).count();
        println!("{others} of its {} peers are theirs", peers.len());
        // They have nearly all places of those who dial, and one at most of each group's among those that it dials.
        let (dialling, groups) = (PEERS - OUTBOUND_PEERS, 4);
        assert!((dialling * 3 / 4..=dialling + groups).contains(&others), "{others} of {}", peers.len());
        assert!(peers.len() - others >= OUTBOUND_PEERS - groups, "{others} of {}", peers.len());
    });
}

#[test]
fn headers_without_work_are_counted_and_hold_nobody_up() {
    let outcome = run("headers", world(4, 0, "headers", network_params()), |world| {
        let long = HEADERS_PER_RESPONSE as u64;
        let counted = told(world, |event| matches!(event, NetEvent::LowWork { .. }));
        let longer = told(world, |event| matches!(event, NetEvent::LowWork { headers, .. } if *headers > long));
        println!("{counted} chains counted and dropped, {longer} of them longer than a page");
        assert!(counted > 100 && longer > 10, "{counted}, {longer}");
    });
    assert!(outcome.counts.bans > 5, "banned, and back from elsewhere: {:?}", outcome.counts);
}

#[test]
fn payments_without_end_hold_no_others_up() {
    let mut world = world(3, 30 * SECOND, "spam", network_params());
    let account = SecretKey::dev(SPAMMER).account();
    let limits = Limits::default();
    let mut most = 0;
    while world.now + MINUTE < world.setup.duration {
        world.run_until(world.now + 5 * SECOND);
        for host in 0..HOSTS {
            let mempool = node(&world, host).engine.mempool();
            most = most.max(mempool.all().filter(|waiting| waiting.transaction().body.from == account).count());
            assert!(mempool.gapped_len() <= limits.gapped);
        }
    }
    println!("{most} waited at once");
    // Full, and no fuller but for what a reorganisation of a block gave back.
    assert!((60..=2 * limits.per_account as usize).contains(&most), "{most}");
    let outcome = run("spam", world, |world| {
        let snapshot = node(world, 0).engine.snapshot();
        let paid = AccountReader::account(&**snapshot, &account).expect("reads").nonce;
        println!("{paid} payments of its own on the chain");
        assert!(paid > 1_000, "{paid}");
    });
    let counts = outcome.counts;
    let fates = counts.fates.expect("a whole run");
    assert!(
        fates.confirmed > 250 && fates.confirmed + fates.superseded + fates.waiting >= counts.payments,
        "{counts:?}"
    );
}
