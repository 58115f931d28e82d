//! Scenes that matter one by one, played in the simulator: a newcomer, worthless chains, a long split, liars.

use std::collections::BTreeMap;

use drystone_core::block::{Block, Body, Header};
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainParams;
use drystone_core::pow::{CompactTarget, Work};
use drystone_core::validation::{ConnectedBlock, check_header};
use drystone_node::engine::limits::{BODIES_MS, BODIES_RATE, HEADERS_PER_RESPONSE, STALL_MS, peer_bytes};
use drystone_node::engine::message::{Input, NetEvent};
use drystone_node::engine::verdict::Offence;
use drystone_node::engine::wire::{Announcement, Gossip, PROTOCOL_VERSION, Status, announce};
use drystone_tests::chain::{TestChain, cheap_headers};
use drystone_tests::sim::archive::{Archive, Manner};
use drystone_tests::sim::faults::Fault;
use drystone_tests::sim::link::Access;
use drystone_tests::sim::setup::{ACCOUNTS, params};
use drystone_tests::sim::{Faults, MINUTE, MS, SECOND, Setup, World};

const MINER: AccountId = AccountId([0x11; 32]);

/// A network without hosts, payments and faults, that begins when this many blocks' time has passed.
fn empty(params: ChainParams, seed: u64, blocks: u64) -> World {
    let age_ms = params.interval * (blocks + 4);
    let setup = Setup { params, payment_every: 0, age_ms, ..Setup::new(seed, 0, 0, Faults::NONE) };
    let mut world = World::new(setup);
    world.log = Some(Vec::new());
    world.discovery = false;
    world
}

fn access(rate: u64) -> Access {
    Access { region: 1, rate, loss: 0 }
}

/// A chain of blocks with this many payments in each.
fn grow(params: &ChainParams, blocks: usize, payments: u64) -> (TestChain, Vec<ConnectedBlock>) {
    let mut chain = TestChain::new(params);
    let blocks = (0..blocks)
        .map(|height| {
            let payer = (height % usize::from(ACCOUNTS)) as u8;
            let to = SecretKey::dev((payer + 1) % ACCOUNTS).account();
            let payments = (0..payments).map(|before| chain.pay(payer, &to, 1_000, before)).collect();
            chain.extend(&MINER, payments)
        })
        .collect();
    (chain, blocks)
}

fn bodies(blocks: &[ConnectedBlock]) -> BTreeMap<BlockHash, Body> {
    blocks.iter().map(|block| (block.hash(), block.block().body.clone())).collect()
}

fn archive(params: &ChainParams, chain: &TestChain, blocks: &[ConnectedBlock], manner: Manner) -> Archive {
    Archive::new(params, chain.headers().to_vec(), bodies(blocks), chain.tip().work, manner)
}

/// What a host said of another that cost points.
fn penalties(world: &World, host: usize) -> Vec<(u64, Offence)> {
    let log = world.log.as_ref().expect("it is kept");
    log.iter()
        .filter_map(|(at, who, event)| match event {
            NetEvent::Penalty { offence, .. } if *who == host => Some((*at, offence.clone())),
            _ => None,
        })
        .collect()
}

fn assert_no_violation(world: &World) {
    assert_eq!(world.checkers.violation, None);
}

