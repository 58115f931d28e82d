//! `account_proof`, `history_proof`: paths under real roots and under the roots that they lead to themselves.

use drystone_core::encode::{decode, encode};
use drystone_core::hash::{BlockHash, HistoryRoot};
use drystone_core::key::AccountId;
use drystone_core::light::{AncestorProof, HeaderChain, verify_account, verify_ancestor};
use drystone_core::merkle::HISTORY;
use drystone_core::pow::Work;
use drystone_core::state::{
    Account, HistoryProof, Leaf, ProofError, StateKey, StateProof, history_leaf, prove, prove_ancestor,
};

use super::bytes::{Bytes, bend};
use super::chain::FIXTURE;

/// Under the root of a real state one proof verifies for an account, the honest one. Any other that is well formed leads to a
/// root of its own, and under that root it shows one value, and with anything in it changed nothing.
pub(super) fn account_proof(input: &[u8]) -> bool {
    let mut script = Bytes::new(input);
    let id = match script.below(3) {
        0 => AccountId(script.array()),
        _ => {
            let number = script.byte();
            match FIXTURE.keys.get(usize::from(number)) {
                Some((_, account)) => *account,
                None => AccountId([number; 32]),
            }
        }
    };
    let honest = script.below(2) == 1;
    let stage = &FIXTURE.stages[script.below(FIXTURE.stages.len())];
    let root = stage.block.header.state_root;
    let Ok(truth) = prove(&stage.state, &StateKey::account(&id));
    let bytes = if honest {
        let mut bytes = encode(&truth);
        bend(&mut bytes, &mut script);
        bytes
    } else {
        script.rest().to_vec()
    };
    let Ok(proof) = decode::<StateProof>(&bytes) else { return false };
    assert_eq!(encode(&proof), bytes);
    let key = StateKey::account(&id);
    let leaf = stage.state.leaves.get(&key).copied();
    match proof.verify(&root, &key) {
        Ok(shown) => {
            assert_eq!((shown, &proof), (leaf, &truth));
            let account = match leaf {
                Some(Leaf::Account(account)) => account,
                _ => Account::default(),
            };
            assert_eq!(verify_account(&root, &id, &proof), Ok(account));
        }
        Err(error) => {
            assert_ne!(proof, truth, "{error}");
            assert!(verify_account(&root, &id, &proof).is_err());
            if let ProofError::WrongRoot(own) = error {
                let shown = proof.verify(&own, &key).expect("it leads there");
                assert_eq!(shown, proof.terminal.filter(|(terminal, _)| *terminal == key).map(|(_, leaf)| leaf));
                for other in others(&proof) {
                    assert!(other.verify(&own, &key).is_err(), "{other:?} shows what {proof:?} does not");
                }
            }
        }
    }
    true
}

/// Proofs that are this one but for one thing.
fn others(proof: &StateProof) -> Vec<StateProof> {
    let mut others = Vec::new();
    let mut other = |change: &dyn Fn(&mut StateProof)| {
        let mut changed = proof.clone();
        change(&mut changed);
        if changed != *proof {
            others.push(changed);
        }
    };
    other(&|proof| proof.terminal = None);
    other(&|proof| proof.siblings.push(None));
    other(&|proof| proof.siblings.push(Some([1; 32])));
    other(&|proof| proof.siblings.truncate(proof.siblings.len().saturating_sub(1)));
    if !proof.siblings.is_empty() {
        other(&|proof| proof.siblings.rotate_left(1));
        other(&|proof| proof.siblings.reverse());
    }
    for place in 0..proof.siblings.len().min(8) {
        other(&|proof| proof.siblings[place] = proof.siblings[place].map_or(Some([1; 32]), |_| None));
        other(&|proof| {
            if let Some(sibling) = &mut proof.siblings[place] {
                sibling[place] ^= 0x10;
            }
        });
    }
    other(&|proof| match &mut proof.terminal {
        Some((_, Leaf::Account(account))) => account.balance.0 ^= 1,
        Some((_, Leaf::Reward(reward))) => reward.amount.0 ^= 1,
        Some((_, Leaf::History(root))) => root.0[31] ^= 1,
        None => {}
    });
    other(&|proof| match &mut proof.terminal {
        Some((_, Leaf::Account(account))) => account.nonce ^= 1 << 63,
        Some((_, Leaf::Reward(reward))) => reward.to.0[0] ^= 1,
        _ => {}
    });
    other(&|proof| {
        if let Some((key, _)) = &mut proof.terminal {
            key.0[31] ^= 1;
        }
    });
    others
}

