//! The account that a command acts for: one of the keystore's, or a development account.

use drystone_core::address::{AddressError, decode_address, encode_address};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainKind;

use crate::chain::Chain;
use crate::cli::Options;
use crate::error::{ExitCode, Failure};
use crate::keystore::{Contents, Sealed};
use crate::mnemonic;

/// Characters of a wrong address that are repeated: more than any right one has.
const MAX_SHOWN: usize = 100;

/// The secret key that the flags select, for use on `chain`.
///
/// Everyone knows the keys of development accounts, so they open nothing on a chain of another kind.
pub(crate) fn secret_key(options: &Options, chain: &Chain) -> Result<SecretKey, Failure> {
    let Some(index) = options.dev else {
        return from_keystore(options);
    };
    if chain.params.kind != ChainKind::Dev {
        return Err(Failure::new(
            ExitCode::BadInput,
            format!("everyone knows the keys of --dev accounts: refused on chain {}", chain.params.name),
            "leave out --dev to use your keystore, or start a development chain with: drystone-node dev",
        ));
    }
    Ok(SecretKey::dev(index))
}

/// The account of `address`, or where none is given the one that the flags select.
pub(crate) fn named_or_own(options: &Options, address: Option<&str>, chain: &Chain) -> Result<AccountId, Failure> {
    match address {
        Some(address) => parse(address, chain),
        None => Ok(secret_key(options, chain)?.account()),
    }
}

/// The account of an address on `chain`.
pub(crate) fn parse(text: &str, chain: &Chain) -> Result<AccountId, Failure> {
    decode_address(&chain.params.address_prefix, text).map_err(|error| {
        let next = match error {
            AddressError::WrongPrefix { .. } => {
                "ask for the address on this chain (drystone-wallet --rpc URL address), or name the other chain's node with --rpc"
            }
            AddressError::Malformed | AddressError::WrongLength(_) => "copy the whole address again",
        };
        let shown: String = text.chars().take(MAX_SHOWN).collect();
        let more = if shown.len() < text.len() { "..." } else { "" };
        Failure::new(ExitCode::BadInput, format!("{shown:?}{more} is {error}"), next)
    })
}

/// The address of `account` on `chain`.
pub(crate) fn address(account: &AccountId, chain: &Chain) -> String {
    encode_address(&chain.params.address_prefix, account)
}

/// The key of account `index` of a wallet.
pub(crate) fn derive(contents: &Contents, index: u32) -> SecretKey {
    SecretKey::from_seed(&mnemonic::account_secret(&contents.entropy, index))
}

fn from_keystore(options: &Options) -> Result<SecretKey, Failure> {
    let sealed = Sealed::read(&options.keystore_path()?)?;
    let contents = sealed.open(&options.password_source().read()?)?;
    let index = options.account();
    if index >= contents.accounts {
        let choice = if contents.accounts == 1 { "0".into() } else { format!("0 to {}", contents.accounts - 1) };
        return Err(Failure::new(
            ExitCode::BadInput,
            format!("there is no account {index}: this keystore uses {}", contents.accounts),
            format!("choose --account {choice}"),
        ));
    }
    Ok(derive(&contents, index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::KnownChain;

    #[test]
    fn bad_addresses_name_what_is_wrong() {
        let (main, dev) = (Chain::known(KnownChain::Main), Chain::known(KnownChain::Dev));
        let id = SecretKey::dev(0).account();
        let good = address(&id, &dev);
        assert_eq!(parse(&good, &dev).unwrap(), id);
        let mistyped = good.replace("tdry1", "tdry1q");
        for (text, chain, words) in [
            (good.as_str(), &main, "another chain"),
            (&mistyped, &dev, "checksum"),
            (&good[..good.len() - 1], &dev, "checksum"),
            ("", &dev, "not an address"),
            (&"tdry1q".repeat(1000), &dev, "not an address"),
        ] {
            let failure = parse(text, chain).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadInput);
            assert!(failure.message.contains(words), "{failure}");
            assert!(failure.message.len() < 300, "{failure}");
        }
    }
}