/// A newcomer with eight peers behind unequal links, of which one never gives a body, one gives wrong ones and one loses power
/// half-way.
#[test]
fn a_newcomer_syncs_by_measured_speed_and_waits_for_nobody_past_a_deadline() {
    const BLOCKS: usize = 5_000;
    const RATES: [u64; 6] = [80_000, 40_000, 20_000, 10_000, 5_000, 40_000];
    const CRASHING: usize = 5;
    let params = params();
    let (chain, blocks) = grow(&params, BLOCKS, 10);
    let image = TestChain::image(&params, &blocks);
    let mut world = empty(params.clone(), 1, BLOCKS as u64);
    world.checkers.know(&blocks);
    let archives: Vec<usize> = RATES.map(|rate| world.add_host_on(0, access(rate), image.clone())).to_vec();
    world.add_script(access(400_000), Box::new(archive(&params, &chain, &blocks, Manner::Silent)));
    let liar = world.add_script(access(400_000), Box::new(archive(&params, &chain, &blocks, Manner::Lying)));
    let newcomer = world.add_host(0, access(12_500_000));
    let addresses = world.hosts[..newcomer].iter().map(|host| host.address).collect();
    world.give(newcomer, Input::Discovered(addresses));

    let height = |world: &World| world.hosts[newcomer].node().expect("it runs").engine.tip().height;
    let (mut last, mut since, mut longest) = (0, None, 0);
    while height(&world) < BLOCKS as u64 && world.now < 30 * MINUTE {
        world.run_until(world.now + 50 * MS);
        assert_no_violation(&world);
        let now = height(&world);
        if now > last {
            longest = longest.max(since.map_or(0, |since| world.now - since));
            (last, since) = (now, Some(world.now));
        }
        if now >= BLOCKS as u64 / 2 && world.hosts[archives[CRASHING]].crashed_at.is_empty() {
            world.crash(archives[CRASHING]);
        }
    }
    let took = world.now / MS;
    let served = |host: usize| world.served.get(&(host, newcomer)).copied().unwrap_or(0);
    let shares: Vec<u64> = archives.iter().map(|host| served(*host)).collect();
    println!(
        "{BLOCKS} blocks in {took} virtual ms; bytes by link {RATES:?}: {shares:?}; longest wait {} ms",
        longest / MS
    );

    assert_eq!(world.hosts[newcomer].node().expect("it runs").engine.tip().hash, chain.tip().hash);
    // The share follows the link: each of these has half the rate of the one before.
    assert!(shares[..5].windows(2).all(|pair| pair[0] > pair[1]), "{shares:?}");
    assert!(shares[0] > 4 * shares[4], "{shares:?}");
    assert!(penalties(&world, newcomer).iter().any(|(_, offence)| *offence == Offence::WrongBody));
    assert!(!world.hosts[newcomer].node().expect("it runs").engine.peers().contains(&world.hosts[liar].id));
    // Nobody held everything up for longer than a request for a full share may take.
    let expected = params.max_block_bytes / 16;
    let deadline = BODIES_MS + STALL_MS + 8 * expected * 1000 / BODIES_RATE;
    assert!(longest < deadline * MS, "{longest}");
}

fn work_of(params: &ChainParams, headers: &[Header]) -> Work {
    let work = |header: &Header| check_header(*header, params).map(|checked| checked.work());
    let genesis = params.bits.to_target().expect("checked").work();
    headers[1..].iter().map(|header| work(header).expect("worked")).sum::<Work>() + genesis
}

