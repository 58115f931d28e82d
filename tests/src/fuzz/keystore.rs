//! `keystore`: the file that holds a wallet's secret, in any state.

use std::path::Path;

use drystone_wallet::error::Failure;
use drystone_wallet::keystore::{Cost, KeystoreError, Sealed};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::bytes::Bytes;

/// What a test may pay: the key of any dearer file is not derived here.
const AFFORDABLE: u32 = 64;

/// A damaged file is told from a wrong password and from other files, in one line. What is read is written as the same file.
/// Whatever a file asks for, more than the bound is refused before anything is paid. The script is the file, or the fields
/// of one with a right checksum, as an attacker would make it.
pub(super) fn keystore(input: &[u8]) -> bool {
    let mut script = Bytes::new(input);
    let file = match script.below(2) {
        0 => script.rest().to_vec(),
        _ => forged(&mut script),
    };
    let path = Path::new("wallet.json");
    let sealed = match Sealed::from_file(path, &file) {
        Ok(sealed) => sealed,
        Err(error) => {
            let expected = matches!(
                error,
                KeystoreError::NotAKeystore(_)
                    | KeystoreError::Truncated(_)
                    | KeystoreError::Newer { .. }
                    | KeystoreError::Damaged { .. }
            );
            assert!(expected, "{error}");
            check_words(error);
            return false;
        }
    };
    let again = Sealed::from_file(path, &sealed.to_file()).expect("what is written is read back");
    assert_eq!(again.to_file(), sealed.to_file());
    let Cost { memory_kib, passes, lanes } = sealed.cost();
    let absurd = memory_kib > Cost::MAX.memory_kib || passes > Cost::MAX.passes || lanes > Cost::MAX.lanes;
    if absurd || memory_kib <= AFFORDABLE {
        match sealed.open(&String::from("right").into()) {
            Ok(contents) => assert!(!absurd && contents.accounts > 0),
            Err(error) => {
                assert_eq!(matches!(error, KeystoreError::AbsurdCost { .. }), absurd || is_too_little(sealed.cost()));
                check_words(error);
            }
        }
    }
    true
}

/// Less than Argon2 can do (RFC 9106, 3.1).
fn is_too_little(cost: Cost) -> bool {
    cost.passes == 0 || cost.lanes == 0 || cost.memory_kib < 8 * cost.lanes
}

fn check_words(error: KeystoreError) {
    let failure = Failure::from(error);
    for words in [failure.message, failure.next] {
        assert!(!words.is_empty() && words.len() < 300 && !words.contains(char::is_control), "{words:?}");
    }
}

/// A file with these fields and their checksum, as `keystore.rs` of the wallet lays it out.
fn forged(script: &mut Bytes<'_>) -> Vec<u8> {
    let number = |script: &mut Bytes<'_>| match script.below(3) {
        0 => script.u32(),
        1 => 8 * u32::from(script.byte()),
        _ => u32::from(script.byte()),
    };
    let cost = [number(script), number(script), number(script)];
    let (salt, nonce, ciphertext) = (script.array::<16>(), script.array::<24>(), script.array::<52>());
    let mut sum = Sha256::new_with_prefix("drystone-keystore");
    sum.update(1u64.to_le_bytes());
    for name in ["argon2id", "xchacha20-poly1305"] {
        sum.update((name.len() as u64).to_le_bytes());
        sum.update(name);
    }
    cost.iter().for_each(|number| sum.update(number.to_le_bytes()));
    let checksum = sum.chain_update(salt).chain_update(nonce).chain_update(ciphertext).finalize();
    let [memory_kib, passes, lanes] = cost;
    let file = json!({
        "format": "drystone-keystore",
        "version": 1,
        "kdf": {
            "name": "argon2id", "memory_kib": memory_kib, "passes": passes, "lanes": lanes, "salt": hex::encode(salt)
        },
        "cipher": {
            "name": "xchacha20-poly1305", "nonce": hex::encode(nonce), "ciphertext": hex::encode(ciphertext)
        },
        "checksum": hex::encode(checksum),
    });
    file.to_string().into_bytes()
}
