//! The miner as a node runs it: what it gives way to, how it hashes, and what `bench-miner` says of it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use drystone_core::address::encode_address;
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::key::SecretKey;
use drystone_core::miner::Kernel;
use drystone_tests::program::{Ended, Node, eventually, program, run};
use serde_json::{Value, json};

/// A test chain on which a block takes 2^96 hashes: whoever mines it mines for the whole test.
fn endless(root: &Path) -> String {
    let path = root.join("endless.json").to_str().expect("a plain name").to_owned();
    let arguments = ["genesis", "new", "--name", "endless", "--bits", "1500ffff", "--output", &path];
    assert_eq!(run(program("drystone-node", root).args(arguments)).code, Some(0));
    path
}

fn address(index: u8) -> String {
    encode_address("tdry", &SecretKey::dev(index).account())
}

/// A node that mines the endless chain.
fn miner(root: &Path, more: &[&str]) -> Node {
    let genesis = endless(root);
    let to = address(0);
    Node::start(root, &[&["run", "--genesis", &genesis, "--mine", &to], more].concat())
}

fn log(root: &Path) -> String {
    fs::read_to_string(root.join("log")).expect("a node that started has a log")
}

fn bench(root: &Path, arguments: &[&str]) -> Ended {
    let quick = if arguments.contains(&"--seconds") { &[][..] } else { &["--seconds", "0.05"] };
    run(program("drystone-node", root).arg("bench-miner").args(quick).args(arguments))
}

