//! The kernels: ways to search nonces on one core. Chosen from what the processor has, by name or by a short race.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::block::Header;
use crate::hash::{BlockHash, StateRoot, TxRoot};
use crate::miner::prepared::Prepared;
use crate::miner::{CHUNK, portable};
#[cfg(target_arch = "x86_64")]
use crate::miner::{avx2, avx512, sha_ni};
use crate::pow::{CompactTarget, Target};

/// One way to search nonces on one core.
#[derive(Clone, Copy)]
pub struct Kernel {
    pub(super) name: &'static str,
    pub(super) is_available: fn() -> bool,
    pub(super) search: Search,
}

/// Finds the lowest nonce in a range, within `0..NONCES`, with which the header meets its target.
pub(super) type Search = fn(&Prepared, Range<u64>) -> Option<u32>;

/// How often each kernel runs in a race. The best time counts: others only ever make a run slower.
const HEATS: u32 = 5;

impl Kernel {
    /// The kernel that runs everywhere.
    pub const PORTABLE: Kernel = portable::KERNEL;

    /// Every kernel of this architecture, whether or not this processor has what it needs.
    pub const ALL: &[Kernel] = &[
        portable::KERNEL,
        #[cfg(target_arch = "x86_64")]
        avx2::KERNEL,
        #[cfg(target_arch = "x86_64")]
        sha_ni::KERNEL,
        #[cfg(target_arch = "x86_64")]
        avx512::KERNEL,
    ];

    /// The kernels that this processor can run; at least the portable one.
    pub fn available() -> impl Iterator<Item = Kernel> {
        Kernel::ALL.iter().copied().filter(|kernel| kernel.is_available())
    }

    /// What a flag calls it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether this processor can run it.
    pub fn is_available(&self) -> bool {
        (self.is_available)()
    }

    /// Finds the lowest nonce in a range, within `0..NONCES`, with which the header meets its target.
    ///
    /// # Panics
    /// If the kernel is not available.
    pub fn search(&self, prepared: &Prepared, nonces: Range<u64>) -> Option<u32> {
        (self.search)(prepared, nonces)
    }

    /// The kernel that a flag calls so, whether or not this processor has what it needs.
    pub fn named(name: &str) -> Option<Kernel> {
        Kernel::ALL.iter().copied().find(|kernel| kernel.name == name)
    }

    /// Lets kernels race on the caller's core for some 20 ms and returns the fastest with its rate in hashes a second.
    /// `clock` is the time since any moment.
    ///
    /// # Panics
    /// If there is none, or one that is not available.
    pub fn race(kernels: impl IntoIterator<Item = Kernel>, clock: impl Fn() -> Duration) -> (Kernel, u64) {
        let header = Header {
            version: 1,
            prev_hash: BlockHash::ZERO,
            state_root: StateRoot([0; 32]),
            tx_root: TxRoot([0; 32]),
            time: 0,
            bits: CompactTarget(0),
            nonce: 0,
        };
        let prepared = Prepared::new(&header, Target::MIN);
        let run = |kernel: Kernel| {
            let start = clock();
            kernel.search(&prepared, 0..CHUNK);
            clock().saturating_sub(start)
        };
        let mut best: Vec<(Duration, Kernel)> = kernels.into_iter().map(|kernel| (Duration::MAX, kernel)).collect();
        for _ in 0..HEATS {
            best.iter_mut().for_each(|(time, kernel)| *time = run(*kernel).min(*time));
        }
        let (time, fastest) = best.into_iter().min_by_key(|(time, _)| *time).expect("the caller names one");
        (fastest, (CHUNK as f64 / time.as_secs_f64()) as u64)
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Kernel) -> bool {
        self.name == other.name
    }
}

