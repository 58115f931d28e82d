//! `mining_template`, `mining_set` and `mining_generate`.

use std::sync::atomic::{AtomicU64, Ordering};

use drystone_core::amount::Amount;
use drystone_core::api::{BlockStatus, ErrorCode, Hex, MiningStatus, MiningTemplate};
use drystone_core::block::{Block, Body};
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::miner::{Control, Job, Kernel, mine};
use drystone_core::params::ChainKind;
use drystone_core::subsidy::subsidy_at;
use drystone_core::validation::{BlockContext, CheckedBlock, check_header};

use super::submit;
use crate::engine::Engine;
use crate::engine::mining::MiningRefusal;
use crate::engine::template::Template;
use crate::rpc::Rpc;
use crate::rpc::call::Call;
use crate::rpc::error::RpcError;
use crate::rpc::limits::{MAX_GENERATE, MAX_MINING_THREADS};

/// What the engine knows of the node's own miner.
pub(super) struct Mining {
    threads: usize,
    reward_to: Option<AccountId>,
    refusal: Option<MiningRefusal>,
}

impl Mining {
    pub(super) fn of(engine: &Engine, now: u64) -> Mining {
        let (threads, reward_to) = engine.mining();
        let refusal = engine.mining_refusal(now).filter(|_| threads > 0);
        Mining { threads, reward_to, refusal }
    }

    pub(super) fn status(self, rpc: &Rpc) -> MiningStatus {
        MiningStatus {
            threads: self.threads as u64,
            hashes_per_second: rpc.hash_rate.load(Ordering::Relaxed),
            reward_to: self.reward_to.map(|account| rpc.address(&account)),
            refusal: self.refusal.map(|refusal| refusal.to_string()),
            until: self.refusal.and_then(MiningRefusal::until),
        }
    }
}

pub(super) fn set(call: &mut Call) -> Result<MiningStatus, RpcError> {
    let threads: u64 = call.next()?;
    if threads > MAX_MINING_THREADS.into() {
        return Err(call.refuse(format_args!("at most {MAX_MINING_THREADS} threads, {threads} were asked for")));
    }
    let mining = call.engine(move |engine, now| {
        engine.set_mining_threads(threads as usize);
        Mining::of(engine, now)
    })?;
    Ok(mining.status(&call.rpc))
}

pub(super) fn template(call: &mut Call) -> Result<MiningTemplate, RpcError> {
    let reward_to = call.next_address()?;
    // It has been waited for already; here it is only read.
    let _old_tip: Option<BlockHash> = call.optional()?;
    let (template, _) = build(call, reward_to)?;
    let target = template.header.bits.to_target().expect("the difficulty rule gives targets");
    let transactions = template.transactions.iter().map(|checked| checked.transaction().clone()).collect();
    let reward = subsidy_at(&call.rpc.params, template.height).checked_add(template.fees);
    Ok(MiningTemplate {
        height: template.height,
        prev_hash: template.header.prev_hash,
        bits: template.header.bits,
        target: BlockHash(target.value().to_le_bytes()),
        time: template.header.time,
        reward: reward.unwrap_or(Amount(u64::MAX)),
        block: Hex(Block { header: template.header, body: Body { reward_to, transactions } }),
    })
}

pub(super) fn generate(call: &mut Call) -> Result<Vec<BlockHash>, RpcError> {
    let count: u64 = call.next()?;
    if count > MAX_GENERATE {
        return Err(call.refuse(format_args!("at most {MAX_GENERATE} blocks at a time, {count} were asked for")));
    }
    let reward_to = call.next_address()?;
    if call.rpc.params.kind != ChainKind::Dev {
        let what = format!("blocks are generated only on development chains, {} is none", call.rpc.params.name);
        return Err(RpcError::new(ErrorCode::WrongKind, what, "mine instead, or start a node with: drystone-node dev"));
    }
    let mut hashes = Vec::new();
    while hashes.len() < count as usize {
        call.check_cancelled()?;
        // A block that loses against one of the node's own miner does not count.
        hashes.extend(generate_one(call, reward_to)?);
    }
    Ok(hashes)
}

/// Mines a block on the tip and hands it in; its hash if it joined the main chain.
fn generate_one(call: &Call, reward_to: AccountId) -> Result<Option<BlockHash>, RpcError> {
    let (template, now) = build(call, reward_to)?;
    let job = Job::new(template.header).expect("the difficulty rule gives targets");
    let control = Control { cancelled: &|| call.is_cancelled(), clock: &|| now, hashes: &AtomicU64::new(0) };
    let Some(header) = mine(&job, Kernel::PORTABLE, 1, &control) else { return Ok(None) };
    let context = BlockContext {
        params: &call.rpc.params,
        chain_id: &call.rpc.chain_id,
        height: template.height,
        batch_secret: &call.rpc.batch_secret,
    };
    let header = check_header(header, &call.rpc.params).map_err(submit::refuse)?;
    let block = CheckedBlock::assemble(header, reward_to, &template.transactions, &context).map_err(submit::refuse)?;
    let hash = block.hash();
    match submit::hand_in_block(call, block) {
        Ok(status) => Ok((status == BlockStatus::Connected).then_some(hash)),
        // Another call made the very same block.
        Err(error) if error.code == ErrorCode::DuplicateBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// The best block that the mempool allows on the tip, and the Unix time in milliseconds for which it was made.
fn build(call: &Call, reward_to: AccountId) -> Result<(Template, u64), RpcError> {
    let parts = call.engine(|engine, now| match engine.is_updating() {
        true => Ok(None),
        false => engine.template_parts().map(|parts| Some((parts, now))),
    })??;
    let Some((parts, now)) = parts else {
        let next = "ask again when node_info says that the node is ready";
        return Err(RpcError::new(ErrorCode::MiningRefused, "the chain is being updated", next));
    };
    Ok((parts.build(&call.rpc.params, reward_to, now)?, now))
}
