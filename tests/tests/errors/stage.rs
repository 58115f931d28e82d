//! What the examples of docs/ERRORS.md find when they are typed: running nodes, files, small disks.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use drystone_core::address::encode_address;
use drystone_core::key::{AccountId, SecretKey};
use drystone_tests::program::{Ended, Node, binary, program, run};
use redb::{Database, TableDefinition};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Before each example.
const PRELUDE: &str = "w() { drystone-wallet --password-file pw --keystore w.json \"$@\"; }\n";

/// Blocks of the ledger that examples copy.
const BLOCKS: u64 = 40;

/// Everything that examples name, gone when dropped.
pub(crate) struct Stage {
    // Before the directory that they lie in.
    disks: Vec<Disk>,
    _nodes: Vec<Node>,
    variables: Vec<(&'static str, String)>,
    root: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let root = tempfile::tempdir().expect("temporary directory");
        let place = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir(&path).expect("a writable directory");
            path
        };
        let address = |prefix: &str, index| encode_address(prefix, &SecretKey::dev(index).account());
        let bob = address("tdry", 1);

        let old = Node::start(&place("old"), &["dev", "--threads", "0", "--log", "warn"]);
        old.call("mining_generate", json!([BLOCKS, address("tdry", 0)])).expect("mined");
        let ledger = old.data_dir.join("ledger.redb");
        old.stop();
        let rotten = rotten(&place("rotten"), &ledger);

        let node = Node::start(&place("node"), &["dev", "--threads", "0", "--log", "warn"]);
        let wallet = |arguments: &[&str]| {
            let ended = node.wallet(&[&["--json"], arguments].concat());
            serde_json::from_str::<Value>(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
        };
        let (payment, receipt) = (root.path().join("payment"), root.path().join("receipt"));
        let paid = text(&wallet(&["--dev", "0", "send", &bob, "12.5"])["txid"]);
        // More than one, so that the receipt has a path from the payment's block to the last one.
        node.call("mining_generate", json!([5, bob])).expect("mined");
        // A file of the wallet is beside what it knows of the chain, and examples start knowing nothing.
        wallet(&["receipt", &paid, "--out", path(&receipt)]);
        let sign = ["--dev", "5", "--chain", "dev", "sign", &bob, "12.5", "--fee", "0.01", "--nonce", "0", "--out"];
        wallet(&[&sign[..], &[path(&payment)]].concat());
        let waiting = text(&wallet(&["--dev", "3", "send", &bob, "1"])["txid"]);

        let home = place("other");
        let genesis = home.join("other.json");
        let made = ["genesis", "new", "--name", "other", "--output", path(&genesis)];
        assert_eq!(run(program("drystone-node", &home).args(made)).code, Some(0));
        let other = Node::start(&home, &["run", "--genesis", path(&genesis)]);
        let main = Node::start(&place("main"), &["run"]);

        let mut variables = vec![
            ("RPC", node.address.to_string()),
            ("DRYSTONE_RPC", node.address.to_string()),
            ("DATA", path(&node.data_dir).to_owned()),
            ("OTHER", other.address.to_string()),
            ("MAINNODE", main.address.to_string()),
            ("NONSENSE", speak_nonsense().to_string()),
            ("LEDGER", path(&ledger).to_owned()),
            ("ROTTEN", path(&rotten).to_owned()),
            ("BOB", bob.clone()),
            ("NOBODY", encode_address("tdry", &AccountId([7; 32]))),
            ("MAIN", address("dry", 1)),
            ("PAID", paid),
            ("WAITING", waiting),
            ("PAYMENT", path(&payment).to_owned()),
            ("RECEIPT", path(&receipt).to_owned()),
            ("DRYSTONE_LOG", "error".to_owned()),
        ];
        let disks =
            Disk::mount(root.path().join("full"), "size=64k").zip(Disk::mount(root.path().join("readonly"), "ro"));
        let disks: Vec<Disk> = disks.map(|(full, read_only)| vec![full, read_only]).unwrap_or_default();
        if let [full, read_only] = &disks[..] {
            full.fill();
            variables.extend([("FULL", path(&full.0).to_owned()), ("READONLY", path(&read_only.0).to_owned())]);
        } else {
            println!("skipped: mounting small disks is not permitted here, and examples on them are not typed");
        }
        Stage { disks, _nodes: vec![node, other, main], variables, root }
    }

    /// Types an example in an empty directory, unless it needs what this machine does not permit.
    pub(crate) fn run(&self, example: &str) -> Option<Ended> {
        let needs_disk = example.contains("$FULL") || example.contains("$READONLY");
        if needs_disk && self.disks.is_empty() {
            return None;
        }
        let directory = tempfile::tempdir_in(self.root.path()).expect("temporary directory");
        fs::write(directory.path().join("pw"), "secret\n").expect("a writable directory");
        let programs = binary("drystone-node");
        let programs = programs.parent().expect("a program lies in a directory");
        let search = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{PRELUDE}{example}")]).current_dir(directory.path()).stdin(Stdio::null());
        for variable in ["DRYSTONE_DATA_DIR", "DRYSTONE_KEYSTORE"] {
            command.env_remove(variable);
        }
        command
            .env("PATH", search)
            .env("HOME", directory.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        Some(run(&mut command))
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// A data directory whose ledger has lost a record: the undo of its last block.
fn rotten(directory: &Path, ledger: &Path) -> PathBuf {
    const UNDO: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("undo");
    for name in ["ledger.redb", "genesis.json"] {
        fs::copy(ledger.with_file_name(name), directory.join(name)).expect("a writable directory");
    }
    let database = Database::open(directory.join("ledger.redb")).expect("a ledger");
    let transaction = database.begin_write().expect("a transaction");
    let lost = transaction.open_table(UNDO).expect("a table").pop_last().expect("a readable table").is_some();
    transaction.commit().expect("a writable disk");
    assert!(lost, "it had one");
    directory.to_owned()
}

/// Answers every request with JSON that says nothing.
fn speak_nonsense() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whoever hangs up early has his error.
            let _ = answer(&mut stream);
        }
    });
    address
}

fn answer(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let read = stream.read(&mut request)?;
    // The body may come in a packet of its own.
    if !request[..read].ends_with(b"}") {
        let _ = stream.read(&mut request)?;
    }
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
    stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes())
}

/// A small file system in memory, gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, options: &str) -> Option<Disk> {
        fs::create_dir(&path).expect("a writable directory");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path);
        let mounted = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Disk(path))
    }

    /// Takes all the space there is.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filling")).expect("a new disk");
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be unmounted stays until the machine restarts, and costs some kibibytes.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
