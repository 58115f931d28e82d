//! Which blocks are held to be invalid, and how whoever runs the node has one judged again.

use std::collections::{BTreeMap, BTreeSet};

use drystone_core::hash::BlockHash;

use super::chain::Submission;
use super::message::{Accepted, ChainEvent, Origin, Output};
use super::verdict::Refusal;
use super::{Engine, Fault};
use crate::store::{HeaderRecord, StoreError, Validity};

impl Engine {
    /// Marks a block and all that stands on it invalid, tells who handed one of them in, and looks for the best
    /// chain without them.
    pub(super) fn invalidate(&mut self, record: HeaderRecord, refusal: Refusal) -> Result<(), Fault> {
        let above = self.standing_on(&record, |_| true)?;
        let mut store = self.store.begin()?;
        let invalid = HeaderRecord { validity: Validity::Invalid, ..record };
        let new = store.insert_header(&invalid)?;
        let above = above.into_iter().map(|record| HeaderRecord { validity: Validity::InvalidAncestor, ..record });
        let marked: Vec<HeaderRecord> = above.chain([invalid]).collect();
        // Nothing good stands on its parent any more, unless another head does; as a head it is found again.
        let parent = self.record(&record.header.prev_hash)?;
        store.add_head(&parent)?;
        for record in &marked {
            store.set_validity(&record.hash, record.validity)?;
        }
        store.commit()?;
        self.refresh_snapshot()?;
        if new {
            self.index.grow(invalid, &parent);
        }
        self.index.add_head(&parent);
        marked.iter().for_each(|record| self.index.remember(*record));
        marked.iter().for_each(|record| self.branches.remove(&record.hash));
        self.net.window.forget_path();
        self.outputs.push(Output::Event(ChainEvent::Invalidated {
            height: record.height,
            hash: record.hash,
            reason: refusal.to_string(),
        }));
        let is_marked = |submission: &mut Submission| marked.iter().any(|record| record.hash == submission.hash);
        if let Some(Submission { origin, hash, .. }) = self.submission.take_if(is_marked) {
            let refusal = if hash == record.hash { refusal } else { Refusal::InvalidAncestor(record.hash) };
            self.refuse(origin, refusal);
        }
        self.choose_chain()
    }

    /// The known blocks that stand on `base`, as far as every block between is one of `these`. Each is looked at once; a branch
    /// whose header rotted stands on nothing.
    fn standing_on(
        &mut self,
        base: &HeaderRecord,
        these: impl Fn(&HeaderRecord) -> bool,
    ) -> Result<Vec<HeaderRecord>, Fault> {
        let mut known = BTreeMap::from([(base.hash, true)]);
        let mut found = Vec::new();
        for head in self.index.heads_above(base.work) {
            let mut branch = Vec::new();
            let mut next = head;
            let stands = loop {
                if let Some(stands) = known.get(&next) {
                    break *stands;
                }
                let record = match self.index.get(&self.snapshot, &next) {
                    Ok(record) => record.filter(|record| record.height > base.height && these(record)),
                    Err(StoreError::Rotten(_)) => None,
                    Err(error) => return Err(error.into()),
                };
                let Some(record) = record else { break false };
                branch.push(record);
                next = record.header.prev_hash;
            };
            known.extend(branch.iter().map(|record| (record.hash, stands)));
            if stands {
                found.append(&mut branch);
            }
        }
        Ok(found)
    }

    /// Takes back what [`Engine::invalidate`] noted of a block, of those that it stands on and of those that stand on it,
    /// and chooses the chain anew: for blocks that were judged by a version with a defect. A body that was not kept is asked
    /// of peers again. Of a block that is not held to be invalid nothing changes.
    pub(super) fn reconsider(&mut self, origin: Origin, hash: BlockHash) -> Result<(), Fault> {
        let Some(record) = self.index.get(&self.snapshot, &hash)? else {
            self.refuse(origin, Refusal::UnknownBlock(hash));
            return Ok(());
        };
        let (mut lowest, mut marked) = (record, Vec::new());
        let mut next = record;
        while is_marked(&next) {
            marked.push(next);
            lowest = next;
            next = self.record(&next.header.prev_hash)?;
        }
        if !marked.is_empty() {
            let known: BTreeSet<BlockHash> = marked.iter().map(|record| record.hash).collect();
            let above = self.standing_on(&lowest, is_marked)?;
            marked.extend(above.into_iter().filter(|record| !known.contains(&record.hash)));
        }
        let blocks = marked.len() as u64;
        if blocks > 0 {
            let mut store = self.store.begin()?;
            let mut parents = Vec::with_capacity(marked.len());
            for record in &mut marked {
                record.validity = Validity::Header;
                store.set_validity(&record.hash, record.validity)?;
                let parent = self.record(&record.header.prev_hash)?;
                store.remove_head(&parent)?;
                parents.push(parent);
            }
            store.commit()?;
            self.refresh_snapshot()?;
            parents.iter().for_each(|parent| self.index.remove_head(parent));
            marked.iter().for_each(|record| self.index.remember(*record));
            self.net.window.forget_path();
            self.forget_refutations();
            self.outputs.push(Output::Event(ChainEvent::Reconsidered {
                height: lowest.height,
                hash: lowest.hash,
                blocks,
            }));
            self.find_branches()?;
        }
        self.accept(origin, Accepted::Reconsidered { blocks });
        self.choose_chain()
    }
}

fn is_marked(record: &HeaderRecord) -> bool {
    matches!(record.validity, Validity::Invalid | Validity::InvalidAncestor)
}
