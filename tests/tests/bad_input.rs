//! Wrong everything: each command says in one line what is wrong and in the next what to do, fails with a number that
//! scripts can rely on, and loses nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use drystone_core::address::encode_address;
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainParams;
use drystone_tests::program::{Ended, Node, binary, eventually, program, run};
use serde_json::{Value, json};

/// Bytes of the small disk that is filled.
const SMALL_DISK: &str = "size=2m";

fn address(index: u8) -> String {
    encode_address("tdry", &SecretKey::dev(index).account())
}

/// Fails unless it failed as it should: with this code, on one line that has these words, and with a next step.
#[track_caller]
fn assert_refused(what: &str, ended: &Ended, code: i32, words: &str) {
    assert_eq!(ended.code, Some(code), "{what}: {ended:?}");
    assert_eq!(ended.stdout, "", "{what}: {ended:?}");
    // What stands before is the log.
    let said: Vec<&str> = ended.stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    let [error, next] = said[..] else { panic!("{what}: not two lines: {ended:?}") };
    assert!(error.contains(words), "{what}: {error}");
    assert!(next.strip_prefix("next: ").is_some_and(|next| next.len() > 10), "{what}: {next}");
    assert!(error.len() + next.len() < 800, "{what}: too long to read: {ended:?}");
}

/// A program's arguments as they would be typed, `''` for an empty one.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| if word == "''" { String::new() } else { word.to_owned() }).collect()
}

/// The file of the development chain's parameters with one field changed, added or, for null, taken away.
fn genesis_with(field: &str, value: Value) -> String {
    let mut genesis: Value = serde_json::from_str(&dev_params().to_json()).unwrap();
    let fields = genesis.as_object_mut().unwrap();
    if value.is_null() {
        fields.remove(field).map(drop)
    } else {
        fields.insert(field.into(), value).map(drop)
    };
    genesis.to_string()
}

#[test]
fn wrong_words_to_the_node() {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = root.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (text, binary) = (file("text", b"not a chain\n"), file("binary", b"\xff\xfe\x00"));
    let (unknown, wrong_type) = (file("unknown.toml", b"colour = 1"), file("type.toml", b"\nrpc = \"here\""));
    let no_kernel = file("kernel.toml", b"kernel = 'cuda'");
    let other_prefix = encode_address("dry", &SecretKey::dev(0).account());
    let mistyped = address(0).replace("tdry1d", "tdry1q");
    let bob = address(1);
    let table = [
        ("", 2, "no command given"),
        ("sned", 2, "sned"),
        ("dev --colour", 2, "--colour"),
        ("dev --rpc 8645", 2, "8645"),
        ("dev --rpc 127.0.0.1:99999", 2, "99999"),
        ("dev --threads -1", 2, "-1"),
        ("dev --threads 1000000", 2, "1000000"),
        ("dev --kernel cuda", 2, "portable"),
        (&format!("run --config {no_kernel}"), 1, "there is no kernel \"cuda\""),
        ("bench-miner --seconds 0", 2, "0.01"),
        ("bench-miner --threads 0", 2, "1..=1024"),
        ("bench-miner --rpc 127.0.0.1:1", 1, "no node answers"),
        (&format!("bench-miner --genesis {text}"), 1, "not a genesis file"),
        ("dev --data-dir ''", 2, "--data-dir"),
        ("dev --log loud", 2, "loud"),
        ("dev --scrub-days -1", 2, "-1"),
        ("dev --scrub-days often", 2, "often"),
        ("dev --faucet lots", 1, "faucet"),
        ("dev --faucet 0", 1, "at least"),
        ("run --faucet 1", 1, "no faucet"),
        (&format!("man {text}"), 1, "create the directory"),
        (&format!("man {text}/below"), 1, "create the directory"),
        ("dev --mine nobody", 1, "checksum"),
        (&format!("dev --mine {mistyped}"), 1, "checksum"),
        (&format!("dev --mine {other_prefix}"), 1, "another chain"),
        (&format!("dev --data-dir {text} --log error"), 1, "data directory"),
        (&format!("dev --data-dir {text}/below --log error"), 1, "data directory"),
        ("dev --data-dir d --rpc 192.0.2.1:1 --log error", 1, "192.0.2.1:1"),
        ("run --genesis /nonexistent", 1, "/nonexistent"),
        ("run --genesis /", 1, "genesis"),
        (&format!("run --genesis {text}"), 1, "not a genesis file"),
        (&format!("run --genesis {binary}"), 1, "genesis"),
        ("run --config /nonexistent", 1, "/nonexistent"),
        (&format!("run --config {unknown}"), 1, "unknown field `colour`"),
        (&format!("run --config {wrong_type}"), 1, "line 2"),
        (&format!("run --config {binary}"), 1, "configuration"),
        ("status", 1, "no data directory of a running node"),
        ("status --data-dir nowhere", 1, "no node is running"),
        ("status --rpc 127.0.0.1:1", 1, "no node answers"),
        ("status --rpc 127.0.0.1:1 --data-dir d", 1, "no node answers at 127.0.0.1:1"),
        ("verify", 1, "no data directory"),
        ("verify --data-dir nowhere", 1, "no ledger"),
        ("genesis", 2, "no command"),
        ("genesis check", 2, "<FILE>"),
        (&format!("genesis check {text}"), 1, "not a genesis file"),
        ("genesis show other", 2, "other"),
        ("genesis new", 2, "--name"),
        ("genesis new --name ''", 1, "name"),
        ("genesis new --name x --interval 0", 1, "interval"),
        ("genesis new --name x --interval 18446744073709551616", 2, "18446744073709551616"),
        ("genesis new --name x --response 599999", 1, "response"),
        ("genesis new --name x --max-future 18446744073709551615", 1, "max_future"),
        ("genesis new --name x --bits zz", 1, "zz"),
        ("genesis new --name x --bits ffffffff", 1, "ffffffff"),
        ("genesis new --name x --bits 207fffff --pow-limit 1d00ffff", 1, "bits"),
        ("genesis new --name x --subsidy 1e9", 1, "1e9"),
        ("genesis new --name x --subsidy 90071992.54740992", 1, "90071992.54740992"),
        ("genesis new --name x --maturity 0", 1, "maturity"),
        ("genesis new --name x --prefix X", 1, "prefix"),
        ("genesis new --name x --allocate nobody", 1, "nobody"),
        (&format!("genesis new --name x --allocate {other_prefix}=1"), 1, "another chain"),
        (&format!("genesis new --name x --allocate {bob}=1 --allocate {bob}=1"), 1, "once"),
        (&format!("genesis new --name x --output {text}"), 1, "exists"),
        ("genesis new --name x --output /nonexistent/x", 1, "/nonexistent"),
    ];
    for (line, code, expected) in table {
        let ended = run(program("drystone-node", root.path()).current_dir(root.path()).args(words(line)));
        assert_refused(line, &ended, code, expected);
    }
    assert_eq!(fs::read(text).unwrap(), b"not a chain\n");
}

