//! Each checker finds the defect that it is for. Defects are planted through the harness: a host that reports what it should
//! not, a disk that lies, a link that garbles, a network that stays apart. Without them the same run passes.

use drystone_core::amount::Amount;
use drystone_core::encode::DecodeError;
use drystone_core::hash::Txid;
use drystone_core::key::SecretKey;
use drystone_core::pow::Work;
use drystone_core::state::Leaf;
use drystone_core::transaction::{Memo, TransactionBody};
use drystone_node::engine::limits::peer_bytes;
use drystone_node::engine::message::{Input, PeerEvent};
use drystone_node::engine::verdict::Offence;
use drystone_tests::sim::checkers::Report;
use drystone_tests::sim::faults::Fault;
use drystone_tests::sim::host::id_of;
use drystone_tests::sim::workload::Payment;
use drystone_tests::sim::{Faults, MINUTE, MS, Outcome, SECOND, Setup, World};

/// The host that the defects are planted at.
const FAULTY: usize = 2;

fn world() -> World {
    World::new(Setup::new(0xc4ec, 4, 20 * MINUTE, Faults::NONE))
}

/// The same with one node more, an engine whose words are changed on their way out.
fn world_with_a_liar() -> (World, usize) {
    let world = World::new(Setup::new(0xc4ec, 4, 20 * MINUTE, Faults { lie: true, ..Faults::NONE }));
    let liar = world.hosts.len() - 1;
    (world, liar)
}

/// A run in which what the faulty host reports goes through `plant` first.
fn run_with(mut plant: impl FnMut(&mut Report) + 'static) -> Outcome {
    let mut world = world();
    world.checkers.plant = Some(Box::new(move |report| plant(report)));
    world.run(None)
}

fn assert_found(outcome: &Outcome, checker: &str) {
    let violation = outcome.violation.as_ref().unwrap_or_else(|| panic!("the {checker} checker found nothing"));
    assert_eq!(violation.checker, checker, "{violation:?}");
}

#[test]
fn without_a_defect_nothing_is_found() {
    let outcome = world().run(None);
    assert_eq!(outcome.violation, None);
    assert!(outcome.counts.height > 10 && outcome.counts.confirmed() > 10, "{:?}", outcome.counts);
}

#[test]
fn validity_finds_a_block_that_breaks_a_rule() {
    let outcome = run_with(|report| {
        if let Report::Connected { body, .. } = report
            && let Some(transaction) = body.transactions.first_mut()
        {
            transaction.body.amount.0 += 1;
        }
    });
    assert_found(&outcome, "validity");
}

#[test]
fn validity_finds_a_valid_block_that_is_refused() {
    let outcome = run_with(|report| {
        if let Report::Called { host: FAULTY, .. } = report {
            let hash = drystone_tests::sim::setup::network_params().chain_id();
            let what = "refused for no reason".into();
            *report = Report::Refused { host: FAULTY, height: 0, hash, block: None, what };
        }
    });
    assert_found(&outcome, "validity");
}

#[test]
fn validity_finds_a_block_from_the_future() {
    let outcome = run_with(|report| {
        if let Report::Dated { host: FAULTY, time, .. } = report {
            *time += 2 * drystone_tests::sim::setup::network_params().max_future;
        }
    });
    assert_found(&outcome, "validity");
}

#[test]
fn validity_finds_a_block_that_one_host_refuses_before_another_connects_it() {
    let mut hash = None;
    let outcome = run_with(move |report| {
        // Who has the block first says no, of a body that nobody can read; the others say yes.
        if let Report::Connected { host, height, header, .. } = report
            && hash.is_none()
        {
            hash = Some(header.hash());
            let what = "refused for no reason".into();
            *report = Report::Refused { host: *host, height: *height, hash: header.hash(), block: None, what };
        }
    });
    let violation = outcome.violation.expect("it is found");
    assert_eq!(violation.checker, "validity", "{violation:?}");
    assert!(violation.what.contains("found invalid elsewhere"), "{violation:?}");
}

#[test]
fn work_finds_a_chain_that_is_counted_wrongly() {
    let outcome = run_with(|report| {
        if let Report::Weighed { host: FAULTY, work, .. } = report {
            *work = *work + Work::from_hashes(1);
        }
    });
    assert_found(&outcome, "work");
}

