//! The relay: a thread for each host that takes what the host sends, and one that delivers what has become due.
//!
//! Readers block in the kernel until there is a packet, and the deliverer sleeps until the next is due: an idle network costs
//! nothing, and no timer ticks. A packet that nothing delays is delivered by its reader.

use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};
use std::{io, mem};

use tun_tap::Iface;

use super::Addresses;
use super::fabric::{Fabric, Sent};

/// The most that an IP packet takes.
const PACKET_MAX: usize = 65_535;

/// How long threads may take to see that their devices are gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the threads share. The one lock is held for a few hundred nanoseconds a packet, never across a system call.
struct Shared {
    state: Mutex<State>,
    /// Tells the deliverer that something is due earlier than what it sleeps for, or that it is over.
    sooner: Condvar,
    devices: Vec<Iface>,
    addresses: Addresses,
    started: Instant,
}

struct State {
    fabric: Fabric,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked is reported by its own message; the network can still be taken down.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the start.
    fn now(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn deliver(&self, to: usize, packet: &[u8]) {
        // Fails only while the network is taken down: the device is gone.
        let _ = self.devices[to].send(packet);
    }

    /// Takes what `from` sends until its device is gone.
    fn read(&self, from: usize) {
        let mut buffer = vec![0; PACKET_MAX];
        loop {
            let packet = match self.devices[from].recv(&mut buffer) {
                Ok(length) => &buffer[..length],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    if !self.lock().ended {
                        eprintln!("error: the relay cannot read what host {from} sends: {error}");
                    }
                    return;
                }
            };
            // What is not IPv4, or for nobody here, goes nowhere.
            let Some(to) = destination(packet).and_then(|address| self.addresses.host(address, self.devices.len()))
            else {
                continue;
            };
            let sent = self.lock().fabric.send(self.now(), from, to, packet);
            match sent {
                Sent::Now => self.deliver(to, packet),
                Sent::Later { first: true } => self.sooner.notify_one(),
                Sent::Later { first: false } | Sent::Dropped => {}
            }
        }
    }

    /// Delivers what is due, until the end.
    fn deliver_all(&self) {
        let mut landing = Vec::new();
        let mut state = self.lock();
        while !state.ended {
            let now = self.now();
            state.fabric.land(now, &mut landing);
            if !landing.is_empty() {
                drop(state);
                landing.iter().for_each(|flight| self.deliver(flight.to, &flight.packet));
                state = self.lock();
                state.fabric.landed(&mut landing);
                continue;
            }
            // At most an hour: no sum of times overflows, and one idle turn an hour costs nothing.
            let pause = state.fabric.next_due().map_or(3_600_000_000, |due| (due - now).min(3_600_000_000));
            let waited = self.sooner.wait_timeout(state, Duration::from_micros(pause));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Where an IPv4 packet goes.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let header = packet.first_chunk::<20>().filter(|header| header[0] >> 4 == 4)?;
    Some(Ipv4Addr::new(header[16], header[17], header[18], header[19]))
}

/// The running threads.
pub(super) struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Carries packets between the devices, one a host in order, until [`Relay::end`].
    pub(super) fn start(devices: Vec<Iface>, addresses: Addresses, fabric: Fabric) -> io::Result<Relay> {
        let state = Mutex::new(State { fabric, ended: false });
        let shared = Shared { state, sooner: Condvar::new(), devices, addresses, started: Instant::now() };
        let mut relay = Relay { shared: Arc::new(shared), threads: Vec::new() };
        for host in 0..relay.shared.devices.len() {
            relay.spawn(format!("wan-{host}"), move |shared| shared.read(host))?;
        }
        relay.spawn("wan-deliver".into(), Shared::deliver_all)?;
        Ok(relay)
    }

    fn spawn(&mut self, name: String, run: impl FnOnce(&Shared) + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        self.threads.push(thread::Builder::new().name(name).spawn(move || run(&shared))?);
        Ok(())
    }

    /// Looks at the fabric or changes it.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Fabric) -> T) -> T {
        look(&mut self.shared.lock().fabric)
    }

    /// Ends the threads; `remove_devices` must make every read fail.
    pub(super) fn end(&mut self, remove_devices: impl FnOnce()) {
        self.shared.lock().ended = true;
        self.shared.sooner.notify_one();
        remove_devices();
        let deadline = Instant::now() + PATIENCE;
        for thread in mem::take(&mut self.threads) {
            while !thread.is_finished() && Instant::now() < deadline {
                sleep(Duration::from_millis(1));
            }
            // A device that could not be removed keeps its reader; the process ends all the same. A thread that panicked
            // has said so itself.
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}