#[test]
fn wrong_genesis_files() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("genesis.json");
    let (good, zero) = (dev_params().to_json(), "0".repeat(8));
    let fields: Value = serde_json::from_str(&good).unwrap();
    let mut table: Vec<(String, &str)> = Vec::new();
    for field in fields.as_object().unwrap().keys() {
        table.push((genesis_with(field, Value::Null), "missing field"));
        table.push((genesis_with(field, json!(true)), "at line"));
        table.push((genesis_with(field, json!(-1)), "at line"));
    }
    table.extend([
        (String::new(), "EOF"),
        ("{}".into(), "missing field"),
        ("[".repeat(100_000), "at line"),
        (good[..good.len() / 2].to_owned(), "EOF"),
        (good.clone() + "}", "trailing"),
        (genesis_with("colour", json!("grey")), "unknown field `colour`"),
        (genesis_with("name", json!("")), "name"),
        (genesis_with("name", json!("a\u{1b}[2J")), "name"),
        (genesis_with("kind", json!("money")), "money"),
        (genesis_with("time", json!(u64::MAX)), "time"),
        (genesis_with("interval", json!(0)), "interval"),
        (genesis_with("interval", json!(u64::MAX)), "interval"),
        (genesis_with("response", json!(59_999)), "response"),
        (genesis_with("max_future", json!(12_001)), "max_future"),
        (genesis_with("pow_limit", json!(zero)), "pow_limit"),
        (genesis_with("bits", json!("ffffffff")), "bits"),
        (genesis_with("pow_limit", json!("1d00ffff")), "bits"),
        (genesis_with("subsidy", json!("-1")), "at line"),
        (genesis_with("subsidy", json!("9007199254740991")), "all subsidies together"),
        (genesis_with("halving_interval", json!(0)), "halving_interval"),
        (genesis_with("maturity", json!(0)), "maturity"),
        (genesis_with("max_block_bytes", json!(0)), "max_block_bytes"),
        (genesis_with("max_block_bytes", json!(u64::MAX)), "max_block_bytes"),
        (genesis_with("account_reserve", json!("9007199254740992")), "account_reserve"),
        (genesis_with("address_prefix", json!("TDRY")), "address_prefix"),
        (genesis_with("address_prefix", json!("other")), "another chain"),
        (genesis_with("allocations", json!([{ "address": address(1), "amount": "0" }])), "allocation"),
    ]);
    for (text, expected) in table {
        fs::write(&file, &text).unwrap();
        let path = file.to_str().unwrap();
        let shown: String = text.chars().take(300).collect();
        for arguments in [&["genesis", "check", path][..], &["run", "--rpc", "127.0.0.1:0", "--genesis", path]] {
            let ended = run(program("drystone-node", root.path()).args(arguments));
            assert_refused(&shown, &ended, 1, expected);
        }
    }
    assert!(!root.path().join(".drystone").exists(), "no chain was begun");
}

