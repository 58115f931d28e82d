//! From 32 random bytes to 24 words, and from them to the key of each account.
//!
//! The words are [BIP-39] English without a passphrase; keys come from its seed by [SLIP-0010] for ed25519
//! along `m/44'/1146247507'/account'`, every step hardened, as that curve requires.
//!
//! [BIP-39]: https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki
//! [SLIP-0010]: https://github.com/satoshilabs/slips/blob/master/slip-0010.md

use bip39::{Language, Mnemonic};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use thiserror::Error;
use zeroize::Zeroizing;

/// The secret behind all accounts of a wallet: 256 bits, so 24 words.
pub(crate) type Entropy = Zeroizing<[u8; 32]>;

/// The BIP-44 coin type: "DRYS" in ASCII, a number that SLIP-0044 does not list.
const COIN_TYPE: u32 = 0x4452_5953;
const PURPOSE: u32 = 44;

/// The last account number: hardened indices have 31 bits.
pub(crate) const MAX_ACCOUNT: u32 = HARDENED - 1;
const HARDENED: u32 = 1 << 31;

/// New entropy from the operating system.
pub(crate) fn generate() -> Result<Entropy, getrandom::Error> {
    let mut entropy = Entropy::default();
    getrandom::fill(entropy.as_mut())?;
    Ok(entropy)
}

/// The 24 words that stand for `entropy`, separated by spaces.
pub(crate) fn words(entropy: &Entropy) -> Zeroizing<String> {
    let mnemonic = mnemonic(entropy);
    // Reserved in full, so that growing leaves no unwiped copy: no English word is longer than 8 letters.
    let mut phrase = Zeroizing::new(String::with_capacity(24 * 9));
    for word in mnemonic.words() {
        if !phrase.is_empty() {
            phrase.push(' ');
        }
        phrase.push_str(word);
    }
    phrase
}

