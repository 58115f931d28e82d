//! Why a submission is refused, and the one function that says what a refusal means for who sent it.

use drystone_core::encode::DecodeError;
use drystone_core::hash::BlockHash;
use drystone_core::validation::{BlockError, ConnectError, ContextError, HeaderError, TransactionError};

use super::mempool::AdmissionError;

/// A submission was not accepted. The three kinds never mix: invalid, not yet, ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The header breaks a rule by itself.
    #[error("invalid header: {0}")]
    Header(#[from] HeaderError),
    /// The header breaks a rule in its place.
    #[error("invalid header: {0}")]
    Context(#[from] ContextError),
    /// The body breaks a rule by itself.
    #[error("invalid block: {0}")]
    Block(#[from] BlockError),
    /// The block breaks a rule in the state it meets.
    #[error("invalid block: {0}")]
    Connect(#[from] ConnectError),
    /// The block stands on an invalid one.
    #[error("the block stands on the invalid block {0}")]
    InvalidAncestor(BlockHash),
    /// The transaction breaks a rule by itself.
    #[error("invalid transaction: {0}")]
    Transaction(#[from] TransactionError),

    /// The block's parent is not known.
    #[error("the parent {0} is not known")]
    MissingParent(BlockHash),
    /// The block is too far ahead of the local clock.
    #[error("the block is from the future: acceptable from Unix time {acceptable_at} ms on")]
    FromFuture {
        /// When it becomes acceptable, in Unix milliseconds.
        acceptable_at: u64,
    },
    /// The chain that the block ends has too little work to be kept.
    #[error("its chain has less work than the best one by more than {} blocks' worth", super::limits::KEPT_TIP_WORKS)]
    TooLittleWork,
    /// The mempool does not take the transaction now.
    #[error("{0}")]
    Admission(#[from] AdmissionError),
    /// The block was found invalid before.
    #[error("the block was found invalid before")]
    KnownInvalid,
    /// The block is known already.
    #[error("the block is known already")]
    KnownBlock,
    /// The block that is to be judged again is not known.
    #[error("block {0} is not known")]
    UnknownBlock(BlockHash),

    /// Too much is waiting.
    #[error("the node is busy with a long chain update; try again")]
    Busy,
    /// The node's own state or disk failed; nothing is said about the submission.
    #[error("the node failed: {0}")]
    Ours(String),
}

/// What a peer can do that is provably wrong, or that an honest one rarely does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Offence {
    /// Something that it handed in was refused.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Bytes over their cap, or that are no message.
    #[error("it sent bytes that are no message: {0}")]
    Undecodable(DecodeError),
    /// A response of another kind than the request.
    #[error("it sent a response that nobody asked for")]
    Unasked,
    /// A request with more in it than the protocol allows.
    #[error("it asked for more than the protocol allows")]
    Greedy,
    /// Headers that do not follow each other, or what was asked for.
    #[error("it sent headers that do not follow each other")]
    BrokenHeaders,
    /// A second pass of a long chain that is not the first.
    #[error("it sent other headers than before")]
    ChangedHeaders,
    /// Its headers end below the work that its status claims.
    #[error("it claims more work than its headers have")]
    FalseClaim,
    /// An announcement whose ids are not those of the block.
    #[error("it forged the announcement of a block")]
    ForgedAnnouncement,
    /// A body, or transactions of one, that are not the block's.
    #[error("it sent a body that is not the block's")]
    WrongBody,
    /// A peer that does not answer in time.
    #[error("it does not answer in time")]
    Slow,
    /// Its status names a state root that is not the block's.
    #[error("its state is not what the header of its tip says")]
    WrongState,
}

/// What a refusal means for gossip, in gossipsub's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Forward.
    Accept,
    /// Do not forward; nobody is to blame.
    Ignore,
    /// Do not forward; the sender should have known.
    Reject,
}

/// What a refusal means for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// For gossip.
    pub disposition: Disposition,
    /// Points against the sender; [`super::limits::BAN_SCORE`] of them end a connection.
    pub penalty: u32,
}

/// What an offence costs: provable lies end a connection at once, what an overloaded or restarting node does as well costs
/// a little or nothing.
pub fn judge_offence(offence: &Offence) -> u32 {
    use super::limits::BAN_SCORE;
    match offence {
        Offence::Refused(refusal) => judge(refusal).penalty,
        Offence::Undecodable(_)
        | Offence::Greedy
        | Offence::BrokenHeaders
        | Offence::ForgedAnnouncement
        | Offence::WrongBody => BAN_SCORE,
        Offence::Unasked => BAN_SCORE / 5,
        Offence::FalseClaim => BAN_SCORE / 4,
        // A reorganisation between two of its answers explains it; four almost at once it does not.
        Offence::ChangedHeaders => BAN_SCORE / 4,
        Offence::Slow | Offence::WrongState => 0,
    }
}

/// The one place where refusals become consequences. A failure that a forwarder need not have noticed (it costs a
/// signature batch or the parent's state to notice) blames nobody who forwards.
pub fn judge(refusal: &Refusal) -> Verdict {
    use super::limits::BAN_SCORE;
    let (disposition, penalty) = match refusal {
        Refusal::Header(_) | Refusal::Context(_) => (Disposition::Reject, BAN_SCORE),
        Refusal::Block(BlockError::TooLarge { .. } | BlockError::TxRoot { .. }) => (Disposition::Reject, BAN_SCORE),
        Refusal::Transaction(_) => (Disposition::Reject, BAN_SCORE / 10),
        Refusal::Block(BlockError::Transaction { .. }) | Refusal::Connect(_) | Refusal::InvalidAncestor(_) => {
            (Disposition::Ignore, 0)
        }
        Refusal::MissingParent(_)
        | Refusal::FromFuture { .. }
        | Refusal::TooLittleWork
        | Refusal::Admission(_)
        | Refusal::KnownBlock
        | Refusal::KnownInvalid
        | Refusal::UnknownBlock(_)
        | Refusal::Busy
        | Refusal::Ours(_) => (Disposition::Ignore, 0),
    };
    Verdict { disposition, penalty }
}

#[cfg(test)]
mod tests {
    use super::super::limits::BAN_SCORE;
    use super::*;
    use drystone_core::hash::{StateRoot, TxRoot};
    use drystone_core::key::SignatureError;

    #[test]
    fn proofs_end_a_connection_and_what_honest_nodes_do_never_does() {
        let proofs = [
            Offence::Undecodable(DecodeError::NotCanonical),
            Offence::Greedy,
            Offence::BrokenHeaders,
            Offence::ForgedAnnouncement,
            Offence::WrongBody,
        ];
        assert!(proofs.iter().all(|offence| judge_offence(offence) == BAN_SCORE));
        assert!([Offence::Slow, Offence::WrongState].iter().all(|offence| judge_offence(offence) == 0));
        let doubtful = [Offence::ChangedHeaders, Offence::FalseClaim, Offence::Unasked];
        assert!(doubtful.iter().all(|offence| (1..BAN_SCORE / 2).contains(&judge_offence(offence))));
        let refused = Offence::Refused(Refusal::Connect(ConnectError::StateRoot {
            required: StateRoot([1; 32]),
            found: StateRoot([2; 32]),
        }));
        assert_eq!(judge_offence(&refused), 0, "whoever forwards need not have noticed");
    }

    #[test]
    fn only_what_the_sender_could_have_seen_costs_the_sender() {
        let root = |n| (StateRoot([n; 32]), TxRoot([n; 32]));
        let signature = TransactionError::Signature(SignatureError::Mismatch);
        let seen = [
            Refusal::Header(HeaderError::Work),
            Refusal::Context(ContextError::Parent),
            Refusal::Block(BlockError::TooLarge { max: 1, found: 2 }),
            Refusal::Block(BlockError::TxRoot { required: root(1).1, found: root(2).1 }),
        ];
        for refusal in seen {
            assert_eq!(judge(&refusal), Verdict { disposition: Disposition::Reject, penalty: BAN_SCORE }, "{refusal}");
        }
        let transaction = judge(&Refusal::Transaction(signature));
        assert_eq!(transaction.disposition, Disposition::Reject);
        assert!((1..BAN_SCORE).contains(&transaction.penalty));
        let unseen = [
            Refusal::Block(BlockError::Transaction { index: 0, error: signature }),
            Refusal::Connect(ConnectError::StateRoot { required: root(1).0, found: root(2).0 }),
            Refusal::InvalidAncestor(BlockHash::ZERO),
            Refusal::MissingParent(BlockHash::ZERO),
            Refusal::FromFuture { acceptable_at: 1 },
            Refusal::KnownBlock,
            Refusal::KnownInvalid,
            Refusal::Busy,
            Refusal::Ours("disk".into()),
        ];
        for refusal in unseen {
            assert_eq!(judge(&refusal), Verdict { disposition: Disposition::Ignore, penalty: 0 }, "{refusal}");
        }
    }
}
