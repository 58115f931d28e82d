//! The rules of headers: first those that need nothing but the header, then those that need its ancestors.

use crate::block::Header;
use crate::difficulty::{ParentTimes, next_bits};
use crate::hash::BlockHash;
use crate::params::ChainParams;
use crate::pow::{BitsError, CompactTarget, Target, Work};

/// A header whose proof of work holds for the target that it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedHeader {
    header: Header,
    hash: BlockHash,
    work: Work,
}

impl CheckedHeader {
    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its hash.
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// The expected hashes that its own target stands for.
    pub fn work(&self) -> Work {
        self.work
    }
}

/// The rules that a header breaks by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The bits stand for no target.
    #[error("bits: {0}")]
    Bits(#[from] BitsError),
    /// The target is easier than the chain allows.
    #[error("the target is easier than the chain's limit")]
    OverLimit,
    /// The hash does not meet the target.
    #[error("not enough work: the hash is above the target")]
    Work,
}

/// Checks what a header alone can show: that somebody worked on it.
pub fn check_header(header: Header, params: &ChainParams) -> Result<CheckedHeader, HeaderError> {
    let target = allowed_target(header.bits, params)?;
    let hash = header.hash();
    if !target.is_met_by(&hash) {
        return Err(HeaderError::Work);
    }
    Ok(CheckedHeader { header, hash, work: target.work() })
}

fn allowed_target(bits: CompactTarget, params: &ChainParams) -> Result<Target, HeaderError> {
    let target = bits.to_target()?;
    let limit = params.pow_limit.to_target().expect("parameters were checked");
    if target > limit { Err(HeaderError::OverLimit) } else { Ok(target) }
}

/// What a header's ancestors say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderContext {
    /// The parent's hash.
    pub parent_hash: BlockHash,
    /// The parent's height, bits and time, and the grandparent's time.
    pub parent: ParentTimes,
}

/// The rules that a header breaks in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The header names another parent.
    #[error("the header does not name this parent")]
    Parent,
    /// The version is not the one of the rules at this height.
    #[error("version {found}, the rules at this height require {required}")]
    Version {
        /// What the rules require.
        required: u32,
        /// What the header carries.
        found: u32,
    },
    /// The bits are not what the difficulty rule gives.
    #[error("bits {found}, the difficulty rule requires {required}")]
    Difficulty {
        /// What the rule gives.
        required: CompactTarget,
        /// What the header carries.
        found: CompactTarget,
    },
    /// The time is not after the parent's.
    #[error("time {found} is not after the parent's {parent}")]
    Time {
        /// The parent's time in Unix milliseconds.
        parent: u64,
        /// The header's time in Unix milliseconds.
        found: u64,
    },
}

/// A header does not stand in its place: never, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextFailure {
    /// A rule is broken.
    #[error(transparent)]
    Invalid(#[from] ContextError),
    /// The header is too far ahead of the local clock. It may be right and the clock wrong.
    #[error("the block is from the future: acceptable from {acceptable_at} on")]
    NotYet {
        /// The Unix time in milliseconds at which the header becomes acceptable.
        acceptable_at: u64,
    },
}

/// Checks a header against its ancestors and the local clock (`now`, Unix milliseconds).
pub fn check_header_in_context(
    header: &CheckedHeader,
    context: &HeaderContext,
    params: &ChainParams,
    now: u64,
) -> Result<(), ContextFailure> {
    let header = header.header();
    check_parent(header, context)?;
    check_version(header, context, params)?;
    check_difficulty(header, context, params)?;
    check_time(header, context)?;
    check_future(header, params, now)
}

fn check_parent(header: &Header, context: &HeaderContext) -> Result<(), ContextError> {
    if header.prev_hash == context.parent_hash { Ok(()) } else { Err(ContextError::Parent) }
}

fn check_version(header: &Header, context: &HeaderContext, params: &ChainParams) -> Result<(), ContextError> {
    let required = params.rules_at(context.parent.height + 1).header_version;
    if header.version == required { Ok(()) } else { Err(ContextError::Version { required, found: header.version }) }
}

fn check_difficulty(header: &Header, context: &HeaderContext, params: &ChainParams) -> Result<(), ContextError> {
    let required = next_bits(params, &context.parent);
    if header.bits == required { Ok(()) } else { Err(ContextError::Difficulty { required, found: header.bits }) }
}

/// Strictly increasing times keep the difficulty rule's t at least 1.
fn check_time(header: &Header, context: &HeaderContext) -> Result<(), ContextError> {
    let parent = context.parent.time;
    if header.time > parent { Ok(()) } else { Err(ContextError::Time { parent, found: header.time }) }
}

fn check_future(header: &Header, params: &ChainParams, now: u64) -> Result<(), ContextFailure> {
    let acceptable_at = header.time.saturating_sub(params.max_future);
    if acceptable_at <= now { Ok(()) } else { Err(ContextFailure::NotYet { acceptable_at }) }
}
