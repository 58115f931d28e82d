//! Gossip as it looks on a stream, made by hand: the protocol buffers of gossipsub 1.1 (libp2p specification, "RPC").

/// A number of a protocol buffer.
fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that holds bytes.
fn field(number: usize, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len()), bytes.to_vec()].concat()
}

/// One frame on the stream, of fields.
fn frame(fields: &[u8]) -> Vec<u8> {
    [varint(fields.len()), fields.to_vec()].concat()
}

/// A frame with one message on each topic given, not signed, of nobody.
pub fn publish<'a>(messages: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let message = |(topic, data): (&str, &[u8])| field(2, &[field(2, data), field(4, topic.as_bytes())].concat());
    frame(&messages.into_iter().flat_map(message).collect::<Vec<u8>>())
}

/// A frame that subscribes to topics.
pub fn subscribe<'a>(topics: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let subscription = |topic: &str| field(1, &[vec![1 << 3, 1], field(2, topic.as_bytes())].concat());
    frame(&topics.into_iter().flat_map(subscription).collect::<Vec<u8>>())
}

/// A frame that asks to be in the meshes of topics.
pub fn graft<'a>(topics: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let graft = |topic: &str| field(3, &field(1, topic.as_bytes()));
    frame(&field(3, &topics.into_iter().flat_map(graft).collect::<Vec<u8>>()))
}
