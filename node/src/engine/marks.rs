//! Which blocks are held to be invalid, and how whoever runs the node has one judged again.

use drystone_core::hash::BlockHash;

use super::chain::Submission;
use super::message::{Accepted, ChainEvent, Origin, Output};
use super::verdict::Refusal;
use super::{Engine, Fault};
use crate::store::{HeaderRecord, Validity};

impl Engine {
    /// Marks a block and all that stands on it invalid, tells who handed one of them in, and looks for the best
    /// chain without them.
    pub(super) fn invalidate(&mut self, record: HeaderRecord, refusal: Refusal) -> Result<(), Fault> {
        let above = self.standing_on(&record)?;
        let mut store = self.store.begin()?;
        let invalid = HeaderRecord { validity: Validity::Invalid, ..record };
        if store.insert_header(&invalid)? {
            let parent = self.record(&record.header.prev_hash)?;
            self.index.grow(invalid, &parent);
        }
        let above = above.into_iter().map(|record| HeaderRecord { validity: Validity::InvalidAncestor, ..record });
        let marked: Vec<HeaderRecord> = above.chain([invalid]).collect();
        // Nothing good stands on its parent any more, unless another head does; as a head it is found again.
        let parent = self.record(&record.header.prev_hash)?;
        store.add_head(&parent)?;
        self.index.add_head(&parent);
        for record in &marked {
            store.set_validity(&record.hash, record.validity)?;
            self.index.remember(*record);
        }
        store.commit()?;
        self.refresh_snapshot()?;
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

    /// The known blocks that stand on `base`.
    fn standing_on(&mut self, base: &HeaderRecord) -> Result<Vec<HeaderRecord>, Fault> {
        let mut found = Vec::new();
        for head in self.index.heads_above(base.work) {
            let mut branch = Vec::new();
            let mut next = self.index.get(&self.snapshot, &head)?;
            while let Some(record) = next.filter(|record| record.height > base.height) {
                branch.push(record);
                next = self.index.get(&self.snapshot, &record.header.prev_hash)?;
            }
            if next.is_some_and(|record| record.hash == base.hash) {
                found.append(&mut branch);
            }
        }
        Ok(found)
    }

    /// Takes back what [`Engine::invalidate`] noted of a block, of those that it stands on and of those that stand on it,
    /// and chooses the chain anew: for blocks that were judged by a version with a defect. A body that was not kept is asked
    /// of peers again.
    pub(super) fn reconsider(&mut self, origin: Origin, hash: BlockHash) -> Result<(), Fault> {
        let Some(record) = self.index.get(&self.snapshot, &hash)? else {
            self.refuse(origin, Refusal::UnknownBlock(hash));
            return Ok(());
        };
        let mut lowest = record;
        let mut below = Vec::new();
        let mut next = record;
        while is_marked(&next) {
            below.push(next);
            lowest = next;
            next = self.record(&next.header.prev_hash)?;
        }
        let above = self.standing_on(&lowest)?;
        let mut marked: Vec<HeaderRecord> = above.into_iter().chain(below).filter(is_marked).collect();
        // Branches above the same block, and the block's own branch, were walked each by itself.
        marked.sort_unstable_by_key(|record| (record.height, record.hash));
        marked.dedup();
        let blocks = marked.len() as u64;
        if blocks > 0 {
            let mut store = self.store.begin()?;
            for record in &mut marked {
                record.validity = Validity::Header;
                store.set_validity(&record.hash, record.validity)?;
                self.index.remember(*record);
                let parent = self.record(&record.header.prev_hash)?;
                store.remove_head(&parent)?;
                self.index.remove_head(&parent);
            }
            store.commit()?;
            self.refresh_snapshot()?;
            self.net.window.forget_path();
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
