//! The README's transcript is true: its commands are typed here, in its order, and must print what it shows.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use drystone_tests::program::binary;
use serde_json::Value;

const README: &str = include_str!("../../README.md");

/// How long anything in the transcript may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command of the transcript with the lines that it must print, in order, with others between them.
struct Typed {
    words: Vec<String>,
    expected: Vec<String>,
}

/// Every command of every `console` block.
fn transcript() -> Vec<Typed> {
    let mut typed: Vec<Typed> = Vec::new();
    let blocks = README.split("```console\n").skip(1).map(|rest| rest.split("```").next().expect("a closed block"));
    for line in blocks.flat_map(str::lines) {
        match line.strip_prefix("$ ") {
            Some(command) => {
                let words = command.split_whitespace().map(str::to_owned).collect();
                typed.push(Typed { words, expected: Vec::new() });
            }
            None => typed.last_mut().expect("output follows a command").expected.push(line.to_owned()),
        }
    }
    typed
}

/// Whether `line` is what `pattern` shows, where `…` stands for anything.
fn shows(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|start| line.strip_prefix(start)) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (i, part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        let at = if last && !part.is_empty() { rest.rfind(part) } else { rest.find(part) };
        let Some(at) = at else { return false };
        rest = if part.is_empty() && last { "" } else { &rest[at + part.len()..] };
    }
    rest.is_empty()
}

fn assert_shows(typed: &Typed, output: &str) {
    let mut lines = output.lines();
    for expected in &typed.expected {
        let found = lines.any(|line| shows(expected, line));
        assert!(found, "`{}` does not print, in its place: {expected}\nit printed:\n{output}", typed.words.join(" "));
    }
}

/// A node that is killed when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have been killed already, as the transcript tells.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_node(typed: &Typed, home: &Path) -> (Running, String) {
    let output = home.join("output");
    let file = File::create(&output).expect("a writable directory");
    let mut command = Command::new(binary("drystone-node"));
    // Port 0 instead of the default port, which may be in use on this machine.
    command.args(&typed.words[1..]).args(["--rpc", "127.0.0.1:0"]).env("HOME", home).current_dir(home);
    let child = command.stdout(file).stderr(Stdio::null()).spawn().expect("a program that was just built");
    let node = Running(child);
    let note = home.join(".drystone/drystone-dev/node.json");
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the node did not start");
        sleep(Duration::from_millis(20));
        let Ok(text) = fs::read_to_string(&note) else { continue };
        let printed = fs::read_to_string(&output).expect("readable");
        if printed.contains("--wait") {
            assert_shows(typed, &printed);
            let note: Value = serde_json::from_str(&text).expect("node.json is JSON");
            return (node, note["rpc"].as_str().expect("an address").to_owned());
        }
    }
}

#[test]
fn the_transcript_is_true() {
    let home = tempfile::tempdir().expect("temporary directory");
    let mut node: Option<(Running, String)> = None;
    let mut commands = 0;
    for typed in transcript() {
        commands += 1;
        match (typed.words[0].as_str(), &mut node) {
            ("drystone-node", None) => node = Some(start_node(&typed, home.path())),
            ("pkill", Some((node, _))) => {
                node.0.kill().expect("SIGKILL");
                node.0.wait().expect("ended");
            }
            (program, Some((_, rpc))) => {
                let mut command = Command::new(binary(program));
                command.args(&typed.words[1..]).env("HOME", home.path()).env("DRYSTONE_RPC", rpc);
                let output = command.current_dir(home.path()).output().expect("a program that was just built");
                let printed = String::from_utf8_lossy(&output.stdout);
                let complaints = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{}: {complaints}", typed.words.join(" "));
                assert_shows(&typed, &printed);
            }
            (program, None) => panic!("{program} before any node"),
        }
    }
    assert!(commands >= 5, "the README has a transcript");
}

#[test]
fn patterns_are_strict_outside_their_dots() {
    assert!(shows("a … c", "a b c"));
    assert!(shows("supply …, exactly", "supply 1 + 1 = 2, exactly"));
    assert!(shows("height …", "height 5 of"));
    assert!(!shows("a … c", "a b d"));
    assert!(!shows("a", "ab"));
    assert!(!shows("supply …, exactly", "supply 1, exactly!"));
}
