//! Each adversary alone against honest engines: what it gains, what it cannot do, and that it really did something.

use std::collections::BTreeMap;

use drystone_core::key::AccountId;
use drystone_tests::sim::host::reward_account;
use drystone_tests::sim::{Faults, MINUTE, Outcome, Setup, World};

const HOSTS: usize = 10;
const HOURS: u64 = 4;

/// Runs one adversary beside ten hosts and looks at the network as its time ends, and at what came of it.
fn run(name: &str, look: impl FnOnce(&World)) -> Outcome {
    let faults: Faults = name.parse().unwrap();
    let setup = Setup { payment_every: 0, ..Setup::new(0xad5e, HOSTS, HOURS * 60 * MINUTE, faults) };
    let mut world = World::new(setup);
    world.run_until(world.setup.duration - 1);
    look(&world);
    let outcome = world.run(None);
    println!("{name}: {:?}", outcome.counts);
    assert_eq!(outcome.violation, None);
    outcome
}

/// Whose blocks are on the chain of an honest host.
fn rewarded(world: &World) -> BTreeMap<AccountId, u64> {
    let node = world.hosts[0].node().expect("it runs");
    let snapshot = node.engine.snapshot();
    let mut rewarded = BTreeMap::new();
    for height in 1..=node.engine.tip().height {
        let hash = snapshot.main_hash(height).unwrap().unwrap();
        *rewarded.entry(snapshot.body(&hash).unwrap().unwrap().reward_to).or_default() += 1;
    }
    rewarded
}

/// The adversary's part of the blocks on the chain, of 1,000.
fn share(world: &World) -> u64 {
    let rewarded = rewarded(world);
    let own = rewarded.get(&reward_account(HOSTS)).copied().unwrap_or(0);
    1_000 * own / rewarded.values().sum::<u64>()
}

#[test]
fn a_selfish_miner_below_a_quarter_gains_nothing() {
    let mut gained = 0;
    let outcome = run("selfish", |world| gained = share(world));
    // 140 of 1,140 hashes are its own: an honest miner of its size would have 123 of 1,000 blocks.
    println!("{gained} of 1,000 blocks");
    assert!(gained < 150, "{gained}");
    assert!(outcome.counts.reorganisations > 10, "it raced: {:?}", outcome.counts);
}

#[test]
fn blocks_without_bodies_are_passed_over() {
    let mut gained = 0;
    let outcome = run("withhold", |world| gained = share(world));
    assert_eq!(gained, 0, "nobody builds on what nobody can check");
    assert!(outcome.counts.mined > outcome.counts.height, "it mined: {:?}", outcome.counts);
}

#[test]
fn of_two_blocks_at_one_height_one_counts() {
    let outcome = run("equivocate", |world| {
        let share = share(world);
        assert!((10..60).contains(&share), "{share} of 1,000, with 35 of 1,035 hashes");
    });
    assert!(outcome.counts.reorganisations > 0, "the two were believed by some each: {:?}", outcome.counts);
}

#[test]
fn a_liar_moves_nobody_and_bans_nobody() {
    let outcome = run("lie", |_| {});
    let counts = outcome.counts;
    assert!(counts.penalties == 0 && counts.deepest <= 1 && counts.height + 5 > counts.mined, "{counts:?}");
}

#[test]
fn false_times_do_not_move_the_block_interval() {
    let outcome = run("misdate", |world| {
        let tip = world.hosts[0].node().expect("it runs").engine.tip().header.time;
        assert!(tip <= world.clock_ms(0) + world.setup.params.max_future);
    });
    let expected = HOURS * 3_600_000 / 30_000;
    assert!(outcome.counts.height.abs_diff(expected) < expected / 5, "{:?}", outcome.counts);
}

#[test]
fn mining_on_and_off_gains_next_to_nothing() {
    let mut gained = 0;
    run("hop", |world| gained = share(world));
    // It mines half of the time or more with 35 of 1,035 hashes.
    println!("{gained} of 1,000 blocks");
    assert!((5..60).contains(&gained), "{gained}");
}

#[test]
fn a_host_among_many_of_one_will_keeps_up() {
    let victim = HOSTS - 1;
    run("eclipse", |world| {
        let heights: Vec<u64> =
            world.hosts[..HOSTS].iter().map(|host| host.node().expect("it runs").engine.tip().height).collect();
        assert!(heights[victim] + 1 >= heights[0], "{heights:?}");
        let peers = world.hosts[victim].node().expect("it runs").engine.peers();
        let others = peers.iter().filter(|peer| world.hosts[..HOSTS].iter().all(|host| host.id != **peer)).count();
        println!("{others} of its {} peers are theirs", peers.len());
        // Their addresses are close to each other, and places are given by distance.
        assert!((1..=peers.len() / 2).contains(&others), "{others} of {}", peers.len());
    });
}

#[test]
fn headers_without_work_and_payments_without_end_hold_nobody_up() {
    for name in ["headers", "spam"] {
        let outcome = run(name, |world| {
            if name == "spam" {
                let waiting = world.hosts[0].node().expect("it runs").engine.mempool().len();
                assert!(waiting <= 64, "one account has no more places than any: {waiting}");
                let paid = rewarded(world).len();
                assert!(paid > 1, "{paid}");
            }
        });
        assert_eq!(outcome.counts.penalties, 0);
        assert!(outcome.counts.agreed_after_ms <= 91_000, "{:?}", outcome.counts);
    }
}