#[test]
fn wrong_words_to_the_wallet() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0", "--log", "warn"]);
    let text = root.path().join("text");
    fs::write(&text, "not a chain\n").unwrap();
    let text = text.to_str().unwrap();
    let (bob, nobody) = (address(1), encode_address("tdry", &AccountId([0x55; 32])));
    let other_prefix = encode_address("dry", &SecretKey::dev(1).account());
    let mistyped = bob.replacen("tdry1k", "tdry1q", 1);
    let truncated = &bob[..bob.len() - 1];
    let (memo, wide) = ("x".repeat(257), "é".repeat(129));
    let main = root.path().join("main.json");
    fs::write(&main, main_params().to_json()).unwrap();
    let main = main.to_str().unwrap();
    let table = [
        ("", 2, "no command given"),
        ("sned", 2, "sned"),
        ("send", 2, "<TO> <AMOUNT>"),
        (&format!("--dev 0 send {bob}"), 2, "<AMOUNT>"),
        (&format!("--dev 10 send {bob} 1"), 2, "--dev"),
        (&format!("--dev 0 --account 1 send {bob} 1"), 2, "--account"),
        (&format!("--dev 0 send {bob} 1 --fee 1 --fee 2"), 2, "--fee"),
        (&format!("--dev 0 --timeout 0 send {bob} 1"), 2, "--timeout"),
        ("--chain other --dev 0 balance", 2, "other"),
        (&format!("--dev 0 send {mistyped} 1"), 3, "checksum"),
        (&format!("--dev 0 send {truncated} 1"), 3, "checksum"),
        (&format!("--dev 0 send {bob}{bob}{bob}{bob} 1"), 3, "checksum"),
        ("--dev 0 send '' 1", 3, "not an address"),
        (&format!("--dev 0 send {other_prefix} 1"), 3, "another chain"),
        (&format!("balance {other_prefix}"), 3, "another chain"),
        (&format!("--dev 0 send {bob} ''"), 3, "not a decimal"),
        (&format!("--dev 0 send {bob} -1"), 3, "not a decimal"),
        (&format!("--dev 0 send {bob} 1e3"), 3, "not a decimal"),
        (&format!("--dev 0 send {bob} 0x10"), 3, "not a decimal"),
        (&format!("--dev 0 send {bob} 1,5"), 3, "not a decimal"),
        (&format!("--dev 0 send {bob} 0.000000001"), 3, "eight decimals"),
        (&format!("--dev 0 send {bob} 90071992.54740992"), 3, "largest possible"),
        (&format!("--dev 0 send {bob} 99999999999999999999999999"), 3, "largest possible"),
        (&format!("--dev 0 send {bob} 1 --fee -1"), 3, "the fee"),
        (&format!("--dev 0 send {bob} 1 --memo {memo}"), 3, "257 bytes"),
        (&format!("--dev 0 send {bob} 1 --memo {wide}"), 3, "258 bytes"),
        (&format!("--dev 0 --genesis {text} send {bob} 1"), 3, "genesis"),
        ("--dev 0 --genesis /nonexistent balance", 3, "/nonexistent"),
        ("--dev 0 --genesis /dev/zero balance", 3, "longer than"),
        ("--dev 0 --chain main address", 3, "everyone knows"),
        ("--rpc ftp://127.0.0.1 --dev 0 balance", 3, "ftp://"),
        ("--rpc https://127.0.0.1:1 --dev 0 balance", 3, "plain HTTP"),
        ("--rpc http://127.0.0.1:99999 --dev 0 balance", 3, "port"),
        ("balance", 4, "no keystore"),
        (&format!("send {bob} 1"), 4, "no keystore"),
        (&format!("--keystore {text} balance"), 4, "not a Drystone keystore"),
        ("--keystore / address", 4, "directory"),
        ("new", 4, "no terminal"),
        ("--password-file /nonexistent new", 4, "/nonexistent"),
        ("--password-file / new", 4, "directory"),
        ("--password-fd 99 new", 4, "descriptor 99"),
        ("--password-fd 0 new", 4, "empty"),
        ("--rpc 127.0.0.1:1 --dev 0 balance", 5, "no node answered"),
        (&format!("--dev 0 --chain main send {bob} 1"), 6, "the node is on chain"),
        (&format!("--genesis {main} balance {bob}"), 6, "the node is on chain"),
        (&format!("--dev 0 send {bob} 10000"), 7, "has 10000 stones"),
        (&format!("--dev 0 send {bob} 90071992.54740991 --fee 90071992.54740991"), 7, "has 10000 stones"),
        (&format!("--dev 0 send {bob} 9999.9999 --fee 0"), 7, "must keep 0.001"),
        (&format!("--dev 0 send {nobody} 0.0009"), 7, "must hold 0.001"),
        (&format!("--dev 0 send {bob} 1 --fee 0"), 7, "too low"),
    ];
    for (line, code, expected) in table {
        let mut command = program("drystone-wallet", root.path());
        if !line.contains("--rpc") {
            command.args(["--rpc", &node.address.to_string()]);
        }
        assert_refused(line, &run(command.args(words(line))), code, expected);
    }
    let info = node.call("mempool_info", json!([])).unwrap();
    assert_eq!(info["transactions"], 0, "nothing was paid");
    assert!(!root.path().join(".drystone").join("wallet.json").exists(), "nothing was made");

    let late = node.wallet(&["--dev", "0", "--timeout", "1", "send", &bob, "1", "--wait"]);
    assert_refused("a payment that nobody mines", &late, 8, "in no block yet");

    // The same failure as data.
    let ended = node.wallet(&["--json", "--dev", "0", "send", &mistyped, "1"]);
    let said: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str(), &said["error"]["code"]), (Some(3), "", &json!(3)));
    assert!(said["error"]["message"].is_string() && said["error"]["next"].is_string(), "{said}");
}

