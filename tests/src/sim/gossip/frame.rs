//! What routers send each other, and how long it is on the wire.

use std::sync::Arc;

use drystone_node::engine::wire::Topic;
use sha2::{Digest, Sha256};

#[cfg(doc)]
use super::{BACKOFF_MS, IDS};

/// Names a message: SHA-256 of its topic and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GossipId(pub [u8; 32]);

impl GossipId {
    /// The id of a message.
    pub fn of(topic: Topic, bytes: &[u8]) -> GossipId {
        GossipId(Sha256::new().chain_update([topic as u8]).chain_update(bytes).finalize().into())
    }
}

/// What hosts send each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Publish {
        /// Its topic.
        topic: Topic,
        /// Its id. It is not on the wire, where each host hashes for itself: here it is hashed once, where it is published.
        id: GossipId,
        /// What the application said.
        bytes: Arc<[u8]>,
    },
    /// Messages that the sender can hand out.
    IHave {
        /// The topic of all of them.
        topic: Topic,
        /// At most [`IDS`]; what is over is not read.
        ids: Vec<GossipId>,
    },
    /// Messages that the sender asks for.
    IWant {
        /// At most [`IDS`]; what is over is not read.
        ids: Vec<GossipId>,
    },
    /// The sender has us in its mesh.
    Graft {
        /// Of this topic.
        topic: Topic,
    },
    /// The sender does not have us in its mesh, and will not for [`BACKOFF_MS`].
    Prune {
        /// Of this topic.
        topic: Topic,
    },
}

impl Frame {
    /// A message with its id.
    pub fn publish(topic: Topic, bytes: Arc<[u8]>) -> Frame {
        Frame::Publish { topic, id: GossipId::of(topic, &bytes), bytes }
    }

    /// Its length on the wire in bytes: libp2p's protobuf with its length in front, unsigned, in one yamux frame (a header of
    /// 12 bytes) and in Noise messages (18 bytes for each 65519). What TCP and IP add is not in it.
    pub fn wire_bytes(&self) -> usize {
        // One repeated field of the RPC; all of control is one.
        let rpc = match self {
            Frame::Publish { topic, bytes, .. } => field(field(bytes.len()) + field(topic_bytes(*topic))),
            Frame::IHave { topic, ids } => field(field(field(topic_bytes(*topic)) + ids.len() * field(32))),
            Frame::IWant { ids } => field(field(ids.len() * field(32))),
            Frame::Graft { topic } => field(field(field(topic_bytes(*topic)))),
            // The backoff in seconds: a tag and one byte.
            Frame::Prune { topic } => field(field(field(topic_bytes(*topic)) + 2)),
        };
        let yamux = 12 + varint(rpc) + rpc;
        yamux + 18 * yamux.div_ceil(65_519)
    }
}

/// The length of [`Topic::name`].
const fn topic_bytes(topic: Topic) -> usize {
    let kind = match topic {
        Topic::Blocks => "blocks",
        Topic::Transactions => "transactions",
    };
    "/drystone/".len() + 64 + "/".len() + kind.len() + "/1".len()
}

/// The length of a protobuf field with `content` bytes: a tag, the length, the content.
fn field(content: usize) -> usize {
    1 + varint(content) + content
}

/// The length of a number as a protobuf varint: seven bits a byte.
fn varint(number: usize) -> usize {
    (number.max(1).ilog2() / 7 + 1) as usize
}

#[cfg(test)]
mod tests {
    use drystone_core::hash::BlockHash;

    use super::super::TOPICS;
    use super::*;

    #[test]
    fn lengths_are_those_of_the_protobuf() {
        for topic in TOPICS {
            assert_eq!(topic_bytes(topic), topic.name(&BlockHash::ZERO).len());
        }
        assert_eq!((varint(0), varint(127), varint(128), varint(16_384)), (1, 1, 2, 3));
        // Yamux and Noise 30, the RPC's length 1, then tag and length around: control, graft, the topic's 83 bytes.
        let (topic, graft, prune) =
            (Topic::Blocks, Frame::Graft { topic: Topic::Blocks }, Frame::Prune { topic: Topic::Blocks });
        assert_eq!(graft.wire_bytes(), 30 + 1 + 2 + 2 + 2 + 83);
        assert_eq!(prune.wire_bytes(), graft.wire_bytes() + 2);
        assert_eq!(Frame::IWant { ids: vec![GossipId([0; 32])] }.wire_bytes(), 30 + 1 + 2 + 2 + 34);
        // Data with a three-byte length, topic, message with a three-byte length; two Noise messages.
        assert_eq!(Frame::publish(topic, vec![0; 65_536].into()).wire_bytes(), 12 + 36 + 3 + 4 + 4 + 65_536 + 2 + 83);
    }
}
