//! Plain sockets, for those who speak no protocol at all: bytes before any handshake, and very many connections.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::runtime::Builder;
use tokio::time::timeout;

/// How long one connection may take; loopback is faster.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects, writes bytes and reads until the other side closes. Returns what it said.
///
/// # Panics
/// If it cannot be reached, or does not close.
pub fn speak(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
    // Whoever hangs up early reads no more.
    let _ = stream.write_all(bytes);
    let mut heard = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return heard,
            Ok(read) => heard.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return heard,
            Err(error) => panic!("it does not hang up: {error}"),
        }
    }
}

/// Opens this many connections from one address of this machine, and says nothing on them. Those that were accepted.
///
/// # Panics
/// If the address is none of this machine.
pub fn crowd(from: IpAddr, to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a thread can wait for sockets");
    runtime.block_on(async {
        let mut crowd = Vec::new();
        for _ in 0..count {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(SocketAddr::new(from, 0)).expect("an address of this machine");
            if let Ok(Ok(stream)) = timeout(PATIENCE, socket.connect(to)).await {
                crowd.push(stream.into_std().expect("a connected socket"));
            }
        }
        crowd
    })
}

/// How many of these connections are still open on the other side.
pub fn open(crowd: &[TcpStream]) -> usize {
    let is_open = |mut stream: &TcpStream| {
        let mut chunk = [0; 4096];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    };
    crowd.iter().filter(|stream| is_open(stream)).count()
}
