//! The relay between namespaces, met with real sockets: latency, rate, loss, cuts, and nothing left behind.
//!
//! Lower bounds of times are exact, upper ones have tenfold slack: a busy machine makes a network slower, never faster.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use drystone_tests::program::eventually;
use drystone_tests::wan::{Addresses, Link, MS, Options, SECOND, Wan, may_run};

/// Where servers listen.
const PORT: u16 = 7_000;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port of a host.
fn at(wan: &Wan, host: usize) -> SocketAddr {
    (wan.address(host), PORT).into()
}

fn udp(wan: &Wan, host: usize) -> UdpSocket {
    let socket = wan.inside(host, || UdpSocket::bind(at(wan, host))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// How long a datagram takes there and back.
fn round_trip(wan: &Wan, from: (usize, &UdpSocket), to: (usize, &UdpSocket)) -> Duration {
    let (started, mut buffer) = (Instant::now(), [0; 16]);
    from.1.send_to(b"there", at(wan, to.0)).unwrap();
    let (_, sender) = to.1.recv_from(&mut buffer).unwrap();
    assert_eq!(sender, at(wan, from.0), "no address is translated");
    to.1.send_to(b"back", sender).unwrap();
    from.1.recv_from(&mut buffer).unwrap();
    started.elapsed()
}

/// Sends `bytes` between two hosts over one TCP connection: bytes a second once it stands.
fn transfer(wan: &Wan, from: usize, to: usize, bytes: usize) -> u64 {
    let listener = wan.inside(to, || TcpListener::bind(at(wan, to))).unwrap();
    let mut sender = wan.inside(from, || TcpStream::connect(at(wan, to))).unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    let started = Instant::now();
    let sending = thread::spawn(move || {
        let chunk = vec![7; 1 << 16];
        (0..bytes.div_ceil(chunk.len())).for_each(|_| sender.write_all(&chunk).unwrap());
    });
    let (mut chunk, mut received) = (vec![0; 1 << 18], 0);
    loop {
        match receiver.read(&mut chunk).unwrap() {
            0 => break,
            read => received += read,
        }
    }
    sending.join().unwrap();
    assert!(received >= bytes);
    (received as f64 / started.elapsed().as_secs_f64()) as u64
}

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

#[test]
fn unequal_links_have_their_latencies_each_way() {
    if !may_run("unequal_links_have_their_latencies_each_way") {
        return;
    }
    let latency = |from: usize, to: usize| [[0, 50, 0], [20, 0, 0], [150, 0, 0]][from][to] * MS;
    let wan = Wan::new(3, |from, to| Some(Link::after(latency(from, to)))).unwrap();
    let sockets = [0, 1, 2].map(|host| udp(&wan, host));
    for (one, other, expected) in [(0, 1, 70), (0, 2, 150), (1, 2, 0)] {
        let trips = (0..5).map(|_| round_trip(&wan, (one, &sockets[one]), (other, &sockets[other])));
        let trips: Vec<Duration> = trips.collect();
        let (fastest, expected) = (*trips.iter().min().unwrap(), Duration::from_millis(expected));
        assert!(fastest >= expected && fastest < 10 * expected + Duration::from_secs(1), "{one} {other}: {trips:?}");
    }
    assert_eq!(wan.counters(0, 1).packets, 5);
    assert_eq!(wan.counters(0, 1).bytes, 5 * (20 + 8 + 5));
}

#[test]
fn a_rate_bounds_what_a_connection_gets() {
    if !may_run("a_rate_bounds_what_a_connection_gets") {
        return;
    }
    let wan = Wan::new(2, |_, _| Some(Link { rate: 1_000_000, ..Link::after(5 * MS) })).unwrap();
    let rate = transfer(&wan, 0, 1, 2_000_000);
    assert!((100_000..1_000_000).contains(&rate), "{rate}");
    // Below the limit because there is one, not because nothing goes faster.
    wan.set_both(0, 1, Some(Link { rate: 20_000_000, ..Link::after(5 * MS) }));
    let fast = transfer(&wan, 0, 1, 20_000_000);
    assert!(fast > 2 * rate && fast < 20_000_000, "{fast}");
}

#[test]
fn lost_packets_are_lost_and_counted() {
    if !may_run("lost_packets_are_lost_and_counted") {
        return;
    }
    let wan = Wan::new(2, |_, _| Some(Link { loss: 3_000, ..Link::after(MS) })).unwrap();
    let (sender, receiver) = (udp(&wan, 0), udp(&wan, 1));
    receiver.set_nonblocking(true).unwrap();
    let mut received = 0;
    // In rounds that the receive buffer surely holds.
    for round in 1..=20 {
        for _ in 0..50 {
            sender.send_to(&[0; 10], at(&wan, 1)).unwrap();
        }
        eventually("all packets arrive or are lost", || {
            received += (0..50).take_while(|_| receiver.recv(&mut [0; 16]).is_ok()).count() as u64;
            let sum = wan.counters(0, 1);
            (sum.packets + sum.lost == 50 * round && sum.packets == received).then_some(())
        });
    }
    let sum = wan.counters(0, 1);
    assert!((200..400).contains(&sum.lost) && sum.dropped() == sum.lost, "{sum:?}");
}

#[test]
fn a_cut_is_silent_and_heals_each_way() {
    if !may_run("a_cut_is_silent_and_heals_each_way") {
        return;
    }
    let wan = Wan::new(3, |from, to| (from + to != 1).then_some(Link::INSTANT)).unwrap();
    let sockets = [0, 1, 2].map(|host| udp(&wan, host));
    round_trip(&wan, (0, &sockets[0]), (2, &sockets[2]));
    let connect = || TcpStream::connect_timeout(&at(&wan, 1), Duration::from_millis(200));
    assert_eq!(wan.inside(0, connect).unwrap_err().kind(), ErrorKind::TimedOut, "silence, not a refusal");
    assert!(wan.counters(0, 1).cut > 0 && wan.counters(0, 1).packets == 0);

    wan.set_both(0, 1, Some(Link::after(MS)));
    round_trip(&wan, (0, &sockets[0]), (1, &sockets[1]));

    // One way only: what is under way is lost, and the other direction goes on.
    wan.set_link(0, 1, Some(Link::after(20 * SECOND)));
    let (before, mut buffer) = (wan.counters(0, 1), [0; 16]);
    sockets[0].send_to(b"lost", at(&wan, 1)).unwrap();
    sockets[1].send_to(b"heard", at(&wan, 0)).unwrap();
    assert_eq!(sockets[0].recv(&mut buffer).unwrap(), 5);
    eventually("it is under way", || {
        wan.set_link(0, 1, None);
        (wan.counters(0, 1).cut > before.cut).then_some(())
    });
    wan.set_all(|_, _| Some(Link::after(MS)));
    sockets[0].send_to(b"later", at(&wan, 1)).unwrap();
    assert_eq!(sockets[1].recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap(), b"later");
    assert_eq!(wan.link(0, 1), Some(Link::after(MS)));
}

#[test]
fn a_command_runs_on_its_host_and_nothing_outlives_the_network() {
    if !may_run("a_command_runs_on_its_host_and_nothing_outlives_the_network") {
        return;
    }
    let options = Options { addresses: Addresses::OneGroup, mtu: 9_000, ..Options::default() };
    let wan = Wan::with(2, options, |_, _| Some(Link::INSTANT)).unwrap();
    assert_eq!(wan.address(1), Ipv4Addr::new(10, 77, 0, 2));
    let shown = wan.command(1, "ip").args(["address", "show", "wan0"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("10.77.0.2/32") && shown.contains("mtu 9000"), "{shown}");

    let mut script = Command::new("sh");
    script.args(["-c", "echo $WHERE $$; pwd; exec sleep 600"]).env("WHERE", "there").current_dir("/usr");
    let mut child = wan.on(0, &script).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("there {}", child.id()), "the child is the program itself");
    assert_eq!(lines.next().unwrap().unwrap(), "/usr");

    let names = [0, 1].map(|host| wan.namespace(host).to_owned());
    assert!(names.iter().all(|name| exists(name)));
    drop(wan);
    assert!(!names.iter().any(|name| exists(name)));
    assert!(!child.wait().unwrap().success(), "it was killed");
}

/// `drystone-wan`, and the namespaces that it printed.
fn start_program(arguments: &[&str]) -> (Child, Vec<(String, Ipv4Addr)>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drystone-wan"));
    let pipes = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = pipes.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let hosts = (0..2).map(|host| {
        let line = lines.next().expect("it starts").unwrap();
        let words: Vec<&str> = line.split('\t').collect();
        assert_eq!(words[0], host.to_string());
        (words[1].to_owned(), words[2].parse().unwrap())
    });
    let hosts = hosts.collect();
    (child, hosts)
}

#[test]
fn the_program_takes_lines_and_cleans_up_when_its_input_or_a_signal_ends_it() {
    if !may_run("the_program_takes_lines_and_cleans_up_when_its_input_or_a_signal_ends_it") {
        return;
    }
    let links = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(links.path(), "* <> * delay=20 # all\n").unwrap();
    let (mut child, hosts) = start_program(&["--loss", "10000", "--links", links.path().to_str().unwrap()]);
    let ping = |seconds: &str| {
        let (namespace, address) = (&hosts[0].0, hosts[1].1.to_string());
        let code = format!(
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout({seconds})\n\
             s.connect(('{address}', 9)); s.send(b'x')\n\
             try: s.recv(1)\n\
             except ConnectionRefusedError: print('refused')\n\
             except socket.timeout: print('silent')"
        );
        let output = Command::new("ip").args(["netns", "exec", namespace, "python3", "-c", &code]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ping("0.2"), "silent\n", "everything is lost");
    child.stdin.as_mut().unwrap().write_all(b"0 <> 1 loss=0\n").unwrap();
    eventually("the line is taken", || (ping("2") == "refused\n").then_some(()));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!hosts.iter().any(|(name, _)| exists(name)));

    for signal in ["INT", "TERM"] {
        let (mut child, hosts) = start_program(&["--one-group"]);
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert!(child.wait().unwrap().success());
        assert!(!hosts.iter().any(|(name, _)| exists(name)));
    }
}

#[test]
fn what_a_killed_run_left_goes_with_the_next() {
    if !may_run("what_a_killed_run_left_goes_with_the_next") {
        return;
    }
    let (mut killed, hosts) = start_program(&[]);
    let mut command = Command::new("ip");
    let orphan = command.args(["netns", "exec", &hosts[1].0, "sleep", "600"]).spawn();
    let mut orphan = orphan.unwrap();
    let here = std::fs::read_link("/proc/self/ns/net").unwrap();
    eventually("it is in the namespace", || {
        let there = std::fs::read_link(format!("/proc/{}/ns/net", orphan.id())).ok()?;
        (there != here).then_some(())
    });
    let (mut alive, others) = start_program(&[]);
    killed.kill().unwrap();
    killed.wait().unwrap();
    drop(Wan::new(1, |_, _| None).unwrap());
    // The other tests of this file sweep too, and may be at it.
    eventually("they are gone", || (!hosts.iter().any(|(name, _)| exists(name))).then_some(()));
    assert!(!orphan.wait().unwrap().success());
    assert!(others.iter().all(|(name, _)| exists(name)), "what belongs to a running process stays");
    drop(alive.stdin.take());
    assert!(alive.wait().unwrap().success());
}

/// Prints the figures of the documentation: `cargo test --release -p drystone-tests --test wan -- --ignored --nocapture`.
#[test]
#[ignore = "it measures"]
fn figures() {
    let wan = Wan::new(2, |_, _| Some(Link::after(50 * MS))).unwrap();
    let (one, other) = (udp(&wan, 0), udp(&wan, 1));
    let mut trips: Vec<Duration> = (0..100).map(|_| round_trip(&wan, (0, &one), (1, &other))).collect();
    trips.sort();
    println!("round trip of 2 x 50 ms: median {:?}, 99 % {:?}", trips[50], trips[98]);
    let cases = [
        ("instant", Link::INSTANT, 1 << 30),
        ("1 ms", Link::after(MS), 1 << 29),
        ("50 ms", Link::after(50 * MS), 1 << 28),
        ("1 MB/s, 5 ms", Link { rate: 1_000_000, ..Link::after(5 * MS) }, 10_000_000),
        ("12.5 MB/s, 10 ms", Link { rate: 12_500_000, ..Link::after(10 * MS) }, 100_000_000),
    ];
    for (name, link, bytes) in cases {
        wan.set_both(0, 1, Some(link));
        println!("{name}: {:.2} MB/s", transfer(&wan, 0, 1, bytes) as f64 / 1e6);
    }
    drop(wan);
    let wan = Wan::new(16, |_, _| Some(Link::after(10 * MS))).unwrap();
    let started = Instant::now();
    thread::scope(|scope| {
        for from in 0..16 {
            let wan = &wan;
            scope.spawn(move || transfer(wan, from, (from + 1) % 16, 1 << 26));
        }
    });
    println!("16 at once, 10 ms: {:.2} MB/s", f64::from(1 << 30) / started.elapsed().as_secs_f64() / 1e6);
}
