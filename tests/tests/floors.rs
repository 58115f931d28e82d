//! The floors of the house: which room may name what. Imports point down only, and some words belong to the shell alone.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that no file below the shell may contain: clocks, sockets, disks, randomness of the system, async.
const CORE_FORBIDS: &[&str] = &[
    "SystemTime",
    "Instant::",
    "std::net",
    "std::fs",
    "std::io",
    "std::env",
    "tokio",
    "libp2p",
    "redb",
    "getrandom",
    "OsRng",
    "SysRng",
    "thread_rng",
    "async ",
    ".await",
    "from_os_rng",
    "RandomState",
    "HashMap",
    "HashSet",
];
const ENGINE_FORBIDS: &[&str] = &[
    "tokio",
    "libp2p",
    "SystemTime",
    "Instant::",
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "getrandom",
    "OsRng",
    "SysRng",
    "thread_rng",
    "from_os_rng",
    "async ",
    ".await",
    "HashMap",
    "HashSet",
    "RandomState",
    "Mutex",
    "RwLock",
];

/// The floors of core, lowest first. A room imports from lower floors and its own.
const CORE_FLOORS: &[&[&str]] = &[
    &["hash", "amount", "encode", "pow", "key", "address"],
    &["merkle", "transaction", "block"],
    &["params", "genesis", "difficulty", "subsidy"],
    &["state"],
    &["validation"],
    &["miner", "light", "api"],
];