/// A chain that cost much, before one that cost nothing: what the host keeps of it, asks of it and tells of it.
fn worthless_chain(count: usize, claim: Work) -> u64 {
    // 8,192 hashes a block at first: 400 blocks are worth more than a million at two hashes, by more than 144 of them.
    let params = ChainParams { bits: CompactTarget(0x1f07_ffff), ..params() };
    let (chain, blocks) = grow(&params, 400, 0);
    let image = TestChain::image(&params, &blocks);
    let cheap = cheap_headers(&params, count);
    let mut world = empty(params.clone(), 2, count as u64 + 20 * 4 * params.response / params.interval);
    assert!(work_of(&params, &cheap) < chain.tip().work);
    world.checkers.know(&blocks);
    let victim = world.add_host_on(0, access(12_500_000), image.clone());
    let bystander = world.add_host_on(0, access(12_500_000), image);
    world.connect(bystander, victim);

    let last = *cheap.last().expect("there are some");
    let announcement = Announcement { header: last, reward_to: MINER, ids: Vec::new() };
    let claimed = claim.max(work_of(&params, &cheap));
    let liar = Archive::new(&params, cheap, BTreeMap::new(), claimed, Manner::Honest)
        .gossiping(vec![Gossip::Block(announcement)])
        .dialling(vec![victim]);
    let asked = liar.asked();
    world.add_script(access(12_500_000), Box::new(liar));
    let mut held = 0;
    let mut counted = 0;
    while world.now < 20 * MINUTE && counted == 0 {
        world.run_until(world.now + 500 * MS);
        assert_no_violation(&world);
        let engine = &world.hosts[victim].node().expect("it runs").engine;
        held = engine.peers().iter().map(|peer| engine.peer_bytes(peer)).max().unwrap_or(0).max(held);
        let log = world.log.as_ref().expect("it is kept");
        counted = log
            .iter()
            .find_map(|(_, _, event)| match event {
                NetEvent::LowWork { headers, .. } => Some(*headers),
                _ => None,
            })
            .unwrap_or(0);
    }
    world.run_until(world.now + 2 * MINUTE);
    assert_no_violation(&world);
    println!("{counted} headers counted in {} pages, {held} bytes held at most", asked.borrow().headers);
    assert!(held <= peer_bytes(params.max_block_bytes), "{held}");
    assert_eq!((asked.borrow().bodies, asked.borrow().transactions), (0, 0), "no body is asked for");
    for host in [victim, bystander] {
        let engine = &world.hosts[host].node().expect("it runs").engine;
        assert_eq!(engine.tip().hash, chain.tip().hash);
        assert!(engine.snapshot().header(&last.hash()).expect("reads").is_none(), "no header of it is kept");
    }
    counted
}

#[test]
fn a_cheap_fork_from_genesis_is_counted_and_dropped() {
    assert_eq!(worthless_chain(3 * HEADERS_PER_RESPONSE + 5, Work::from_hashes(1 << 60)), 3 * 2000 + 5);
}

#[test]
fn a_million_cheap_headers_are_counted_in_bounded_memory() {
    assert_eq!(worthless_chain(1_000_000, Work::from_hashes(1 << 60)), 1_000_000);
}

#[test]
fn a_network_that_was_split_for_200_blocks_agrees_and_loses_no_payment() {
    let setup = Setup { miners: 10, payment_every: 10 * SECOND, ..Setup::new(0x200, 10, u64::MAX / 4, Faults::NONE) };
    let mut world = World::new(setup);
    world.run_until(10 * MINUTE);
    assert!(world.agree());
    let height = |world: &World, host: usize| world.hosts[host].node().expect("it runs").engine.tip().height;
    let fork = height(&world, 0);
    let side: Vec<usize> = (0..10).filter(|host| host % 2 == 0).collect();
    world.apply_fault(Fault::Split(side));
    while height(&world, 0).min(height(&world, 1)) < fork + 200 {
        world.run_until(world.now + MINUTE);
        assert_no_violation(&world);
    }
    let (a, b) = (height(&world, 0), height(&world, 1));
    world.setup.duration = world.now;
    world.apply_fault(Fault::Heal);
    world.settle(None);
    let counts = world.reckon();
    println!("split at {fork}, sides at {a} and {b}: {:?}", counts.counts);
    assert_eq!(counts.violation, None);
    assert!(counts.counts.deepest >= 200, "{:?}", counts.counts);
    assert!(counts.counts.confirmed() > 500, "{:?}", counts.counts);
}

/// Six hosts on a chain of ten blocks, and one more block that they do not have.
struct Stage {
    world: World,
    params: ChainParams,
    headers: Vec<Header>,
    next: Block,
    work: Work,
}

