//! `receipt`: the file of a proof of payment, as the wallet reads it.

use std::path::Path;

use drystone_core::encode::decode;
use drystone_core::hash::BlockHash;
use drystone_core::light::TransactionProof;
use drystone_wallet::chain::Chain;
use drystone_wallet::document::{Receipt, parse, text};
use drystone_wallet::error::{ExitCode, Failure};

use super::bytes::Bytes;
use super::chain::FIXTURE;

/// A receipt that is believed is of a payment that is in the block that it names, on the chain that was checked; it prints as
/// it was read. The script is the file, or the bytes of the proof in it.
pub(super) fn receipt(input: &[u8]) -> bool {
    let mut script = Bytes::new(input);
    let ours = Chain::from(FIXTURE.params.clone());
    let file = match script.below(2) {
        0 => script.rest().to_vec(),
        _ => {
            let Ok(proof) = decode::<TransactionProof>(script.rest()) else { return false };
            text(&Receipt::of(proof, &ours)).into_bytes()
        }
    };
    let known = |id: BlockHash| {
        if id == ours.id { Ok(ours.clone()) } else { Err(Failure::new(ExitCode::BadInput, "another chain", "name it")) }
    };
    let read = match parse::<Receipt>(Path::new("receipt"), &file, known) {
        Ok((receipt, chain)) => {
            let printed = text(&receipt);
            let (again, _) = parse::<Receipt>(Path::new("receipt"), printed.as_bytes(), known).expect("was printed");
            assert_eq!(text(&again), printed);
            receipt.proof(&chain)
        }
        Err(failure) => Err(failure),
    };
    match read {
        Ok(proof) => check(&proof),
        Err(failure) => {
            assert!(!failure.message.is_empty() && !failure.next.is_empty());
            assert!(!failure.to_string().trim_end().contains(|c: char| c.is_control() && c != '\n'));
            return failure.code == ExitCode::BadAnswer;
        }
    }
    true
}

/// What `verify-receipt` says is proved is so, if the tip is one that was checked.
fn check(proof: &TransactionProof) {
    let at = |height: u64| usize::try_from(height).ok().and_then(|height| FIXTURE.stages.get(height));
    let Some(tip) = at(proof.tip_height).filter(|tip| tip.hash == proof.tip.hash()) else { return };
    assert_eq!(tip.block.header, proof.tip);
    assert!(proof.height <= proof.tip_height);
    let stage = at(proof.height).expect("below the tip");
    assert_eq!(proof.block_hash(), stage.hash);
    assert!(stage.block.body.transactions.contains(&proof.transaction));
    if proof.ancestor.is_some() {
        assert_eq!(proof.work, stage.work);
    }
}
