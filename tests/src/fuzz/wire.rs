//! `gossip`, `request`, `response`: every message between nodes, and the frame around those on streams.

use std::sync::LazyLock;

use drystone_core::block::HEADER_BYTES;
use drystone_core::encode::DecodeError;
use drystone_core::genesis::dev_params;
use drystone_core::params::ChainParams;
use drystone_node::engine::wire::{Gossip, Request, Response, Topic};
use drystone_node::net::{frame, read_message};
use futures::executor::block_on;

use super::bytes::Bytes;

static PARAMS: LazyLock<ChainParams> = LazyLock::new(dev_params);

/// What decodes encodes to the very input, on its topic and under the topic's cap.
pub(super) fn gossip(input: &[u8]) -> bool {
    let mut bytes = Bytes::new(input);
    let topic = [Topic::Blocks, Topic::Transactions][bytes.below(2)];
    let message = bytes.rest();
    let Ok(gossip) = Gossip::from_bytes(topic, message, &PARAMS) else { return false };
    assert_eq!(gossip.to_bytes(), message);
    assert_eq!(gossip.topic(), topic);
    assert!(message.len() <= topic.max_bytes(&PARAMS));
    match gossip {
        Gossip::Block(announcement) => assert_eq!(announcement.header.to_bytes()[..], message[..HEADER_BYTES]),
        Gossip::Transactions(transactions) => assert!(!transactions.is_empty()),
    }
    true
}

/// What decodes encodes to the very input, within its kind's cap; a stream gives the same message and no longer one.
pub(super) fn request(input: &[u8]) -> bool {
    let caps = |kind| Request::max_bytes(kind, &PARAMS);
    let decoded = Request::from_bytes(input, &PARAMS);
    check_frames(input, caps, decoded.as_ref().map(drop));
    let Ok(request) = decoded else { return false };
    assert_eq!(request.to_bytes(), input);
    assert!(request.bytes() <= input.len(), "what a peer makes us hold is what it sent");
    assert!(!request.is_answered_by(&Response::Refused));
    true
}

/// What decodes encodes to the very input, within its kind's cap; a stream gives the same message and no longer one.
pub(super) fn response(input: &[u8]) -> bool {
    let caps = |kind| Response::max_bytes(kind, &PARAMS);
    let decoded = Response::from_bytes(input, &PARAMS);
    check_frames(input, caps, decoded.as_ref().map(drop));
    let Ok(response) = decoded else { return false };
    assert_eq!(response.to_bytes(), input);
    if let Response::Bodies(bodies) = &response {
        let bytes: usize = bodies.iter().flatten().map(|body| body.block_bytes() - HEADER_BYTES).sum();
        assert_eq!(input.len(), 4 + 8 + bodies.len() + bytes);
    }
    true
}

/// Reads the input as a stream, and as the message of a stream.
fn check_frames(input: &[u8], caps: impl Fn(u32) -> Option<usize>, decoded: Result<(), &DecodeError>) {
    if let Ok(Ok(message)) = block_on(read_message(&mut &*input, &caps)) {
        assert!(input.starts_with(&frame(&message)));
        let kind = message.first_chunk().expect("a message has a kind");
        assert!(caps(u32::from_le_bytes(*kind)).is_some_and(|cap| message.len() <= cap));
    }
    let framed = frame(input);
    let read = block_on(read_message(&mut &*framed, &caps)).expect("the stream is whole");
    match read {
        Ok(message) => assert_eq!(message, input),
        // Before it has decoded anything the reader knows what is too long, too short or of no kind.
        Err(error) => assert_eq!(decoded, Err(&error)),
    }
}