#[test]
fn damaged_keystores() {
    let root = tempfile::tempdir().unwrap();
    let (keystore, right) = (root.path().join("wallet.json"), root.path().join("right"));
    fs::write(&right, "correct horse\n").unwrap();
    let wallet = |password: &Path, command: &str| {
        let mut wallet = program("drystone-wallet", root.path());
        wallet.arg("--keystore").arg(&keystore).arg("--password-file").arg(password).arg(command);
        run(&mut wallet)
    };
    let made = wallet(&right, "new");
    assert_eq!(made.code, Some(0), "{made:?}");
    let good = fs::read(&keystore).unwrap();
    assert_refused("a second one", &wallet(&right, "new"), 4, "never overwritten");

    let wrong = root.path().join("wrong");
    for (password, expected) in [(&b"guess\n"[..], "wrong password"), (b"", "empty"), (b"a\nb\n", "line break")] {
        fs::write(&wrong, password).unwrap();
        assert_refused(expected, &wallet(&wrong, "address"), 4, expected);
    }
    fs::write(&wrong, vec![b'x'; 1 << 20]).unwrap();
    assert_refused("a long password", &wallet(&wrong, "address"), 4, "longer than");
    assert_eq!(fs::read(&keystore).unwrap(), good);

    let mut damaged: Vec<(Vec<u8>, &str)> =
        [0, 1, good.len() / 2, good.len() - 3].map(|cut| (good[..cut].to_vec(), "truncated")).into();
    for digits in ["\"salt\": \"", "\"nonce\": \"", "\"ciphertext\": \"", "\"checksum\": \""] {
        let at = String::from_utf8(good.clone()).unwrap().find(digits).unwrap() + digits.len();
        let mut changed = good.clone();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        damaged.push((changed, "damaged"));
    }
    damaged.push((String::from_utf8(good.clone()).unwrap().replace("65536", "4294967295").into(), "damaged"));
    for (bytes, expected) in damaged {
        fs::write(&keystore, &bytes).unwrap();
        assert_refused(&String::from_utf8_lossy(&bytes), &wallet(&right, "address"), 4, expected);
        assert_eq!(fs::read(&keystore).unwrap(), bytes, "it is not made worse");
    }
    fs::write(&keystore, &good).unwrap();
    assert_eq!(wallet(&right, "address").code, Some(0));
}