impl Stage {
    fn new(payments: u64) -> Stage {
        let params = params();
        let (mut chain, blocks) = grow(&params, 10, 0);
        let image = TestChain::image(&params, &blocks);
        let mut world = empty(params.clone(), 3, 20);
        world.checkers.know(&blocks);
        let hosts: Vec<usize> = (0..6).map(|_| world.add_host_on(0, access(2_500_000), image.clone())).collect();
        for a in &hosts {
            for b in hosts.iter().filter(|b| *b > a) {
                world.connect(*a, *b);
            }
        }
        world.run_until(10 * SECOND);
        let to = SecretKey::dev(1).account();
        let payments = (0..payments).map(|before| chain.pay(0, &to, 1_000, before)).collect();
        let next = chain.extend(&MINER, payments).block().clone();
        Stage { world, params, headers: chain.headers().to_vec(), next, work: chain.tip().work }
    }

    fn add(&mut self, manner: Manner, block: &Block, gossip: Vec<Announcement>, victims: Vec<usize>) {
        let mut headers = self.headers.clone();
        *headers.last_mut().expect("genesis") = block.header;
        let bodies = BTreeMap::from([(block.header.hash(), block.body.clone())]);
        let gossip = gossip.into_iter().map(Gossip::Block).collect();
        let liar = Archive::new(&self.params, headers, bodies, self.work, manner).gossiping(gossip).dialling(victims);
        self.world.add_script(access(2_500_000), Box::new(liar));
    }

    /// How many of the hosts have a tip.
    fn at(&self, hash: &BlockHash) -> usize {
        let hosts = self.world.hosts.iter().filter_map(|host| host.node());
        hosts.filter(|node| node.engine.tip().hash == *hash).count()
    }

    /// Nobody honest lost a point with anybody honest.
    fn assert_peace(&self) {
        assert_no_violation(&self.world);
        assert_eq!(self.world.counts.penalties, 0);
    }
}

/// The announcement with other ids, and with another reward.
fn forge(block: &Block, variant: u8) -> Announcement {
    let mut forged = announce(block);
    match forged.ids.first_mut() {
        Some(id) if variant > 0 => id[0] ^= variant,
        _ => forged.reward_to.0[0] ^= 1,
    }
    forged
}

#[test]
fn forged_ids_on_a_valid_header_cost_the_forger_and_nobody_else() {
    let mut stage = Stage::new(3);
    let next = stage.next.clone();
    let variants: Vec<Announcement> = (0..4).map(|variant| forge(&next, variant)).collect();
    // One forger for each variant, all at one host, which then gives junk and, when asked, the whole body.
    for variant in variants {
        stage.add(Manner::Junk, &next, vec![variant], vec![0]);
    }
    stage.world.run_until(60 * SECOND);
    stage.assert_peace();
    assert_eq!(stage.at(&next.header.hash()), 6, "the block itself is good, and everybody has it");
    let forged = penalties(&stage.world, 0).into_iter().filter(|(_, offence)| *offence == Offence::ForgedAnnouncement);
    assert!(forged.count() >= 1);
    // Whoever heard of the block by gossip heard the one right announcement.
    let right = Gossip::Block(announce(&next));
    for host in &stage.world.hosts[1..6] {
        let others = host.router.cached().filter(|(_, bytes)| bytes[..] != right.to_bytes()[..]).count();
        assert_eq!(others, 0, "a forged announcement was forwarded");
    }
}

#[test]
fn a_sender_that_gives_nothing_is_passed_over_for_one_that_does() {
    let mut stage = Stage::new(3);
    let next = stage.next.clone();
    stage.add(Manner::Silent, &next, vec![announce(&next)], vec![0]);
    stage.world.run_until(11 * SECOND);
    stage.add(Manner::Honest, &next, vec![forge(&next, 7), announce(&next)], vec![0]);
    stage.world.run_until(60 * SECOND);
    assert_eq!(stage.at(&next.header.hash()), 6);
    assert_eq!(stage.world.counts.penalties, 0);
}

