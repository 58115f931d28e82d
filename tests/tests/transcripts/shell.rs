//! A shell for one page: an empty home, an empty directory, the programs on its path, and nodes that it starts in the background.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use drystone_tests::program::{binary, eventually};
use serde_json::Value;
use tempfile::TempDir;

use crate::page::{Step, assert_shows, missing};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// What stands on a line of its own, before the exit code, when a command has ended.
const ENDED: &str = "--- ended with ";

/// What the shell knows before it reads the page.
const PRELUDE: &str = "\
NODES=
end_nodes() { [ -z \"$NODES\" ] || { kill -s $1 $NODES; wait $NODES; NODES=; true; } 2>/dev/null; }
read_ini() {
    sed -n 's/^ExecStart=//p' | while read -r program flags; do ${program##*/} $flags --help >/dev/null || return 1; done
}
";

pub(crate) struct Shell {
    directory: TempDir,
    bash: Child,
    input: ChildStdin,
    /// What it prints, line by line.
    lines: Receiver<String>,
    /// How many nodes it has started.
    nodes: usize,
}

impl Shell {
    /// A shell that knows `functions` beside.
    pub(crate) fn new(functions: &str) -> Shell {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().join(name);
        for name in ["home", "work", "bin"] {
            fs::create_dir(path(name)).expect("a writable directory");
        }
        let node = binary("drystone-node");
        symlink(&node, path("bin/drystone-node")).expect("a writable directory");
        // Nobody sits at the keyboard: the password comes from a file.
        fs::write(path("password"), "secret\n").expect("a writable directory");
        let wallet = binary("drystone-wallet");
        let wrapper =
            format!("#!/bin/sh\nexec '{}' --password-file '{}' \"$@\"\n", wallet.display(), path("password").display());
        fs::write(path("bin/drystone-wallet"), wrapper).expect("a writable directory");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path("bin/drystone-wallet"), executable).expect("its owner may");
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        symlink(scripts, path("work/scripts")).expect("a writable directory");

        let search = format!("{}:{}", path("bin").display(), std::env::var("PATH").expect("a path"));
        let mut command = Command::new("bash");
        for variable in ["DRYSTONE_DATA_DIR", "DRYSTONE_KEYSTORE", "DRYSTONE_LOG", "DRYSTONE_RPC", "DRYSTONE_TESTNET"] {
            command.env_remove(variable);
        }
        command.env("PATH", search).env("HOME", path("home")).current_dir(path("work"));
        command.env("DRYSTONE_BIN", node.parent().expect("a program lies in a directory"));
        let mut bash = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
        let mut input = bash.stdin.take().expect("it was asked for");
        input.write_all(format!("{PRELUDE}{functions}").as_bytes()).expect("a running shell");
        let output = bash.stdout.take().expect("it was asked for");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Shell { directory, bash, input, lines, nodes: 0 }
    }

    /// Types one command: it must print what the page shows, and fail only where the page shows an error.
    pub(crate) fn run(&mut self, command: &str, step: &Step) {
        if command.starts_with("drystone-node dev") || command.starts_with("drystone-node run") {
            return self.start_node(command, step);
        }
        let (code, output) = self.type_in(&format!("{{ {command}\n}} 2>&1 </dev/null"));
        assert_shows(step, &output);
        let refused = step.expected.iter().any(|line| line.starts_with("error: "));
        assert_eq!(code != 0, refused, "`{command}` ended with {code}:\n{output}");
    }

    /// A node runs in the background, as in a terminal of its own, and the wallet asks the one that was started last.
    fn start_node(&mut self, command: &str, step: &Step) {
        self.nodes += 1;
        let output = self.directory.path().join(format!("node{}", self.nodes));
        // Port 0 instead of the default ports, which may be in use on this machine.
        let listen = if command.contains("--listen") { "" } else { "--listen 127.0.0.1:0" };
        let line = format!("{command} --rpc 127.0.0.1:0 {listen} >{} 2>&1 </dev/null &", output.display());
        let (_, pid) = self.type_in(&format!("{line}\nNODES=\"$NODES $!\"; echo $!"));
        let pid: u32 = pid.trim().parse().expect("a process id");
        let said = || fs::read_to_string(&output).unwrap_or_default();
        let note = eventually("the node answers", || {
            let running = Path::new("/proc").join(pid.to_string()).exists();
            assert!(running || !Path::new("/proc/self").exists(), "`{command}` ended:\n{}", said());
            self.note(pid)
        });
        eventually(&format!("`{command}` prints {:?}", step.expected), || {
            missing(step, &said()).is_none().then_some(())
        });
        let address = |name: &str| note[name].as_str().expect("an address").to_owned();
        let (rpc, listens) = (address("rpc"), address("p2p"));
        self.type_in(&format!("export DRYSTONE_RPC={rpc}\nNODE_LISTENS={listens}"));
    }

    /// What the node with this process id has written into its data directory.
    fn note(&self, pid: u32) -> Option<Value> {
        let inside = |path: &Path| -> Vec<_> {
            fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
        };
        let homes = [self.directory.path().join("work"), self.directory.path().join("home/.drystone")];
        homes.iter().flat_map(|home| inside(home)).find_map(|data| {
            let note: Value = serde_json::from_str(&fs::read_to_string(data.join("node.json")).ok()?).ok()?;
            (note["pid"] == pid).then_some(note)
        })
    }

    /// Has the shell read some lines: the last exit code, and what was printed.
    fn type_in(&mut self, lines: &str) -> (i32, String) {
        let text = format!("{lines}\nCODE=$?; echo; echo \"{ENDED}$CODE\"\n");
        self.input.write_all(text.as_bytes()).expect("a running shell");
        let mut output = String::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no end of: {lines}\n{output}"));
            if let Some(code) = line.strip_prefix(ENDED) {
                return (code.parse().expect("an exit code"), output);
            }
            output += &format!("{line}\n");
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // A page that stops in the middle leaves its nodes and its network running. All of this may have ended already.
        let down = "end_nodes KILL; [ ! -d testnet ] || scripts/testnet.sh down >/dev/null 2>&1; exit\n";
        let _ = self.input.write_all(down.as_bytes());
        let _ = self.bash.wait();
    }
}