impl Eq for Kernel {}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::HEADER_BYTES;
    use crate::encode::decode;
    use crate::miner::NONCES;
    use proptest::prelude::*;
    use ruint::aliases::U256;
    use std::cell::Cell;

    fn headers() -> impl Strategy<Value = Header> {
        proptest::collection::vec(any::<u8>(), HEADER_BYTES).prop_map(|bytes| decode(&bytes).expect("any 116 bytes"))
    }

    /// Ranges of up to 100 nonces, many of them at either end of all nonces.
    fn ranges() -> impl Strategy<Value = Range<u64>> {
        let starts = prop_oneof![0..NONCES, 0..100u64, NONCES - 100..NONCES];
        (starts, 0..100u64).prop_map(|(start, length)| start..NONCES.min(start + length))
    }

    fn with(header: Header, nonce: u64) -> Header {
        Header { nonce: nonce.try_into().expect("a nonce"), ..header }
    }

    fn number(header: Header) -> U256 {
        U256::from_le_bytes(header.hash().0)
    }

    /// Every nonce of the range that a kernel finds, each by a search that starts after the one before.
    fn found(kernel: Kernel, prepared: &Prepared, nonces: Range<u64>) -> Vec<u64> {
        let next = |start| kernel.search(prepared, start..nonces.end).map(u64::from);
        std::iter::successors(next(nonces.start), |last| next(last + 1)).collect()
    }

    proptest! {
        #[test]
        fn every_kernel_finds_what_the_plain_digest_finds(header in headers(), nonces in ranges(), zeros in 0..9usize) {
            let target = Target::new(U256::MAX >> zeros);
            let brute: Vec<u64> =
                nonces.clone().filter(|nonce| target.is_met_by(&with(header, *nonce).hash())).collect();
            let prepared = Prepared::new(&header, target);
            for kernel in Kernel::available() {
                prop_assert_eq!(&found(kernel, &prepared, nonces.clone()), &brute, "{}", kernel);
            }
        }

        #[test]
        fn every_lane_of_every_kernel_compares_all_of_the_hash(header in headers(), group in 0..NONCES / 16) {
            for nonce in 16 * group..16 * (group + 1) {
                let own = number(with(header, nonce));
                // The hash itself and its neighbours; neighbours in the highest word; that word with the least and the
                // most below it.
                let top = U256::ONE << 224usize;
                let around = [own, own - U256::ONE, own + U256::ONE, own.saturating_sub(top), own.saturating_add(top),
                    own & !(top - U256::ONE), own | (top - U256::ONE)];
                for target in around.map(Target::new) {
                    let expected = (own <= target.value()).then_some(nonce as u32);
                    let prepared = Prepared::new(&header, target);
                    for kernel in Kernel::available() {
                        let found = kernel.search(&prepared, nonce..nonce + 1);
                        prop_assert_eq!(found, expected, "{} at {}", kernel, nonce);
                    }
                }
            }
        }

        #[test]
        fn every_nonce_meets_the_easiest_target_and_none_the_hardest(header in headers(), nonces in ranges()) {
            for kernel in Kernel::available() {
                let all: Vec<u64> = nonces.clone().collect();
                prop_assert_eq!(found(kernel, &Prepared::new(&header, Target::new(U256::MAX)), nonces.clone()), all);
                prop_assert_eq!(found(kernel, &Prepared::new(&header, Target::MIN), nonces.clone()), [0; 0]);
            }
        }
    }

    #[test]
    fn the_last_nonce_of_all_is_found() {
        let header: Header = decode(&[7; HEADER_BYTES]).expect("any 116 bytes");
        let last = with(header, NONCES - 1);
        let prepared = Prepared::new(&header, Target::new(number(last)));
        for kernel in Kernel::available() {
            assert_eq!(kernel.search(&prepared, NONCES - 1..NONCES), Some(u32::MAX), "{kernel}");
            assert_eq!(kernel.search(&prepared, NONCES..NONCES), None, "{kernel}");
        }
    }

    #[test]
    fn the_best_time_of_all_heats_wins_the_race() {
        let kernels: Vec<Kernel> = Kernel::available().collect();
        let runs = kernels.len() as u32 * HEATS;
        for winning in 0..runs {
            // Every run takes 3 seconds, but for one.
            let (calls, now) = (Cell::new(0), Cell::new(Duration::from_secs(1_000)));
            let clock = || {
                let (run, ends) = (calls.get() / 2, calls.get() % 2 == 1);
                calls.set(calls.get() + 1);
                let took = if run == winning { 2 } else { 3 };
                now.set(now.get() + Duration::from_secs(if ends { took } else { 0 }));
                now.get()
            };
            let fastest = (kernels[winning as usize % kernels.len()], CHUNK / 2);
            assert_eq!(Kernel::race(Kernel::available(), clock), fastest);
            assert_eq!(calls.get(), 2 * runs);
        }
        // A clock that stands still names some kernel all the same.
        assert!(Kernel::race(Kernel::available(), || Duration::ZERO).0.is_available());
    }

    #[test]
    fn kernels_go_by_their_names() {
        assert!(Kernel::PORTABLE.is_available());
        for kernel in Kernel::ALL {
            assert_eq!(Kernel::named(kernel.name()), Some(*kernel));
        }
        let mut names: Vec<_> = Kernel::ALL.iter().map(Kernel::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kernel::ALL.len());
        assert_eq!(Kernel::named("cuda"), None);
    }
}