fn bench_json(root: &Path, arguments: &[&str]) -> Value {
    let ended = bench(root, &[arguments, &["--json"]].concat());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

/// The names and nicenesses of a process's threads (proc_pid_stat(5): the name in parentheses, niceness in field 19).
#[cfg(target_os = "linux")]
fn threads(pid: u32) -> Vec<(String, i32)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    // A thread may end while others are looked at.
    let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
    stats
        .map(|stat| {
            let (name, fields) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")).expect("a name");
            let niceness = fields.split(' ').nth(19 - 3).expect("a field").parse().expect("a number");
            (name.to_owned(), niceness)
        })
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn those_who_mine_give_way_to_all_others() {
    let root = tempfile::tempdir().unwrap();
    let node = miner(root.path(), &["--threads", "3"]);
    let own = threads(std::process::id())[0].1;
    let found = eventually("three threads mine", || {
        let found = threads(node.pid());
        Some(found.clone()).filter(|found| found.iter().filter(|(name, _)| name == "miner").count() == 3)
    });
    assert!(found.iter().any(|(name, _)| name == "engine"), "{found:?}");
    for (name, niceness) in &found {
        assert_eq!(*niceness, if name == "miner" { 19 } else { own }, "{name} of {found:?}");
    }
}

#[test]
fn a_node_mines_as_is_fastest_or_as_it_is_told_and_says_so_once() {
    let says = |log: &str, words: &str| log.lines().filter(|line| line.contains(words)).count();
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev"]);
    let height = || node.call("node_info", json!([])).unwrap()["height"].as_u64();
    eventually("blocks are mined", || height().filter(|height| *height >= 3));
    let text = log(root.path());
    assert_eq!(says(&text, "mining with the kernel that was fastest in a trial kernel="), 1, "{text}");
    node.kill();

    // The file names the slowest, which no trial would choose; the flag overrides it.
    let other = Kernel::available().last().expect("one runs everywhere").name();
    for (flag, kernel) in [(&[][..], "portable"), (&["--kernel", other], other)] {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("node.toml");
        fs::write(&file, "kernel = 'portable'").unwrap();
        let node = miner(root.path(), &[&["--config", file.to_str().unwrap(), "--threads", "1"], flag].concat());
        let line = format!("mining with the kernel that was named kernel={kernel} rate_of_a_thread=\"");
        eventually("it says how it mines", || Some(()).filter(|()| says(&log(root.path()), &line) == 1));
        let speed = || node.call("node_info", json!([])).unwrap()["mining"]["hashes_per_second"].as_u64();
        eventually("it mines", || speed().filter(|speed| *speed > 0));
    }
}

#[test]
fn every_kernel_is_measured_without_a_node() {
    let root = tempfile::tempdir().unwrap();
    let names: Vec<&str> = Kernel::available().map(|kernel| kernel.name()).collect();
    let value = bench_json(root.path(), &["--threads", "3"]);
    let rows = value["rows"].as_array().unwrap();
    for (row, name) in rows.iter().zip(&names) {
        let row = row.as_object().unwrap();
        assert_eq!(row.keys().collect::<Vec<_>>(), ["hashes_per_second", "kernel", "threads"]);
        assert_eq!((&row["kernel"], &row["threads"]), (&json!(name), &json!(3)));
        assert!(row["hashes_per_second"].as_u64().is_some_and(|speed| speed > 1_000), "{row:?}");
    }
    assert_eq!(rows.len(), names.len());
    let chosen = rows.iter().find(|row| row["kernel"] == value["chosen"]).expect("one of them is chosen");
    assert_eq!(value["bits"], json!(main_params().bits));
    assert_eq!(value["difficulty_of"], "the genesis of drystone");
    let hashes = value["expected_seconds_to_block"].as_f64().unwrap() * chosen["hashes_per_second"].as_f64().unwrap();
    assert!((hashes / f64::from(1 << 24) - 1.0).abs() < 0.001, "{hashes} hashes");

    // One thread, more, and at last one for each core.
    let value = bench_json(root.path(), &[]);
    let threads = |name: &str| -> Vec<u64> {
        let rows = value["rows"].as_array().unwrap().iter().filter(|row| row["kernel"] == name);
        rows.map(|row| row["threads"].as_u64().unwrap()).collect()
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    for name in &names {
        let threads = threads(name);
        assert_eq!((threads.first(), threads.last()), (Some(&1), Some(&cores)), "{name}");
    }

    let ended = bench(root.path(), &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("kernel    threads  hash rate"), "{ended:?}");
    assert!(names.iter().all(|name| lines.iter().any(|line| line.starts_with(name))), "{ended:?}");
    assert!(lines[lines.len() - 1].starts_with("expected    a block in about "), "{ended:?}");
}

#[test]
fn the_difficulty_is_that_of_the_node_or_of_the_genesis_that_is_named() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    let (data, address) = (node.data_dir.clone(), node.address.to_string());
    let data = data.to_str().unwrap();
    let of = |arguments: &[&str]| {
        let value = bench_json(root.path(), &[&["--threads", "1"], arguments].concat());
        (value["difficulty_of"].as_str().unwrap().to_owned(), value["bits"].clone())
    };
    let dev = |of: &str| (format!("the {of} of drystone-dev"), json!(dev_params().bits));
    assert_eq!(of(&["--rpc", &address]), dev("tip"));
    assert_eq!(of(&["--data-dir", data]), dev("tip"));
    let endless = endless(root.path());
    let named = ("the genesis of endless".to_owned(), json!("1500ffff"));
    assert_eq!(of(&["--data-dir", data, "--genesis", &endless]), named);

    node.kill();
    assert_eq!(of(&["--data-dir", data]), dev("genesis"));
    for (arguments, code, words) in [
        (["--rpc", &address], 1, "no node answers"),
        (["--genesis", "nowhere.json"], 1, "cannot read the genesis file nowhere.json"),
        (["--seconds", "0"], 2, "0.01"),
        (["--threads", "0"], 2, "1..=1024"),
    ] {
        let ended = bench(root.path(), &arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{ended:?}");
        assert!(ended.stderr.contains(words) && ended.stderr.contains("\nnext: "), "{ended:?}");
    }
}

/// A program that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_miner_in_another_process_needs_nothing_but_rpc() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    let (url, to) = (format!("http://{}", node.address), address(3));
    let mut command = program("examples/miner", root.path());
    command.args([&url, &to, "2"]).stdout(File::create(root.path().join("mined")).unwrap());
    let miner = Running(command.spawn().unwrap());
    let rewarded = |height: u64| node.call("chain_block", json!([height])).unwrap()["reward_to"].clone();
    let height = || node.call("chain_head", json!([])).unwrap()["height"].as_u64().unwrap();
    eventually("it mines", || (height() >= 3).then_some(()));
    // Somebody else's block: its work is void, and it goes on from there.
    let hash = node.call("mining_generate", json!([1, address(9)])).unwrap()[0].clone();
    let other = node.call("chain_header", json!([hash])).unwrap()["height"].as_u64().unwrap();
    eventually("it goes on", || (height() >= other + 3).then_some(()));
    for height in 1..=other + 3 {
        assert_eq!(rewarded(height), if height == other { address(9) } else { to.clone() }, "height {height}");
    }
    drop(miner);
    let mined = fs::read_to_string(root.path().join("mined")).unwrap();
    let taken = mined.lines().filter(|line| line.starts_with("block ") && line.ends_with(" so far")).count() as u64;
    assert!(taken > other, "{mined}");

    for (arguments, words) in [
        (&[&*url, "tdry1nobody"][..], "tdry1nobody"),
        (&["http://127.0.0.1:1", &to], "http://127.0.0.1:1/rpc"),
        (&[&url], "usage: miner"),
        (&[&url, &to, "0"], "usage: miner"),
    ] {
        let ended = run(program("examples/miner", root.path()).args(arguments));
        assert!(
            ended.code == Some(1) && ended.stderr.starts_with("error: ") && ended.stderr.contains(words),
            "{ended:?}"
        );
    }
}

#[test]
fn ctrl_c_ends_a_measurement() {
    let root = tempfile::tempdir().unwrap();
    let mut command = program("drystone-node", root.path());
    command.args(["bench-miner", "--seconds", "3600"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
    assert!(!eventually("it ends", || child.try_wait().unwrap()).success());
}