/// What rooms of the node import of each other: the room, and what it must not name.
const NODE_ROOMS: &[(&str, &[&str])] = &[
    ("store", &["engine", "metrics", "rpc", "node", "config", "mailbox", "commands"]),
    ("engine", &["metrics", "rpc", "node", "config", "mailbox", "commands"]),
    ("metrics", &["rpc", "node", "config", "mailbox", "commands"]),
    ("rpc", &["node", "config", "commands"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests stand inside the workspace").to_owned()
}

/// Every Rust file below `path`, a file or a folder, with its code: comments and test modules left out.
fn sources(path: &Path) -> Vec<(PathBuf, String)> {
    if path.is_dir() {
        let mut entries: Vec<_> =
            fs::read_dir(path).expect("readable").map(|entry| entry.expect("entry").path()).collect();
        entries.sort();
        return entries.iter().flat_map(|entry| sources(entry)).collect();
    }
    if path.extension().is_none_or(|extension| extension != "rs") {
        return Vec::new();
    }
    let text = fs::read_to_string(path).expect("readable");
    // A module of tests in the file ends its code; one that is declared for another file does not.
    let code = text.split("#[cfg(test)]\nmod tests {").next().expect("split gives a first part");
    if code.contains("#![cfg(test)]") || is_test_module(path) {
        return Vec::new();
    }
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    vec![(path.to_owned(), lines.collect::<Vec<_>>().join("\n"))]
}

/// Whether the file is a module that only tests compile: its parent declares it so.
fn is_test_module(path: &Path) -> bool {
    let name = path.file_stem().expect("a file has a name").to_string_lossy();
    let folder = path.parent().expect("a file has a folder");
    let declaration = format!("#[cfg(test)]\nmod {name};");
    [folder.join("mod.rs"), folder.with_extension("rs"), folder.join("lib.rs")]
        .iter()
        .any(|parent| fs::read_to_string(parent).is_ok_and(|text| text.contains(&declaration)))
}

fn offences(path: &Path, forbidden: &[&str]) -> Vec<String> {
    let files = sources(path);
    assert!(!files.is_empty(), "no sources below {}", path.display());
    let offends = |(file, code): &(PathBuf, String)| {
        forbidden
            .iter()
            .filter(|word| code.contains(**word))
            .map(|word| format!("{}: {word}", file.display()))
            .collect()
    };
    files.iter().flat_map(|file| -> Vec<String> { offends(file) }).collect()
}

#[test]
fn core_names_no_clock_socket_disk_randomness_or_async() {
    assert_eq!(offences(&root().join("core/src"), CORE_FORBIDS), [""; 0]);
}

#[test]
fn the_engine_names_no_runtime_network_clock_or_randomness() {
    assert_eq!(offences(&root().join("node/src/engine"), ENGINE_FORBIDS), [""; 0]);
}

#[test]
fn core_imports_point_down() {
    let mut wrong = Vec::new();
    for (floor, rooms) in CORE_FLOORS.iter().enumerate() {
        let above: Vec<String> =
            CORE_FLOORS[floor + 1..].concat().iter().map(|room| format!("crate::{room}::")).collect();
        let above: Vec<&str> = above.iter().map(String::as_str).collect();
        for room in *rooms {
            let file = root().join(format!("core/src/{room}.rs"));
            let path = if file.exists() { file } else { root().join(format!("core/src/{room}")) };
            wrong.extend(offences(&path, &above));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn every_room_of_core_has_a_floor() {
    let library = fs::read_to_string(root().join("core/src/lib.rs")).expect("readable");
    for line in library.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let room = line.trim_end_matches(';');
        assert!(CORE_FLOORS.concat().contains(&room), "core/src/{room} stands on no floor");
    }
}

#[test]
fn node_imports_point_down() {
    let mut wrong = Vec::new();
    for (room, above) in NODE_ROOMS {
        let above: Vec<String> = above.iter().map(|room| format!("crate::{room}::")).collect();
        let above: Vec<&str> = above.iter().map(String::as_str).collect();
        wrong.extend(offences(&root().join("node/src").join(room), &above));
    }
    assert_eq!(wrong, [""; 0]);
}

/// The files that may contain `unsafe`: the vector kernels of the miner.
const UNSAFE_FILES: &[&str] = &["avx2", "avx512", "sha_ni"];

/// The lines of a table of a manifest, comments left out.
fn table(manifest: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(manifest)).expect("readable");
    let lines = text.lines().skip_while(|line| *line != name).skip(1).take_while(|line| !line.starts_with('['));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn unsafe_code_lives_in_the_vector_kernels_alone() {
    // Every crate has the workspace's lints, which forbid it. Core's own list differs in this one word.
    for manifest in ["node/Cargo.toml", "wallet-cli/Cargo.toml", "tests/Cargo.toml"] {
        assert_eq!(table(manifest, "[lints]"), ["workspace = true"], "{manifest}");
    }
    let forbidding = table("Cargo.toml", "[workspace.lints.rust]");
    assert!(forbidding.contains(&"unsafe_code = \"forbid\"".to_owned()), "{forbidding:?}");
    let denying: Vec<String> = forbidding.iter().map(|line| line.replace("\"forbid\"", "\"deny\"")).collect();
    assert_eq!(table("core/Cargo.toml", "[lints.rust]"), denying);
    assert_eq!(table("core/Cargo.toml", "[lints.clippy]"), table("Cargo.toml", "[workspace.lints.clippy]"));

    // In core the miner allows it, for those files, and nobody else does.
    let allowed: Vec<String> = UNSAFE_FILES.iter().map(|file| format!("mod {file};")).collect();
    for bench in sources(&root().join("core/benches")) {
        assert!(!bench.1.contains("unsafe"), "{}", bench.0.display());
    }
    let files = sources(&root().join("core/src"));
    let mut allowing = Vec::new();
    for (file, code) in &files {
        for (line, next) in code.lines().zip(code.lines().skip(1)) {
            if line.contains("unsafe_code") {
                assert!(file.ends_with("miner/mod.rs"), "{} allows unsafe code", file.display());
                allowing.push(next.to_owned());
            }
        }
    }
    assert_eq!(allowing, allowed);
    for (file, code) in &files {
        let name = file.file_stem().expect("a file has a name").to_string_lossy();
        let may = UNSAFE_FILES.contains(&name.as_ref());
        assert_eq!(code.contains("unsafe {"), may, "{}", file.display());
        if may {
            let text = fs::read_to_string(file).expect("readable");
            assert_eq!(text.matches("unsafe {").count(), text.matches("// SAFETY: ").count(), "{}", file.display());
        }
    }
}

#[test]
fn the_words_that_are_looked_for_are_found() {
    assert_ne!(offences(&root().join("node/src/node.rs"), ENGINE_FORBIDS), [""; 0], "the shell starts threads");
    // Below the declaration of a module of tests, the code goes on and is scanned.
    assert_ne!(offences(&root().join("core/src/state/mod.rs"), &["fn from_bytes"]), [""; 0]);
    assert_ne!(offences(&root().join("node/src/engine/mempool/mod.rs"), &["fn candidates"]), [""; 0]);
}
