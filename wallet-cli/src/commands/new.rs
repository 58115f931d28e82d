//! `new`: fresh randomness, its 24 words, and a keystore that holds it.

use serde_json::{Value, json};

use super::{Report, address};
use crate::account;
use crate::chain::Chain;
use crate::cli::Options;
use crate::error::{ExitCode, Failure};
use crate::keystore::{self, Contents, Cost};
use crate::mnemonic;

const WARNING: &str = "\
Write these 24 words down in order and keep them away from computers. They are the wallet: whoever
has them has the money, and nothing else brings it back. They are not shown again.";

/// Makes the keystore, then prints the addresses and the words.
pub(crate) fn run(options: &Options, accounts: u32) -> Result<Report, Failure> {
    if options.dev.is_some() {
        return Err(Failure::new(
            ExitCode::Usage,
            "--dev accounts exist already and have no keystore",
            "leave out --dev, or see its address with: drystone-wallet --dev 0 address",
        ));
    }
    let chain = address::chain(options)?;
    let path = options.keystore_path()?;
    keystore::ensure_absent(&path)?;
    let password = options.password_source().read_new()?;
    let entropy = mnemonic::generate().map_err(|error| {
        Failure::new(ExitCode::Unexpected, format!("the system gives no randomness: {error}"), "run the command again")
    })?;
    let contents = Contents { entropy, accounts };
    let words = mnemonic::words(&contents.entropy);
    let (lines, list) = listed(&contents, &chain);
    let mut text = format!("keystore: {}\n{lines}\n{WARNING}\n", path.display());
    for (i, word) in words.split(' ').enumerate() {
        let separator = if i % 6 == 0 { "\n" } else { "  " };
        text += &format!("{separator}{:>2} {word:<8}", i + 1);
    }
    text += &format!("\n\nnext: drystone-wallet --keystore {} balance", path.display());
    let json = json!({
        "keystore": path.display().to_string(),
        "chain": chain.params.name,
        "chain_id": chain.id,
        "accounts": list,
        "mnemonic": *words,
    });
    // Last: no keystore is left whose words could not be shown.
    keystore::create(&path, &contents, &password, Cost::DEFAULT)?;
    Ok(Report { text, json })
}

/// The accounts of a wallet with their addresses: a line each, and the same for programs.
pub(super) fn listed(contents: &Contents, chain: &Chain) -> (String, Value) {
    let accounts = (0..contents.accounts).map(|index| (index, account::derive(contents, index).account()));
    let (lines, list): (Vec<String>, Vec<Value>) = accounts
        .map(|(index, account)| {
            let address = account::address(&account, chain);
            let line = format!("account {index}: {address}\n");
            (line, json!({ "account": index, "address": address, "account_id": account }))
        })
        .unzip();
    (lines.concat(), Value::from(list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use bip39::Mnemonic;
    use clap::Parser;
    use std::fs;
    use std::path::Path;

    /// Runs a command line with its keystore and password file in `dir`.
    fn wallet(dir: &Path, password: &str, line: &str) -> Result<Report, Failure> {
        let file = dir.join("password");
        fs::write(&file, password).unwrap();
        let keystore = dir.join("wallet.json");
        let line =
            format!("drystone-wallet --keystore {} --password-file {} {line}", keystore.display(), file.display());
        let cli = Cli::parse_from(line.split_whitespace());
        match cli.command {
            Command::New { accounts } => run(&cli.options, accounts),
            _ => address::run(&cli.options, false),
        }
    }

    #[test]
    fn the_keystore_opens_the_accounts_that_new_printed() {
        let dir = tempfile::tempdir().unwrap();
        let new = wallet(dir.path(), "secret\n", "new --accounts 2").unwrap();
        let words = new.json["mnemonic"].as_str().unwrap();
        assert_eq!(words.split(' ').count(), 24);
        for word in words.split(' ') {
            assert!(new.text.contains(word));
        }
        for index in 0..2 {
            let shown = wallet(dir.path(), "secret", &format!("--account {index} address")).unwrap();
            assert_eq!(shown.json["address"], new.json["accounts"][index]["address"]);
            assert!(new.text.contains(&shown.text));
        }
        // The words alone give the same account.
        let entropy = Mnemonic::parse(words).unwrap().to_entropy();
        let contents = Contents { entropy: mnemonic::Entropy::new(entropy.try_into().unwrap()), accounts: 1 };
        let account = account::derive(&contents, 1).account();
        assert_eq!(new.json["accounts"][1]["account_id"], json!(account));
    }

    #[test]
    fn what_goes_wrong_is_said_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let empty = wallet(dir.path(), "\n", "new").unwrap_err();
        assert_eq!(empty.code, ExitCode::Keystore);
        assert!(!dir.path().join("wallet.json").exists());

        wallet(dir.path(), "secret", "new").unwrap();
        let before = fs::read(dir.path().join("wallet.json")).unwrap();
        let again = wallet(dir.path(), "secret", "new").unwrap_err();
        assert_eq!(again.code, ExitCode::Keystore);
        assert!(again.message.contains("never overwritten"), "{again}");
        assert_eq!(fs::read(dir.path().join("wallet.json")).unwrap(), before);

        let wrong = wallet(dir.path(), "guess", "address").unwrap_err();
        assert_eq!(wrong.code, ExitCode::Keystore);
        assert!(wrong.message.contains("wrong password"), "{wrong}");
        let beyond = wallet(dir.path(), "secret", "--account 1 address").unwrap_err();
        assert_eq!(beyond.code, ExitCode::BadInput);
        assert_eq!(beyond.next, "choose --account 0");
        let dev = wallet(dir.path(), "secret", "--dev 0 new").unwrap_err();
        assert_eq!(dev.code, ExitCode::Usage);
    }
}