#[test]
fn work_finds_a_tip_with_less() {
    let outcome = run_with(|report| {
        if let Report::Tip { host: FAULTY, work } = report
            && *work > Work::from_hashes(20)
        {
            *work = Work::from_hashes(1);
        }
    });
    assert_found(&outcome, "work");
}

#[test]
fn durability_finds_a_disk_that_only_says_that_it_syncs() {
    let mut world = world();
    world.hosts[FAULTY].disk.forget_syncs();
    world.at(10 * MINUTE, drystone_tests::sim::world::Event::Fault(Fault::Crash(FAULTY)));
    assert_found(&world.run(None), "durability");
}

#[test]
fn state_finds_chips_in_the_wrong_account() {
    let outcome = run_with(|report| {
        let Report::State { leaves, .. } = report else { return };
        let mut accounts = leaves.iter_mut().filter_map(|(_, leaf)| match leaf {
            Leaf::Account(account) if account.balance.0 > 0 => Some(account),
            _ => None,
        });
        if let (Some(from), Some(to)) = (accounts.next(), accounts.next()) {
            from.balance.0 -= 1;
            to.balance.0 += 1;
        }
    });
    assert_found(&outcome, "state");
}

#[test]
fn supply_finds_a_chip_out_of_nothing() {
    let outcome = run_with(|report| {
        let Report::State { leaves, .. } = report else { return };
        if let Some((_, Leaf::Account(account))) = leaves.iter_mut().find(|(_, leaf)| matches!(leaf, Leaf::Account(_)))
        {
            account.balance.0 += 1;
        }
    });
    assert_found(&outcome, "supply");
}

#[test]
fn steps_finds_a_call_that_takes_two_blocks() {
    let outcome = run_with(|report| {
        if let Report::Called { host: FAULTY, steps } = report {
            *steps *= 2;
        }
    });
    assert_found(&outcome, "steps");
}

#[test]
fn memory_finds_a_peer_that_holds_too_much() {
    let outcome = run_with(|report| {
        if let Report::PeerBytes { host: FAULTY, bytes, .. } = report {
            *bytes += peer_bytes(drystone_tests::sim::setup::network_params().max_block_bytes);
        }
    });
    assert_found(&outcome, "memory");
}

#[test]
fn bans_finds_honest_hosts_that_ban_each_other() {
    let mut world = world();
    world.run_until(5 * MINUTE);
    // A link that garbles what passes through it makes honest hosts look like liars.
    let garbled = PeerEvent::Offence(Offence::Undecodable(DecodeError::NotCanonical));
    world.give(FAULTY, Input::Peer { peer: id_of(1), event: garbled });
    assert_found(&world.run(None), "bans");
}

#[test]
fn bans_finds_an_adversary_whose_engine_bans_an_honest_host() {
    let (mut world, liar) = world_with_a_liar();
    world.run_until(5 * MINUTE);
    let garbled = PeerEvent::Offence(Offence::Undecodable(DecodeError::NotCanonical));
    world.give(liar, Input::Peer { peer: id_of(1), event: garbled });
    assert_found(&world.run(None), "bans");
}

#[test]
fn liveness_finds_a_former_adversary_that_stays_apart() {
    let (mut world, liar) = world_with_a_liar();
    world.run_until(world.setup.duration);
    world.apply_fault(Fault::Split(vec![liar]));
    world.settle(None);
    assert_found(&world.reckon(), "liveness");
}

#[test]
fn liveness_finds_a_network_that_stays_apart() {
    let mut world = world();
    world.run_until(world.setup.duration);
    world.apply_fault(Fault::Split(vec![0, FAULTY]));
    world.settle(None);
    assert_found(&world.reckon(), "liveness");
}

/// A network for long enough that its progress is measured.
fn long_world(faults: Faults) -> World {
    World::new(Setup::new(0xc4ec, 4, 60 * MINUTE, faults))
}

#[test]
fn progress_finds_miners_that_find_nothing() {
    let mut world = long_world(Faults::NONE);
    world.run_until(15 * MINUTE);
    world.hosts.iter_mut().filter_map(|host| host.node_mut()).for_each(|node| node.engine.set_mining_threads(0));
    assert_found(&world.run(None), "progress");
}