#[test]
fn a_worked_block_with_a_bad_signature_is_marked_and_costs_no_honest_host_anything() {
    let mut stage = Stage::new(3);
    let mut bad = stage.next.clone();
    bad.body.transactions[1].signature.0[40] ^= 1;
    bad.header.tx_root = bad.body.tx_root();
    while check_header(bad.header, &stage.params).is_err() {
        bad.header.nonce += 1;
    }
    stage.add(Manner::Honest, &bad, vec![announce(&bad)], vec![0, 1, 2]);
    stage.world.run_until(90 * SECOND);
    stage.assert_peace();
    assert_eq!(stage.at(&bad.header.hash()), 0);
    let before = stage.next.header.prev_hash;
    assert_eq!(stage.at(&before), 6, "everybody stays where they were");
    // And a good block on the same parent is taken by all.
    let next = stage.next.clone();
    stage.add(Manner::Honest, &next, vec![announce(&next)], vec![3]);
    stage.world.run_until(150 * SECOND);
    stage.assert_peace();
    assert_eq!(stage.at(&next.header.hash()), 6);
}

#[test]
fn a_header_whose_body_is_withheld_stops_nobody() {
    let mut stage = Stage::new(0);
    let withheld = stage.next.clone();
    stage.add(Manner::Silent, &withheld, vec![forge(&withheld, 0)], vec![0, 1, 2, 3, 4, 5]);
    stage.world.run_until(40 * SECOND);
    stage.assert_peace();
    // The honest block of the same height.
    let mut honest = withheld.clone();
    honest.header.time += 1;
    while check_header(honest.header, &stage.params).is_err() {
        honest.header.nonce += 1;
    }
    stage.add(Manner::Honest, &honest, vec![announce(&honest)], vec![2]);
    stage.world.run_until(100 * SECOND);
    stage.assert_peace();
    assert_eq!(stage.at(&honest.header.hash()), 6);
}

/// A newcomer with one peer that has the chain, whose headers it counts first because they do not start with enough work.
#[test]
fn a_newcomer_that_asks_for_much_work_counts_first_and_then_syncs() {
    const BLOCKS: usize = 4_500;
    let params = params();
    let (chain, blocks) = grow(&params, BLOCKS, 0);
    let image = TestChain::image(&params, &blocks);
    let mut world = empty(params, 4, BLOCKS as u64);
    world.setup.minimum_work = chain.tip().work;
    world.checkers.know(&blocks);
    let archive = world.add_host_on(0, access(12_500_000), image);
    let newcomer = world.add_host(0, access(12_500_000));
    world.connect(newcomer, archive);
    world.run_until(2 * MINUTE);
    assert_no_violation(&world);
    assert_eq!(world.hosts[newcomer].node().expect("it runs").engine.tip().hash, chain.tip().hash);
    assert_eq!(world.counts.penalties, 0);
}

/// A block with a wrong state root on top of a chain that a host still has to download: what is below it is kept.
#[test]
fn an_invalid_block_on_top_takes_nothing_below_it_away() {
    const BLOCKS: usize = 200;
    let params = params();
    let (chain, blocks) = grow(&params, BLOCKS, 2);
    let image = TestChain::image(&params, &blocks);
    let mut world = empty(params.clone(), 5, BLOCKS as u64 + 10);
    world.checkers.know(&blocks);

    let mut bad = chain.clone().extend(&MINER, vec![]).block().clone();
    bad.header.state_root.0[0] ^= 1;
    while check_header(bad.header, &params).is_err() {
        bad.header.nonce += 1;
    }
    let mut headers = chain.headers().to_vec();
    headers.push(bad.header);
    let mut held = bodies(&blocks);
    held.insert(bad.header.hash(), bad.body);
    let work = chain.tip().work + check_header(bad.header, &params).expect("worked").work();
    let newcomer = world.add_host(0, access(12_500_000));
    let liar = Archive::new(&params, headers, held, work, Manner::Honest).dialling(vec![newcomer]);
    world.add_script(access(12_500_000), Box::new(liar));
    world.run_until(MINUTE);
    assert_no_violation(&world);
    assert_eq!(world.hosts[newcomer].node().expect("it runs").engine.tip().hash, chain.tip().hash);

    // It serves what it has, and a restart finds the same.
    let other = world.add_host_on(0, access(12_500_000), image);
    world.connect(newcomer, other);
    world.stop_host(newcomer);
    world.start_host(newcomer);
    world.run_until(2 * MINUTE);
    assert_no_violation(&world);
    assert_eq!(world.hosts[newcomer].node().expect("it runs").engine.tip().hash, chain.tip().hash);
}