/// A development node's command, for when it is not to start.
fn dev(root: &Path, data: &Path) -> Command {
    let mut command = program("drystone-node", root);
    command.args(["dev", "--threads", "0", "--log", "error", "--rpc", "127.0.0.1:0", "--data-dir"]).arg(data);
    command
}

fn verify(root: &Path, data: &Path) -> Ended {
    run(program("drystone-node", root).args(["verify", "--data-dir"]).arg(data))
}

/// A data directory with a few blocks in it, and what is in its ledger.
fn ledger(root: &Path) -> (PathBuf, Vec<u8>) {
    let node = Node::start(root, &["dev", "--threads", "0", "--log", "warn"]);
    node.call("mining_generate", json!([40, address(0)])).unwrap();
    let data = node.data_dir.clone();
    assert!(node.stop().0.success());
    let bytes = fs::read(data.join("ledger.redb")).unwrap();
    (data, bytes)
}

#[test]
fn places_that_are_taken() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0", "--log", "warn"]);
    let note = fs::read(node.data_dir.join("node.json")).unwrap();
    let second = run(&mut dev(root.path(), &node.data_dir));
    assert_refused("a second node", &second, 1, "already running");
    assert_refused("verify beside it", &verify(root.path(), &node.data_dir), 1, "running node");

    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    for port in [node.address, stranger.local_addr().unwrap()].map(|address| address.to_string()) {
        let mut command = program("drystone-node", root.path());
        command.args(["dev", "--log", "error", "--rpc", &port, "--data-dir"]).arg(root.path().join("other"));
        assert_refused(&port, &run(&mut command), 1, "in use");
    }
    // The first one noticed nothing.
    assert_eq!(fs::read(node.data_dir.join("node.json")).unwrap(), note);
    assert!(node.call("mining_generate", json!([1, address(0)])).is_ok(), "its cookie still holds");
}

#[test]
fn the_data_of_another_chain() {
    let root = tempfile::tempdir().unwrap();
    let (data, _) = ledger(root.path());
    let before = verify(root.path(), &data);
    assert_eq!(before.code, Some(0), "{before:?}");
    let genesis = root.path().join("genesis.json");
    for params in [main_params(), ChainParams { name: "other".into(), ..dev_params() }] {
        fs::write(&genesis, params.to_json()).unwrap();
        let mut other = program("drystone-node", root.path());
        other.args(["run", "--log", "error", "--rpc", "127.0.0.1:0", "--genesis"]).arg(&genesis);
        assert_refused(&params.name, &run(other.arg("--data-dir").arg(&data)), 1, "holds chain");
    }
    assert_eq!(verify(root.path(), &data), before);
}

#[test]
fn damaged_ledgers() {
    let root = tempfile::tempdir().unwrap();
    let (data, good) = ledger(root.path());
    let file = data.join("ledger.redb");
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x41;
        bytes
    };
    let table = [
        ("empty", Vec::new()),
        ("one byte", good[..1].to_vec()),
        ("a header alone", good[..4096].to_vec()),
        ("half", good[..good.len() / 2].to_vec()),
        ("one page short", good[..good.len() - 4096].to_vec()),
        ("text", b"not a ledger\n".repeat(1000)),
        ("another magic number", flipped(0)),
        ("another page size", flipped(13)),
    ];
    for (what, bytes) in table {
        fs::write(&file, &bytes).unwrap();
        assert_refused(what, &run(&mut dev(root.path(), &data)), 1, "damaged");
        assert_refused(what, &verify(root.path(), &data), 1, "damaged");
        assert!(fs::read(&file).unwrap() == bytes, "{what}: what is left of it is not made worse");
    }

    // Anywhere in the middle: found where it matters, and never a crash.
    let mut found = 0;
    for page in 1..good.len() / 4096 {
        fs::write(&file, flipped(page * 4096 + page % 8)).unwrap();
        let ended = verify(root.path(), &data);
        if ended.code != Some(0) {
            assert_refused(&format!("page {page}"), &ended, 1, "");
            found += 1;
        }
    }
    assert!(found > 5, "{found} pages matter");
    fs::write(&file, &good).unwrap();
    assert_eq!(verify(root.path(), &data).code, Some(0));
}

