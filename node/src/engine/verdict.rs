//! Why a submission is refused, and the one function that says what a refusal means for who sent it.

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
    /// The mempool does not take the transaction now.
    #[error("{0}")]
    Admission(#[from] AdmissionError),
    /// The block was found invalid before.
    #[error("the block was found invalid before")]
    KnownInvalid,
    /// The block is known already.
    #[error("the block is known already")]
    KnownBlock,

    /// Too much is waiting.
    #[error("the node is busy with a long chain update; try again")]
    Busy,
    /// The node's own state or disk failed; nothing is said about the submission.
    #[error("the node failed: {0}")]
    Ours(String),
}

/// What a refusal means for gossip, in gossipsub's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
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
        | Refusal::Admission(_)
        | Refusal::KnownBlock
        | Refusal::KnownInvalid
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
