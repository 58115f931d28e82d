//! Who a node is among peers: its key pair, and the two forms of a peer's name.

use libp2p::identity::{Keypair, PublicKey, ed25519};

use crate::engine::message::PeerId;

/// The key pair of a 32-byte ed25519 secret.
pub fn key_pair(mut secret: [u8; 32]) -> Keypair {
    // Wipes the bytes that it is given.
    let secret = ed25519::SecretKey::try_from_bytes(&mut secret).expect("32 bytes are a secret key");
    ed25519::Keypair::from(secret).into()
}

/// The engine's name of the holder of a key pair; nothing for other keys than ed25519.
pub fn name_of(keys: &Keypair) -> Option<PeerId> {
    Some(PeerId(keys.public().try_into_ed25519().ok()?.to_bytes()))
}

/// The engine's name of a peer; nothing for those with other keys than ed25519, who are not talked to.
pub(super) fn to_engine(peer: &libp2p::PeerId) -> Option<PeerId> {
    // The identity multihash of an ed25519 key holds the encoded key itself.
    let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(PeerId(key.try_into_ed25519().ok()?.to_bytes()))
}

/// libp2p's name of a peer; nothing where its bytes are no point of the curve, which no connection has proved.
pub(super) fn from_engine(peer: &PeerId) -> Option<libp2p::PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&peer.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_each_other_and_print_alike() {
        let keys = key_pair([7; 32]);
        let name = name_of(&keys).unwrap();
        let peer = keys.public().to_peer_id();
        assert_eq!(to_engine(&peer), Some(name));
        assert_eq!(from_engine(&name), Some(peer));
        assert_eq!(name.to_string(), peer.to_string());
    }

    #[test]
    fn a_peer_whose_key_is_only_hashed_has_no_name() {
        // What an RSA key's name looks like.
        let peer = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse().unwrap();
        assert_eq!(to_engine(&peer), None);
    }
}
