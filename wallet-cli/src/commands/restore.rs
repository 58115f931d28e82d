//! `restore`: a keystore from the 24 words, with as many accounts as were used.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::Path;

use drystone_core::state::Account;
use serde_json::json;
use zeroize::Zeroizing;

use super::new::listed;
use super::{Report, address};
use crate::account;
use crate::chain::Chain;
use crate::cli::{Options, Restore};
use crate::error::{ExitCode, Failure};
use crate::files;
use crate::headers::Headers;
use crate::keystore::{self, Contents, Cost};
use crate::mnemonic::{self, Entropy, MAX_ACCOUNT};
use crate::nodes;
use crate::password;
use crate::rpc::Client;

/// So many accounts in a row that were never used are the end: nobody skips that many.
const GAP: u32 = 20;
/// 24 words of at most eight letters, and room for line breaks and numbers between them.
const MAX_WORDS_BYTES: usize = 1024;

/// Reads the words, finds the accounts, and makes the keystore.
pub(crate) fn run(options: &Options, restore: &Restore) -> Result<Report, Failure> {
    if options.dev.is_some() {
        return Err(Failure::new(ExitCode::Usage, "--dev accounts have no keystore", "leave out --dev"));
    }
    let path = options.keystore_path()?;
    keystore::ensure_absent(&path)?;
    let entropy = read_words(restore.words_file.as_deref())?;
    let (accounts, chain, found) = match restore.accounts {
        Some(accounts) => (accounts, address::chain(options)?, "as told"),
        None => {
            let (accounts, chain) = find_used(options, &entropy)?;
            (accounts, chain, "found in use")
        }
    };
    let password = options.password_source().read_new()?;
    let contents = Contents { entropy, accounts };
    keystore::create(&path, &contents, &password, Cost::DEFAULT)?;
    let (lines, list) = listed(&contents, &chain);
    let text = format!(
        "keystore: {path}, accounts {found}: {accounts}\n{lines}\nnext: drystone-wallet --keystore {path} balance",
        path = path.display()
    );
    let json = json!({
        "keystore": path.display().to_string(),
        "chain": chain.params.name,
        "chain_id": chain.id,
        "accounts": list,
    });
    Ok(Report { text, json })
}

/// How many accounts were used on the node's chain, at least one.
fn find_used(options: &Options, entropy: &Entropy) -> Result<(u32, Chain), Failure> {
    let advice = |failure: Failure| match failure.code {
        ExitCode::Unreachable => Failure {
            next: "name a node that finds used accounts with --rpc URL, or say how many there are with --accounts N"
                .into(),
            ..failure
        },
        _ => failure,
    };
    let mut client = Client::new(&options.nodes(), options.timeout())?;
    let chain = Chain::of_node(options, &mut client).map_err(advice)?;
    let mut headers = Headers::load(&chain, &options.data_dir()?);
    let contents = Contents { entropy: entropy.clone(), accounts: 1 };
    let (mut used, mut index) = (1u32, 0);
    while index < used.saturating_add(GAP).min(MAX_ACCOUNT) {
        let account = account::derive(&contents, index).account();
        let proved = nodes::prove(&mut client, &mut headers, &account).map_err(advice)?;
        if proved.account != Account::default() {
            used = index + 1;
        }
        index += 1;
    }
    Ok((used, chain))
}

/// The words from a file, or from standard input: at a terminal unseen, like a password.
fn read_words(file: Option<&Path>) -> Result<Entropy, Failure> {
    let unreadable = |error: io::Error| {
        let next = "check the file, or leave out --words-file and type the words";
        Failure::new(ExitCode::BadInput, format!("cannot read the words: {error}"), next)
    };
    let text = match file {
        Some(path) => Zeroizing::new(files::read_capped(path, MAX_WORDS_BYTES).map_err(unreadable)?),
        None if io::stdin().is_terminal() => ask_for_words()?,
        None => {
            // A descriptor of our own, because the one of the standard library keeps what it read in a buffer of its own.
            let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(unreadable)?;
            read_until_all(&mut File::from(stdin)).map_err(unreadable)?
        }
    };
    if text.trim_ascii().is_empty() {
        let next = "type them, or give them on standard input or with --words-file FILE";
        return Err(Failure::new(ExitCode::BadInput, "no words were given", next));
    }
    let text = str::from_utf8(&text).map_err(|_| wrong("they are not text"))?;
    mnemonic::parse(text).map_err(wrong)
}

/// Asks for lines until all words are there, or nothing is typed.
fn ask_for_words() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_WORDS_BYTES));
    let mut question = "The 24 words, in order, on one line or several (they are not shown): ".to_owned();
    loop {
        let line = password::prompt(&question)?;
        // Within the capacity: growing would leave a copy behind.
        if line.trim().is_empty() || text.len() + line.len() + 1 > MAX_WORDS_BYTES {
            return Ok(text);
        }
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
        match count(&text) {
            some @ 0..24 => question = format!("{some} so far, {} to go: ", 24 - some),
            _ => return Ok(text),
        }
    }
}

/// Reads lines until all words are there, or nothing comes. What comes after them is another program's to read.
fn read_until_all(input: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_WORDS_BYTES));
    let mut byte = Zeroizing::new([0]);
    while text.len() < MAX_WORDS_BYTES {
        match input.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) => text.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if byte[0] == b'\n' && count(&text) >= 24 {
            break;
        }
    }
    Ok(text)
}

