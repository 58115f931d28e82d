//! The real node program, started in a directory of its own on free ports, and a plain HTTP client for its RPC.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::http::HeaderName;
use tungstenite::{WebSocket, client, client::IntoClientRequest};

/// How long a node may take to start or to end before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a program may take that is to end by itself.
const RUN_PATIENCE: Duration = Duration::from_secs(120);

/// How long a test waits for a reply. Longer than the node's own limits, so that it is the node that gives up.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// The path of a program of this workspace, built first; an example is `examples/NAME`.
///
/// # Panics
/// If it cannot be built.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // The whole workspace, as the tests themselves are built: other choices would turn on other features, and build all anew.
        let arguments = ["build", "--quiet", "--locked", "--workspace", "--bins", "--examples"];
        let mut command = Command::new(cargo);
        // What cargo tells a test of its package would be taken for a change by build scripts that look at it (ring's does).
        for (name, _) in env::vars_os() {
            if ["CARGO_MANIFEST_", "CARGO_PKG_"]
                .iter()
                .any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()))
            {
                command.env_remove(name);
            }
        }
        let built = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(built.is_ok_and(|status| status.success()), "the programs cannot be built");
        // Test programs stand in target/<profile>/deps, the programs themselves one above. Tests run unoptimised.
        let test = env::current_exe().expect("a running program has a path");
        let target = test.ancestors().nth(3).expect("target/<profile>/deps/<test>");
        target.join("debug")
    });
    directory.join(name)
}

/// A program of this workspace, ready for its arguments: at home in `home`, with none of the settings of whoever runs the
/// tests, and with nobody to answer its questions.
pub fn program(name: &str, home: &Path) -> Command {
    at_home(Command::new(binary(name)), home)
}

fn at_home(mut command: Command, home: &Path) -> Command {
    for variable in ["DRYSTONE_DATA_DIR", "DRYSTONE_KEYSTORE", "DRYSTONE_LOG", "DRYSTONE_RPC", "DRYSTONE_WALLET_CONFIG"]
    {
        command.env_remove(variable);
    }
    command.env("HOME", home).stdin(Stdio::null());
    command
}

/// What a program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code; nothing if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Panics
/// If it cannot be started, or does not end.
pub fn run(command: &mut Command) -> Ended {
    run_within(command, RUN_PATIENCE)
}

/// Runs a program to its end, which may take so long.
///
/// # Panics
/// If it cannot be started, or does not end.
pub fn run_within(command: &mut Command, patience: Duration) -> Ended {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a program that can be started");
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if Instant::now() > deadline {
            let doing = doing(child.id());
            // Fails only where it has ended after all.
            let _ = child.kill();
            panic!("it does not end: {command:?}\n{doing}");
        }
        sleep(Duration::from_millis(5));
    };
    let text = |pipe: thread::JoinHandle<String>| pipe.join().expect("a reader does not panic");
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// What each thread of a program does, as far as the system tells: its state, the system call, the kernel's stack; and its open
/// files, with all TCP sockets of its network.
fn doing(pid: u32) -> String {
    let read = |path: String| fs::read_to_string(&path).map(|text| format!("{path}\n{text}\n")).unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_thread = |thread: fs::DirEntry| {
        ["stat", "wchan", "syscall", "stack"].map(|file| read(format!("{}/{file}", thread.path().display()))).concat()
    };
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let open = |file: fs::DirEntry| fs::read_link(file.path()).map(|at| format!("{}\n", at.display())).ok();
    let sockets = read(format!("/proc/{pid}/net/tcp"));
    threads.map(of_thread).chain(files.filter_map(open)).chain([sockets]).collect()
}

/// Reads a pipe to its end on a thread of its own, so that no program waits for a reader.
fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    let mut pipe = pipe.expect("it was asked for");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before a failure is all there is.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Polls until there is a value.
///
/// # Panics
/// If there is none for long.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + RUN_PATIENCE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "it never happened: {what}");
        sleep(Duration::from_millis(10));
    }
}

/// A running node. It is killed when dropped.
pub struct Node {
    child: Child,
    /// Where it answers.
    pub address: SocketAddr,
    /// Its data directory.
    pub data_dir: PathBuf,
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

impl Node {
    /// Starts `drystone-node` with `arguments` (the command first), at home in `root`, with data in `<root>/data`, its log in
    /// `<root>/log` and what it prints in `<root>/out`, and waits until it has written where it answers.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(root: &Path, arguments: &[&str]) -> Node {
        Node::launch(root, program("drystone-node", root), arguments)
    }