/// A small file system in memory, gone when dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one at `path`. Where that is not permitted the test ends here, and says so.
    fn mount(path: PathBuf) -> Option<Disk> {
        fs::create_dir(&path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"]).arg(&path);
        let mounted = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Disk(path));
        }
        println!("skipped: mounting a small disk is not permitted here");
        None
    }

    fn make_read_only(&self) {
        let done = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()));
    }

    /// Takes all the space there is.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filling")).unwrap();
        // One byte at a time at the end: the last page is filled too.
        for length in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; length]).is_ok() {}
        }
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filling")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be unmounted stays until the machine restarts, and costs two mebibytes.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk() {
    let root = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(root.path().join("disk")) else { return };
    // Twenty blocks a second, so that the ledger soon has to grow.
    let params = ChainParams { interval: 50, response: 6_000, max_future: 600, ..dev_params() };
    let genesis = root.path().join("genesis.json");
    fs::write(&genesis, params.to_json()).unwrap();
    let (home, data) = (root.path(), disk.0.join("data"));
    // Building it takes as long as it likes.
    binary("drystone-node");
    let node = || {
        let mut command = program("drystone-node", home);
        command.args(["run", "--log", "error", "--rpc", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--threads", "1"]);
        command.args(["--mine", &address(0)]);
        command.arg("--genesis").arg(&genesis).arg("--data-dir").arg(&data);
        run(&mut command)
    };
    let ended = thread::scope(|scope| {
        let running = scope.spawn(node);
        eventually("the node mines", || {
            let status = run(program("drystone-node", home).args(["status", "--data-dir"]).arg(&data));
            let height = status.stdout.lines().find_map(|line| line.strip_prefix("tip      height "))?;
            height.split(',').next()?.parse().ok().filter(|height: &u64| *height >= 5)
        });
        disk.fill();
        running.join().unwrap()
    });
    assert_refused("while it mines", &ended, 1, "disk is full");
    assert_refused("when it starts", &node(), 1, "disk is full");
    let verified = verify(home, &data);
    assert_eq!(verified.code, Some(0), "{verified:?}");

    let elsewhere = disk.0.join("elsewhere");
    assert_refused("a new chain", &run(&mut dev(home, &elsewhere)), 1, "full");
    let genesis = disk.0.join("genesis.json");
    let written = run(program("drystone-node", home).args(["genesis", "new", "--name", "x", "--output"]).arg(&genesis));
    assert_refused("a genesis file", &written, 1, "No space left");
    let (password, keystore) = (root.path().join("password"), disk.0.join("wallet.json"));
    fs::write(&password, "secret").unwrap();
    let new = |arguments: &[&Path]| {
        let mut wallet = program("drystone-wallet", home);
        run(wallet.arg("--password-file").arg(&password).arg("--keystore").args(arguments).arg("new"))
    };
    assert_refused("a keystore", &new(&[&keystore]), 4, "No space left");
    assert!(!keystore.exists());

    disk.empty();
    assert_eq!(new(&[&keystore]).code, Some(0));
    let again = verify(home, &data);
    assert_eq!((again.code, &again.stdout), (Some(0), &verified.stdout));
}

#[test]
fn a_read_only_disk() {
    let root = tempfile::tempdir().unwrap();
    let (made, before) = ledger(root.path());
    let Some(disk) = Disk::mount(root.path().join("disk")) else { return };
    let (home, data) = (root.path(), disk.0.join("data"));
    fs::create_dir(&data).unwrap();
    for name in ["ledger.redb", "genesis.json"] {
        fs::copy(made.join(name), data.join(name)).unwrap();
    }
    disk.make_read_only();
    assert_refused("a node", &run(&mut dev(home, &data)), 1, "Read-only");
    assert_refused("a new node", &run(&mut dev(home, &disk.0.join("new"))), 1, "Read-only");
    let genesis = disk.0.join("genesis.json");
    let written = run(program("drystone-node", home).args(["genesis", "new", "--name", "x", "--output"]).arg(&genesis));
    assert_refused("a genesis file", &written, 1, "Read-only");
    let password = root.path().join("password");
    fs::write(&password, "secret").unwrap();
    let mut wallet = program("drystone-wallet", home);
    wallet.arg("--password-file").arg(&password).arg("--keystore").arg(disk.0.join("wallet.json")).arg("new");
    assert_refused("a keystore", &run(&mut wallet), 4, "read-only");
    assert!(fs::read(data.join("ledger.redb")).unwrap() == before);
    let left: BTreeSet<_> = fs::read_dir(&disk.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, BTreeSet::from(["data".into()]));
}
