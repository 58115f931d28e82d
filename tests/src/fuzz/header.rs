//! `header`: a header by itself, and a chain of headers whose times a script gives.

use drystone_core::block::{HEADER_BYTES, Header};
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::encode::{decode, encode};
use drystone_core::hash::sha256d;
use drystone_core::light::HeaderChain;
use drystone_core::pow::Work;
use drystone_core::validation::check_header;

use super::bytes::Bytes;
use super::chain::{FIXTURE, work_on};

/// Headers in one chain.
const LONGEST: usize = 64;

/// A header is its 116 bytes, its hash is theirs, and its work is what its bits say. A chain of headers that follows the rules
/// is taken, whole or one by one; it stops where one does not, and comes back from its cache as it was.
pub(super) fn header(input: &[u8]) -> bool {
    grow(&mut Bytes::new(input));
    let Ok(header) = decode::<Header>(input) else {
        assert_ne!(input.len(), HEADER_BYTES, "every field of a header is free");
        return false;
    };
    assert_eq!(header.to_bytes()[..], *input);
    assert_eq!(encode(&header), input);
    assert_eq!(header.hash().0, sha256d(input));
    let params = &FIXTURE.params;
    let limit = params.pow_limit.to_target().expect("checked");
    let target = header.bits.to_target();
    let enough = target.as_ref().is_ok_and(|target| *target <= limit && target.is_met_by(&header.hash()));
    let checked = check_header(header, params);
    assert_eq!(checked.is_ok(), enough);
    if let (Ok(checked), Ok(target)) = (checked, target) {
        assert_eq!((checked.hash(), checked.work()), (header.hash(), target.work()));
    }
    true
}

fn grow(script: &mut Bytes<'_>) {
    let params = &FIXTURE.params;
    let mut one_by_one = HeaderChain::new(params);
    let (mut headers, mut refused) = (Vec::new(), None);
    while !script.is_empty() && headers.len() < LONGEST {
        let tip = one_by_one.tip();
        let (parent, height) = (*tip.header(), tip.height());
        let grandparent = height.checked_sub(1).and_then(|height| one_by_one.header_at(height));
        let grandparent_time = grandparent.map_or(0, |header| header.header().time);
        let times = ParentTimes { bits: parent.bits, height, time: parent.time, grandparent_time };
        let delay = match script.below(8) {
            0 => script.u64(),
            1 => 0,
            2 => u64::from(script.u32()),
            shift => u64::from(script.u16()) << shift,
        };
        let mut header = Header {
            prev_hash: parent.hash(),
            time: parent.time.saturating_add(delay),
            bits: next_bits(params, &times),
            ..parent
        };
        // No more work than a fuzzer has time for.
        if header.bits.to_target().expect("the rule gives targets").work() > Work::from_hashes(64) {
            break;
        }
        let wrong = script.below(16);
        match wrong {
            1 => header.bits.0 ^= 1,
            2 => header.version ^= 1,
            3 => header.prev_hash.0[0] ^= 1,
            _ => {}
        }
        header = work_on(header, params);
        headers.push(header);
        let follows = header.time > parent.time && !(1..=3).contains(&wrong);
        let taken = one_by_one.extend(&[header], u64::MAX);
        assert_eq!(taken.is_ok(), follows, "{header:?} on {parent:?}: {taken:?}");
        if let Err(error) = taken {
            refused = Some(error);
            break;
        }
    }
    let mut at_once = HeaderChain::new(params);
    assert_eq!(at_once.extend(&headers, u64::MAX).err(), refused);
    assert_eq!(at_once.tip(), one_by_one.tip());
    let cache = at_once.to_cache();
    assert_eq!(decode(&encode(&cache)).as_ref(), Ok(&cache));
    let back = HeaderChain::from_cache(params, &cache).expect("it was stored by us");
    assert_eq!((back.tip(), back.to_cache()), (at_once.tip(), cache));
    let branch = at_once.branch_at(at_once.tip().height()).expect("the tip is kept");
    assert_eq!(branch.tip(), at_once.tip());
    let mut before = at_once.tip().height() + 1;
    for known in at_once.locator() {
        assert!(known.height() < before);
        before = known.height();
    }
    assert_eq!(before, 0, "a locator ends at genesis while that is kept");
}