/// Under a verified tip one proof verifies for each ancestor, the honest one, and for that ancestor alone. A path that is well
/// formed leads to a root of its own, and shows nothing else under it.
pub(super) fn history_proof(input: &[u8]) -> bool {
    let mut script = Bytes::new(input);
    any_path(&mut Bytes::new(input));
    let chain = header_chain();
    let (tip, height) = (script.below(FIXTURE.stages.len()) as u64, script.below(FIXTURE.stages.len()));
    let honest = script.below(2) == 1;
    let (stage, below) = (&FIXTURE.stages[tip as usize], &FIXTURE.stages[height]);
    let Ok(history) = prove(&stage.state, &StateKey::history());
    let Ok(path) = prove_ancestor(&stage.state, tip, height as u64);
    let truth = AncestorProof { history, path };
    let mut bytes = if honest { encode(&truth) } else { script.rest().to_vec() };
    if honest {
        bend(&mut bytes, &mut script);
    }
    let Ok(proof) = decode::<AncestorProof>(&bytes) else { return false };
    assert_eq!(encode(&proof), bytes);
    let tip = chain.header_at(tip).expect("all are kept");
    let verify = |height, hash: &BlockHash, work: &Work| verify_ancestor(tip, height, hash, work, &proof);
    let shown = verify(height as u64, &below.hash, &below.work);
    let is_below = (height as u64) < tip.height();
    assert_eq!(shown.is_ok(), is_below && proof == truth, "{shown:?}");
    let mut other = below.hash;
    other.0[script.below(32)] ^= 1 << script.below(8);
    assert!(verify(height as u64, &other, &below.work).is_err());
    assert!(verify(height as u64, &below.hash, &(below.work + Work::from_hashes(1))).is_err());
    for (height, stage) in FIXTURE.stages.iter().enumerate().filter(|(at, _)| *at != height) {
        // It may be the proof of another height; then of that height's block.
        let Ok(path) = prove_ancestor(&FIXTURE.stages[tip.height() as usize].state, tip.height(), height as u64);
        let honest = proof.history == truth.history && proof.path == path && (height as u64) < tip.height();
        assert_eq!(verify(height as u64, &stage.hash, &stage.work).is_ok(), honest);
        assert!(verify(height as u64, &below.hash, &below.work).is_err());
    }
    true
}

fn header_chain() -> HeaderChain<'static> {
    let mut chain = HeaderChain::new(&FIXTURE.params);
    chain.extend(&FIXTURE.headers()[1..], u64::MAX).expect("made to be valid");
    chain
}

/// A path of any form, for any place among any number.
fn any_path(script: &mut Bytes<'_>) {
    let (index, count) = match script.below(2) {
        0 => (script.u64(), script.u64()),
        _ => (u64::from(script.byte()), u64::from(script.byte())),
    };
    let leaf = history_leaf(&BlockHash(script.array()), &Work::from_hashes(u64::from(script.byte())));
    let length = script.below(66);
    let path: Vec<[u8; 32]> = (0..length).map(|_| script.array()).collect();
    let found = HISTORY.root_from_path(leaf, index, count, &path);
    let mut proof = HistoryProof { path };
    let Some(root) = found.map(HistoryRoot) else {
        assert!(!proof.verify(&HistoryRoot(leaf), count, index, &leaf));
        return;
    };
    assert!(index < count);
    assert!(proof.verify(&root, count, index, &leaf));
    let mut other = leaf;
    other[0] ^= 1;
    assert!(!proof.verify(&root, count, index, &other));
    for place in 0..proof.path.len().min(8) {
        proof.path[place][31] ^= 1;
        assert!(!proof.verify(&root, count, index, &leaf));
        proof.path[place][31] ^= 1;
    }
    proof.path.push([0; 32]);
    assert!(!proof.verify(&root, count, index, &leaf), "a longer path");
    proof.path.truncate(proof.path.len().saturating_sub(2));
    if count > 1 {
        assert!(!proof.verify(&root, count, index, &leaf), "a shorter path");
    }
}
