//! Which adversaries a run has, where they stand, and how much of the hash rate they have together.

use drystone_core::key::{AccountId, SecretKey};

use super::deviant::{Deviant, Equivocating, Hopping, Lying, Misdating, Selfish, Withholding};
use super::host::reward_account;
use super::hostile::Hostile;
use super::link::Access;
use super::setup::{SPAMMER, WITHHOLDER};
use super::sybil::{Eclipse, HeaderSpam, PaymentSpam};
use super::world::World;
use crate::random::Random;

/// The parts of the hash rate of those who mine valid blocks, beside the 1,000 of all honest miners: 280 of 1,280 together, or
/// 22 %. Hostile peers work for invalid blocks besides, each for one of full difficulty every 121 s: four of them make as
/// many as the network does.
const SELFISH: u64 = 140;
const OTHERS: u64 = 35;

/// Hosts that keep one to themselves: more than the 56 places that it has for those who dial.
const SYBILS: usize = 64;

/// Whom the blocks of the next host reward.
fn own(world: &World) -> AccountId {
    reward_account(world.hosts.len())
}

impl World {
    /// Adds those that the setup's faults name.
    pub(super) fn add_adversaries(&mut self, access: &mut Random, random: &Random) {
        let (faults, hosts, until) = (self.setup.faults, self.setup.hosts, self.setup.duration);
        let params = self.setup.params.clone();
        let mut place = || Access { region: access.below(5) as usize, rate: 2_500_000, loss: 0 };
        if faults.hostile {
            for number in 0..hosts.div_ceil(8) {
                let hostile = Hostile::new(&self.params, hosts, until, random.part("hostile", number as u64));
                self.add_script(place(), Box::new(hostile));
            }
        }
        type Make = fn(&World, Random) -> Box<dyn Deviant>;
        let deviants: [(bool, u64, Make); 6] = [
            (faults.selfish, SELFISH, |world, _| Box::new(Selfish::new(own(world), world.setup.params.clone()))),
            (faults.withhold, OTHERS, |world, _| {
                let (params, key) = (world.setup.params.clone(), SecretKey::dev(WITHHOLDER));
                Box::new(Withholding::new(own(world), params, key))
            }),
            (faults.equivocate, OTHERS, |world, _| Box::new(Equivocating::new(own(world), world.setup.params.clone()))),
            (faults.misdate, OTHERS, |world, random| Box::new(Misdating::new(world.setup.params.max_future, random))),
            (faults.hop, OTHERS, |_, _| Box::new(Hopping::default())),
            (faults.lie, 0, |_, random| Box::new(Lying::new(random))),
        ];
        for (number, (on, share, make)) in deviants.into_iter().enumerate() {
            if on {
                let deviant = make(self, random.part("deviant", number as u64));
                self.add_deviant(share, place(), deviant);
            }
        }
        if faults.headers {
            let spam = HeaderSpam::new(&params, self.setup.age_ms, hosts, until, random.part("headers", 0));
            self.add_script(place(), Box::new(spam));
        }
        if faults.spam {
            let spam = PaymentSpam::new(&params, SecretKey::dev(SPAMMER), hosts, until, random.part("spam", 0));
            self.add_script(place(), Box::new(spam));
        }
        if faults.eclipse {
            let (victim, first) = (hosts - 1, self.hosts.len());
            for index in 0..SYBILS {
                self.add_script(place(), Box::new(Eclipse::new(&params, index, victim, until)));
            }
            self.eclipsed = Some((victim, first..first + SYBILS));
        }
    }
}