/// The words of a text, without the numbers before them.
pub(crate) fn words_in(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().filter(|word| !word.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Why words are not those of a wallet. It repeats none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum WordsError {
    /// Other than 24.
    #[error("they are {0} words")]
    Count(usize),
    /// Not in the list of BIP-39; counted from 1.
    #[error("word {0} is not in the list of such words")]
    Unknown(usize),
    /// All words are in the list, and together they are none that was given out.
    #[error("their checksum is wrong: a word or the order is another")]
    Checksum,
}

/// The entropy that 24 words stand for, in whatever case, with whatever space and numbers between them.
pub(crate) fn parse(text: &str) -> Result<Entropy, WordsError> {
    let mut phrase = Zeroizing::new(String::with_capacity(text.len()));
    let mut count = 0;
    for word in words_in(text) {
        if count > 0 {
            phrase.push(' ');
        }
        phrase.extend(word.chars().map(|letter| letter.to_ascii_lowercase()));
        count += 1;
    }
    if count != 24 {
        return Err(WordsError::Count(count));
    }
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, &phrase).map_err(|error| match error {
        bip39::Error::UnknownWord(index) => WordsError::Unknown(index + 1),
        _ => WordsError::Checksum,
    })?;
    let (bytes, length) = mnemonic.to_entropy_array();
    let mut entropy = Entropy::default();
    entropy.copy_from_slice(&Zeroizing::new(bytes)[..length]);
    Ok(entropy)
}

/// The ed25519 secret seed of an account. Accounts past [`MAX_ACCOUNT`] do not exist.
pub(crate) fn account_secret(entropy: &Entropy, account: u32) -> Zeroizing<[u8; 32]> {
    let seed = Zeroizing::new(mnemonic(entropy).to_seed_normalized(""));
    derive(seed.as_ref(), &[PURPOSE, COIN_TYPE, account])
}

fn mnemonic(entropy: &Entropy) -> Mnemonic {
    Mnemonic::from_entropy_in(Language::English, entropy.as_ref())
        .expect("32 bytes are one of the five lengths that BIP-39 allows")
}

/// The SLIP-0010 ed25519 secret at the end of `path`, whose indices are hardened here.
fn derive(seed: &[u8], path: &[u32]) -> Zeroizing<[u8; 32]> {
    let mut node = Node::from_hmac(b"ed25519 seed", &[seed]);
    for index in path {
        assert!(*index < HARDENED, "an index has 31 bits before hardening");
        let index = (index | HARDENED).to_be_bytes();
        node = Node::from_hmac(node.chain_code.as_ref(), &[&[0], node.secret.as_ref(), &index]);
    }
    node.secret
}

/// A point in the SLIP-0010 tree.
struct Node {
    secret: Zeroizing<[u8; 32]>,
    chain_code: Zeroizing<[u8; 32]>,
}

impl Node {
    /// HMAC-SHA512 under `key` of the parts in turn: left half the secret, right half the chain code.
    fn from_hmac(key: &[u8], parts: &[&[u8]]) -> Node {
        let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(part);
        }
        let digest = Zeroizing::new(<[u8; 64]>::from(mac.finalize().into_bytes()));
        let mut node = Node { secret: Zeroizing::default(), chain_code: Zeroizing::default() };
        node.secret.copy_from_slice(&digest[..32]);
        node.chain_code.copy_from_slice(&digest[32..]);
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two ed25519 test vectors published in SLIP-0010.
    #[test]
    fn slip10_published_vectors() {
        let one = "000102030405060708090a0b0c0d0e0f";
        let two = "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a2\
                   9f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542";
        let cases: [(&str, &[u32], &str); 11] = [
            (one, &[], "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7"),
            (one, &[0], "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3"),
            (one, &[0, 1], "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2"),
            (one, &[0, 1, 2], "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9"),
            (one, &[0, 1, 2, 2], "30d1dc7e5fc04c31219ab25a27ae00b50f6fd66622f6e9c913253d6511d1e662"),
            (one, &[0, 1, 2, 2, 1_000_000_000], "8f94d394a8e8fd6b1bc2f3f49f5c47e385281d5c17e65324b0f62483e37e8793"),
            (two, &[], "171cb88b1b3c1db25add599712e36245d75bc65a1a5c9e18d76f9f2b1eab4012"),
            (two, &[0], "1559eb2bbec5790b0c65d8693e4d0875b1747f4970ae8b650486ed7470845635"),
            (two, &[0, 2_147_483_647], "ea4f5bfe8694d8bb74b7b59404632fd5968b774ed545e810de9c32a4fb4192f4"),
            (two, &[0, 2_147_483_647, 1], "3757c7577170179c7868353ada796c839135b3d30554bbb74a4b1e4a5a58505c"),
            (
                two,
                &[0, 2_147_483_647, 1, 2_147_483_646],
                "5837736c89570de861ebc173b1086da4f505d4adb387c6a1b1342d5e4ac9ec72",
            ),
        ];
        for (seed, path, secret) in cases {
            let derived = derive(&hex::decode(seed).unwrap(), path);
            assert_eq!(hex::encode(*derived), secret, "{path:?}");
        }
    }

    /// The published BIP-39 case of 32 zero bytes; its seed is the one for the passphrase "TREZOR".
    #[test]
    fn bip39_published_vector() {
        let zero = Entropy::default();
        let phrase = words(&zero);
        assert_eq!(*phrase, format!("{}art", "abandon ".repeat(23)));
        assert_eq!(
            hex::encode(mnemonic(&zero).to_seed_normalized("TREZOR")),
            "bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd30971\
             70af7a4d73245cafa9c3cca8d561a7c3de6f5d4a10be8ed2a5e608d68f92fcc8"
        );
    }

    /// Words written down once must open the same accounts for ever.
    #[test]
    fn accounts_of_known_words() {
        let zero = Entropy::default();
        let first = account_secret(&zero, 0);
        assert_eq!(hex::encode(*first), "db3f2ffbcdc06be86855578ce0a4788df157d3129dc9cef95f93e494f989abd4");
        assert_ne!(first, account_secret(&zero, 1));
        assert_eq!(
            hex::encode(*account_secret(&zero, MAX_ACCOUNT)),
            "ee14bacadcc299303e4f4a463d32c1f432793ae922895e6af0f91e3f409977e9"
        );
    }

    #[test]
    fn fresh_entropy_differs() {
        assert_ne!(generate().unwrap(), generate().unwrap());
    }
}