/// The largest numbers that a status can hold, in every combination that decodes.
#[test]
fn a_status_of_absurd_numbers_is_a_claim_like_any_other() {
    let mut stage = Stage::new(0);
    let next = stage.next.clone();
    let most = Work::from_le_bytes([0xff; 32]);
    for (height, held) in [(u64::MAX, vec![]), (u64::MAX, vec![(0, u64::MAX)]), (0, vec![(u64::MAX, 0); 16])] {
        let status = Status {
            version: PROTOCOL_VERSION,
            chain_id: stage.params.chain_id(),
            height,
            hash: next.header.hash(),
            work: most,
            state_root: next.header.state_root,
            held,
        };
        let bodies = BTreeMap::from([(next.header.hash(), next.body.clone())]);
        let liar = Archive::new(&stage.params, stage.headers.clone(), bodies, most, Manner::Silent);
        let liar = liar.claiming(status).gossiping(vec![Gossip::Block(announce(&next))]).dialling(vec![0, 1]);
        stage.world.add_script(access(2_500_000), Box::new(liar));
    }
    stage.world.run_until(100 * SECOND);
    stage.assert_peace();
    stage.add(Manner::Honest, &next, vec![announce(&next)], vec![3]);
    stage.world.run_until(200 * SECOND);
    stage.assert_peace();
    assert_eq!(stage.at(&next.header.hash()), 6);
}

#[test]
fn a_host_that_starts_again_finds_its_peers_in_its_own_book() {
    let mut world = empty(params(), 6, 1);
    let hosts: Vec<usize> = (0..3).map(|_| world.add_host(0, access(2_500_000))).collect();
    let addresses = hosts[1..].iter().map(|host| world.hosts[*host].address).collect();
    world.give(0, Input::Discovered(addresses));
    world.run_until(30 * SECOND);
    let peers = |world: &World| world.hosts[0].node().expect("it runs").engine.peers().len();
    assert_eq!(peers(&world), 2);
    // Nobody else knows its address, so nobody else can dial.
    world.stop_host(0);
    world.run_until(60 * SECOND);
    world.start_host(0);
    world.run_until(90 * SECOND);
    assert_no_violation(&world);
    assert_eq!(peers(&world), 2);
}

#[test]
fn a_peer_whose_state_is_not_what_its_tip_says_is_noticed_and_not_blamed() {
    let mut stage = Stage::new(0);
    let tip = stage.headers[stage.headers.len() - 2];
    let found = StateRoot([7; 32]);
    let status = Status {
        version: PROTOCOL_VERSION,
        chain_id: stage.params.chain_id(),
        height: 10,
        hash: tip.hash(),
        work: Work::from_hashes(1),
        state_root: found,
        held: vec![(1, 10)],
    };
    let rotten =
        Archive::new(&stage.params, stage.headers.clone(), BTreeMap::new(), Work::ZERO, Manner::Empty).claiming(status);
    let asked = rotten.asked();
    stage.world.add_script(access(2_500_000), Box::new(rotten.dialling(vec![0])));
    stage.world.run_until(20 * SECOND);
    let required = tip.state_root;
    let noticed = stage.world.log.as_ref().expect("it is kept").iter().any(|(_, host, event)| {
        matches!(event, NetEvent::StateMismatch { height: 10, required: r, found: f, .. }
            if *host == 0 && *r == required && *f == found)
    });
    assert!(noticed);
    assert_eq!(penalties(&stage.world, 0), []);
    assert_eq!(asked.borrow().connections, 1, "it stays connected");
}