    /// As [`Node::start`], where the system lets the node open so many files.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with_files(root: &Path, files: usize, arguments: &[&str]) -> Node {
        let mut command = at_home(Command::new("sh"), root);
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &files.to_string()]).arg(binary("drystone-node"));
        Node::launch(root, command, arguments)
    }

    fn launch(root: &Path, mut command: Command, arguments: &[&str]) -> Node {
        let data_dir = root.join("data");
        let log = File::options().create(true).append(true).open(root.join("log")).expect("a writable directory");
        let out = File::create(root.join("out")).expect("a writable directory");
        command.args(arguments).args(["--rpc", "127.0.0.1:0", "--data-dir"]).arg(&data_dir);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let child = command.stdout(out).stderr(log).spawn().expect("a program that was just built");
        let mut node = Node { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), data_dir };
        let deadline = Instant::now() + PATIENCE;
        while node.address.port() == 0 {
            let ended = node.child.try_wait().expect("a child can be waited for").is_some();
            if ended || Instant::now() > deadline {
                panic!("the node did not start: {}", fs::read_to_string(root.join("log")).unwrap_or_default());
            }
            if let Some(address) = node.noted_address() {
                node.address = address;
            }
            sleep(Duration::from_millis(10));
        }
        node
    }

    /// The address in `node.json`, if this very process wrote it.
    fn noted_address(&self) -> Option<SocketAddr> {
        let note: Value = serde_json::from_str(&fs::read_to_string(self.data_dir.join("node.json")).ok()?).ok()?;
        let own = note["pid"] == json!(self.child.id());
        note["rpc"].as_str().filter(|_| own)?.parse().ok()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The cookie of this run.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn cookie(&self) -> String {
        fs::read_to_string(self.data_dir.join(".cookie")).expect("a running node has a cookie")
    }

    /// Calls a method with the cookie: its result, or the error object.
    ///
    /// # Panics
    /// If the node does not answer, or not in JSON-RPC.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let authorization = format!("Bearer {}", self.cookie());
        let response = self.post(&[("authorization", &authorization)], &request_of(method, &params));
        outcome_of(&response)
    }

    /// Calls a method that needs no cookie, on a node that may be gone.
    ///
    /// # Errors
    /// If the connection breaks before a whole response has come.
    ///
    /// # Panics
    /// If the node answers, but not in JSON-RPC.
    pub fn try_call(&self, method: &str, params: Value) -> io::Result<Result<Value, Value>> {
        let headers = [("content-type", "application/json")];
        let response = self.request("POST", "/rpc", &headers, &request_of(method, &params))?;
        Ok(outcome_of(&response))
    }

    /// Runs the wallet on this node, at home beside its data.
    ///
    /// # Panics
    /// If the wallet does not end.
    pub fn wallet(&self, arguments: &[&str]) -> Ended {
        let home = self.data_dir.parent().expect("the data lie in a directory");
        run(program("drystone-wallet", home).args(["--rpc", &self.address.to_string()]).args(arguments))
    }

    /// Posts a JSON body to `/rpc` with further headers.
    ///
    /// # Panics
    /// If the node does not answer.
    pub fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut headers = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json"));
        }
        self.request("POST", "/rpc", &headers, body).expect("the node answers")
    }

    /// Sends one request on a connection of its own.
    ///
    /// # Errors
    /// If the connection breaks before a whole response has come.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut stream = self.connect()?;
        // A node that refuses early stops reading; its response is there all the same.
        let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
        read_response(&mut stream)
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// If the node does not accept it.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(stream)
    }

    /// Opens a WebSocket to `/rpc` with further headers.
    ///
    /// # Errors
    /// If the node refuses it.
    pub fn websocket(&self, headers: &[(&str, &str)]) -> Result<WebSocket<TcpStream>, String> {
        let mut request = format!("ws://{}/rpc", self.address).into_client_request().expect("a good address");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a good name");
            request.headers_mut().insert(name, value.parse().expect("a good value"));
        }
        let stream = self.connect().map_err(|error| error.to_string())?;
        client(request, stream).map(|(socket, _)| socket).map_err(|error| error.to_string())
    }

    /// Sends it a signal, such as `KILL`.
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal cannot be sent");
    }

    /// Ends it as a supervisor would and waits for it.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        self.signal("TERM");
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return (status, started.elapsed());
            }
            assert!(started.elapsed() < PATIENCE, "the node does not end");
            sleep(Duration::from_millis(5));
        }
    }

    /// Kills it without warning.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request_of(method: &str, params: &Value) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string().into_bytes()
}

fn outcome_of(response: &Response) -> Result<Value, Value> {
    let mut reply: Value = serde_json::from_str(&response.body).expect(&response.body);
    match reply.get_mut("error") {
        Some(error) => Err(error.take()),
        None => Ok(reply["result"].take()),
    }
}

/// Reads a response with a content length, as far as the connection gives it.
///
/// # Errors
/// If the connection ends first.
pub fn read_response(stream: &mut TcpStream) -> io::Result<Response> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(response) = parse_response(&bytes) {
            return Ok(response);
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

fn parse_response(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
    let body = bytes[end + 4..].get(..length)?;
    Some(Response { status, body: String::from_utf8_lossy(body).into_owned() })
}