/// How many words there are; where it is no text, all that will come.
fn count(text: &[u8]) -> usize {
    str::from_utf8(text).map_or(24, |text| mnemonic::words_in(text).count())
}

fn wrong(what: impl std::fmt::Display) -> Failure {
    Failure::new(
        ExitCode::BadInput,
        format!("these are not the 24 words of a wallet: {what}"),
        "compare them with what you wrote down; the order matters",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;
    use crate::testing::{FakeNode, Ledger, command, node};
    use drystone_core::amount::Amount;
    use drystone_core::genesis::dev_params;
    use drystone_core::key::SecretKey;
    use drystone_core::transaction::{Memo, TransactionBody};
    use std::fs;

    fn restore(node: &FakeNode, directory: &Path, words: &str, line: &str) -> Result<Report, Failure> {
        let (file, password) = (directory.join("words"), directory.join("password"));
        fs::write(&file, words).unwrap();
        fs::write(&password, "secret\n").unwrap();
        let flags = format!("--words-file {} --password-file {} {line}", file.display(), password.display());
        let cli = command(node, directory, &format!("restore {flags}"));
        let Command::Restore(restore) = &cli.command else { panic!("{line}") };
        run(&cli.options, restore)
    }

    #[test]
    fn the_words_bring_back_every_account_that_was_used() {
        let entropy = Entropy::new([7; 32]);
        let words = mnemonic::words(&entropy);
        let contents = Contents { entropy, accounts: 1 };
        let ledger = Ledger::shared(dev_params());
        // Accounts 0 to 2 were never used, 3 was paid, and nothing up to 22 beyond it.
        let body = TransactionBody {
            from: SecretKey::dev(0).account(),
            to: account::derive(&contents, 3).account(),
            amount: Amount(100_000_000),
            fee: Amount(160),
            nonce: 0,
            memo: Memo::default(),
        };
        {
            let mut ledger = ledger.lock().unwrap();
            let transaction = body.sign(&ledger.chain.id, &SecretKey::dev(0));
            ledger.mempool.push(transaction);
            ledger.mine(1, 1);
        }
        let (node, dir) = (node(&ledger), tempfile::tempdir().unwrap());
        // As `new` prints them.
        let numbered = words.split(' ').enumerate().map(|(at, word)| format!("{:>2} {word}\n", at + 1));
        let spaced = numbered.collect::<String>().to_uppercase();
        let report = restore(&node, dir.path(), &spaced, "").unwrap();
        let accounts = report.json["accounts"].as_array().unwrap();
        assert_eq!(accounts.len(), 4, "{}", report.text);
        assert_eq!(accounts[3]["account_id"], json!(account::derive(&contents, 3).account()));
        assert!(report.text.contains("found in use: 4"));
        let again = restore(&node, dir.path(), &words, "").unwrap_err();
        assert_eq!(again.code, ExitCode::Keystore);

        // Without a node it must be told.
        let (nobody, dir) = (FakeNode { url: "http://127.0.0.1:1".into() }, tempfile::tempdir().unwrap());
        let failure = restore(&nobody, dir.path(), &words, "").unwrap_err();
        assert_eq!(failure.code, ExitCode::Unreachable);
        assert!(failure.next.contains("--accounts"), "{failure}");
        assert!(!dir.path().join("wallet.json").exists());
        let told = restore(&nobody, dir.path(), &words, "--accounts 2 --chain dev").unwrap();
        assert_eq!(told.json["accounts"].as_array().unwrap().len(), 2);
    }

    /// Typed or piped on several lines, with more behind them.
    #[test]
    fn no_more_is_read_than_the_words() {
        let words = mnemonic::words(&Entropy::new([7; 32]));
        let mut input = io::Cursor::new(format!("{}\nls -la\n", words.replacen(' ', "\n", 3)));
        let text = read_until_all(&mut input).unwrap();
        assert_eq!(mnemonic::parse(str::from_utf8(&text).unwrap()).unwrap(), Entropy::new([7; 32]));
        assert_eq!(&input.get_ref()[input.position() as usize..], "ls -la\n");
        assert_eq!(read_until_all(&mut io::repeat(b'a')).unwrap().len(), MAX_WORDS_BYTES);
        assert_eq!(*read_until_all(&mut &b"\xff\n more"[..]).unwrap(), b"\xff\n");
        assert!(read_until_all(&mut io::empty()).unwrap().is_empty());
    }

    #[test]
    fn wrong_words_say_what_is_wrong() {
        let ledger = Ledger::shared(dev_params());
        let (node, dir) = (node(&ledger), tempfile::tempdir().unwrap());
        let words = mnemonic::words(&Entropy::new([7; 32]));
        let swapped = {
            let mut list: Vec<&str> = words.split(' ').collect();
            list.swap(0, 1);
            list[23] = "zoo";
            list.join(" ")
        };
        let twelve = "abandon ".repeat(11) + "about";
        for (text, says) in [
            (swapped.as_str(), "checksum"),
            (&words.replacen(words.split(' ').next().unwrap(), "stoned", 1), "word 1"),
            (&words[..words.len() - 4], ""),
            (&twelve, "12 words"),
            ("\n", "no words"),
            ("12 13", "0 words"),
        ] {
            let failure = restore(&node, dir.path(), text, "").unwrap_err();
            assert_eq!(failure.code, ExitCode::BadInput, "{text}");
            assert!(failure.message.contains(says), "{failure}");
            assert!(!failure.message.contains("stoned"), "words stay off the screen: {failure}");
        }
    }
}