#[test]
fn progress_finds_payments_that_get_on_no_chain() {
    let mut world = long_world(Faults::NONE);
    world.run_until(40 * MINUTE);
    let body = world.workload.payments.values().next().expect("there are some").body.clone();
    for number in 0..200 {
        let payment = Payment { body: body.clone(), taken: Some((FAULTY, world.now)) };
        world.workload.payments.insert(Txid([number; 32]), payment);
    }
    assert_found(&world.run(None), "progress");
}

#[test]
fn progress_finds_a_host_that_sybils_keep_to_themselves() {
    let mut world = long_world(Faults { eclipse: true, ..Faults::NONE });
    world.run_until(40 * MINUTE);
    let victim = world.setup.hosts - 1;
    // As if the sybils had all of its places: the others do not get through to it.
    for other in 0..victim {
        world.set_blocked(other, victim, true);
        world.set_blocked(victim, other, true);
    }
    assert_found(&world.run(None), "progress");
}

#[test]
fn payments_finds_one_that_a_host_took_and_dropped() {
    let mut world = world();
    world.run_until(world.setup.duration);
    world.settle(None);
    let key = SecretKey::dev(0);
    let node = world.hosts[FAULTY].node().expect("it runs");
    let account = drystone_node::engine::mempool::AccountReader::account(&**node.engine.snapshot(), &key.account());
    let nonce = node.engine.mempool().pending_nonce(&key.account(), account.expect("reads").nonce);
    let (from, amount, fee) = (key.account(), Amount(1_000_000), Amount(1_000));
    let body = TransactionBody { from, to: from, amount, fee, nonce, memo: Memo::default() };
    let taken = Some((FAULTY, world.now - 60 * SECOND));
    world.workload.payments.insert(Txid([9; 32]), Payment { body, taken });
    assert_found(&world.reckon(), "payments");
}

/// A network in which nobody pays but who is told to, and the next nonce of account 0.
fn quiet_world(relays_payments: bool) -> World {
    let setup = Setup::new(0xc4ec, 4, 20 * MINUTE, Faults::NONE);
    World::new(Setup { payment_every: 0, relays_payments, ..setup })
}

#[test]
fn payments_finds_one_that_waits_for_what_another_host_has() {
    let mut world = quiet_world(false);
    world.run_until(10 * MINUTE);
    // Neither mines, and nobody is told: what one has would let the other's payment go on.
    world.pay_with(FAULTY + 1, 0, 0, 1_000);
    world.run_until(world.now + SECOND);
    world.workload.payments.clear();
    world.pay_with(FAULTY, 0, 1, 1_000);
    assert_found(&world.run(None), "payments");
}

#[test]
fn payments_finds_one_that_an_orderly_stop_lost() {
    let mut world = quiet_world(true);
    world.run_until(10 * MINUTE);
    let from = SecretKey::dev(0).account();
    let (amount, fee) = (Amount(1_000_000), Amount(1_000));
    let body = TransactionBody { from, to: from, amount, fee, nonce: 0, memo: Memo::default() };
    world.workload.payments.insert(Txid([9; 32]), Payment { body, taken: Some((FAULTY, world.now)) });
    world.apply_fault(Fault::Stop(FAULTY));
    assert_found(&world.run(None), "payments");
}

#[test]
fn payments_finds_a_nonce_that_is_given_twice() {
    let mut world = quiet_world(true);
    world.run_until(10 * MINUTE);
    world.pay_with(FAULTY, 0, 0, 1_000);
    world.run_until(world.now + 100 * MS);
    // As a host would that had not counted the first.
    world.pay_with(FAULTY, 0, 0, 10_000_000);
    assert_found(&world.run(None), "payments");
}

#[test]
fn payments_finds_those_that_nobody_confirms() {
    let mut world = world();
    world.run_until(world.setup.duration - MINUTE);
    world.hosts.iter_mut().filter_map(|host| host.node_mut()).for_each(|node| node.engine.set_mining_threads(0));
    assert_found(&world.run(None), "payments");
}
