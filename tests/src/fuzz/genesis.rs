//! `genesis`: the text of a genesis file.

use drystone_core::amount::MAX_SUPPLY;
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::encode::{decode, encode};
use drystone_core::params::ChainParams;
use drystone_core::subsidy::{subsidies_through, subsidy_at};

/// A file that is taken is printed and read back as the same chain; whatever chain it is, money stays within its bound and
/// difficulty within its limit.
pub(super) fn genesis(input: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(input) else { return false };
    let Ok(params) = ChainParams::from_json(text) else { return false };
    assert_eq!(params.check(), Ok(()));
    let printed = params.to_json();
    let again = ChainParams::from_json(&printed).expect("what is printed is read back");
    assert_eq!(again, params);
    assert_eq!(again.to_json(), printed);
    assert_eq!(decode(&encode(&params)).as_ref(), Ok(&params));
    let block = params.genesis_block();
    assert_eq!(again.chain_id(), block.header.hash());
    assert_eq!(block.header.prev_hash, params.hash());

    let mut issued = params.allocated();
    for height in 1..=3 {
        issued = issued.checked_add(subsidy_at(&params, height)).expect("within the supply");
        let through = params.allocated().checked_add(subsidies_through(&params, height));
        assert_eq!(through, Some(issued), "height {height}");
    }
    for height in [params.halving_interval, params.halving_interval.saturating_add(1), u64::MAX] {
        assert!(params.allocated().checked_add(subsidies_through(&params, height)) <= Some(MAX_SUPPLY));
    }
    let limit = params.pow_limit.to_target().expect("checked");
    for (time, grandparent_time) in [(1, 0), (u64::MAX, 0), (params.time, params.time - params.time.min(1)), (0, 9)] {
        for height in [0, 1, 2, u64::MAX] {
            let bits = next_bits(&params, &ParentTimes { bits: params.bits, height, time, grandparent_time });
            let target = bits.to_target().expect("the rule gives targets");
            assert!(target <= limit && target.to_compact() == bits);
        }
    }
    true
}
