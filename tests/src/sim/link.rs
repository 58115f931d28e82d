//! Links: what a connection does to what is sent through it.
//!
//! A link carries bytes in order, after a latency that the regions of both ends give, at the rate of the slower of the
//! sender's upload and the receiver's download. All connections of a host share its upload, see [`Uplink`]. A lost packet
//! delays like TCP: by a retransmission. A direction that is blocked holds what is sent; if that lasts, the connection breaks.

use std::sync::Arc;

use drystone_core::params::ChainParams;
use drystone_core::transaction::Transaction;
use drystone_node::engine::message::RequestId;
use drystone_node::engine::wire::{Gossip, Request, Response};

use super::gossip::Frame;
use super::{MS, SECOND};
use crate::random::Random;

/// Where hosts are, and what their accesses are like there.
#[derive(Debug)]
pub struct Regions {
    /// One-way latencies between regions in milliseconds.
    latency_ms: &'static [&'static [u64]],
    /// Of each so many hosts, how many are in each region.
    hosts: &'static [u64],
    /// By region, the accesses of hosts: upload and download in bytes a second. Each is equally likely.
    rates: &'static [&'static [(u64, u64)]],
}

/// Machines of cloud providers in North America, Europe, East Asia, South America and Oceania: half of the round trips that
/// the providers publish between their regions, rounded, and accesses of 8, 20 and 100 Mbit/s. All but one of the ten
/// between regions (North America to Oceania, 80 here and 107 there) are within 10 ms of IBM's for January 2026 between
/// Washington, Frankfurt, Tokyo, São Paulo and Sydney:
/// <https://github.com/ibm-cloud-docs/vpc/blob/master/_include-segments/network-latency.md>.
pub static CLOUDS: Regions = Regions {
    latency_ms: &[
        &[15, 45, 75, 65, 80],
        &[45, 10, 115, 100, 135],
        &[75, 115, 20, 150, 55],
        &[65, 100, 150, 15, 155],
        &[80, 135, 55, 155, 10],
    ],
    hosts: &[1; 5],
    rates: &[CLOUD_RATES; 5],
};

const CLOUD_RATES: &[(u64, u64)] = &[(1_000_000, 1_000_000), (2_500_000, 2_500_000), (12_500_000, 12_500_000)];

/// Bitcoin's nodes at home in 2019, in North America, Europe, South America, Asia and the Pacific, Japan and Australia: the
/// figures of SimBlock (Aoki, Otsuki, Kaneko, Banno and Shudo 2019, "SimBlock: A Blockchain Network Simulator",
/// arXiv:1901.09777), `LATENCY_2019`, `UPLOAD_BANDWIDTH_2019`, `DOWNLOAD_BANDWIDTH_2019` and
/// `REGION_DISTRIBUTION_BITCOIN_2019` in
/// <https://github.com/dsg-titech/simblock/blob/master/simulator/src/main/java/simblock/settings/NetworkConfiguration.java>.
/// As there, a latency is one way. Its sources look like round trips (124 ms between North America and Europe), so real
/// networks are rather faster than this. Rates are bits a second there and bytes here.
pub static SIMBLOCK: Regions = Regions {
    latency_ms: &[
        &[32, 124, 184, 198, 151, 189],
        &[124, 11, 227, 237, 252, 294],
        &[184, 227, 88, 325, 301, 322],
        &[198, 237, 325, 85, 58, 198],
        &[151, 252, 301, 58, 12, 126],
        &[189, 294, 322, 198, 126, 16],
    ],
    hosts: &[3_316, 4_998, 90, 1_177, 224, 195],
    rates: &[
        &[(2_400_000, 6_500_000)],
        &[(2_587_500, 5_000_000)],
        &[(725_000, 2_250_000)],
        &[(1_962_500, 2_850_000)],
        &[(1_275_000, 2_850_000)],
        &[(1_412_500, 3_737_500)],
    ],
};

/// Machines of one building: a millisecond one way, which is plenty, and a line of a gigabit for each.
pub static BUILDING: Regions = Regions { latency_ms: &[&[1]], hosts: &[1], rates: &[&[(125_000_000, 125_000_000)]] };

impl Regions {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// An access of one more host.
    pub fn draw(&self, random: &mut Random) -> Access {
        let mut host = random.below(self.hosts.iter().sum());
        let mut region = 0;
        while host >= self.hosts[region] {
            host -= self.hosts[region];
            region += 1;
        }
        Access { region, rate: random.pick(self.rates[region]).0, loss: 0 }
    }

    /// What an access receives in bytes a second: it is to its upload as others in its region are to theirs.
    fn download(&self, access: &Access) -> u64 {
        let (up, down) = self.rates[access.region][0];
        access.rate * down / up
    }

    /// The path from one access to another: the latency of their regions, the rate of the slower end.
    pub fn path(&self, from: &Access, to: &Access) -> Path {
        let latency = self.latency_ms[from.region][to.region] * MS;
        Path { latency, upload: from.rate, rate: from.rate.min(self.download(to)), loss: from.loss + to.loss }
    }
}

/// How long a blocked connection lives: keep-alive probes every 15 s with a patience of 5 s.
pub const BREAK_AFTER: u64 = 20 * SECOND;

/// How long a dial into silence takes to fail.
pub const DIAL_TIMEOUT: u64 = 10 * SECOND;

/// Payload bytes of a packet.
const PACKET: u64 = 1_400;

/// Bytes that frame a message: stream, length, encryption.
const OVERHEAD: u64 = 60;

/// A message up to so many bytes does not wait for longer ones of other connections: an access shares its rate fairly, so
/// whoever has little to send is done soon.
const SHORT: u64 = 64 << 10;

/// What travels.
#[derive(Clone, Debug)]
pub enum Packet {
    /// A request, named by its sender.
    Request(RequestId, Arc<[u8]>),
    /// A response to the request of this name.
    Response(RequestId, Arc<[u8]>),
    /// Gossip.
    Gossip(Frame),
}

impl Packet {
    /// Its length on the wire.
    pub fn wire_bytes(&self) -> u64 {
        OVERHEAD
            + match self {
                Packet::Request(_, bytes) | Packet::Response(_, bytes) => bytes.len() as u64,
                Packet::Gossip(frame) => frame.wire_bytes() as u64,
            }
    }

    /// How many of its bytes there are for each transaction that it speaks of: what grows with a block that has more of them.
    pub fn transaction_bytes(&self, params: &ChainParams) -> u64 {
        let all = |transactions: &[Transaction]| transactions.iter().map(Transaction::encoded_len).sum();
        let bytes = match self {
            Packet::Request(_, bytes) => match Request::from_bytes(bytes, params) {
                Ok(Request::BlockTransactions(_, numbers)) => size_of_val(numbers.as_slice()),
                Ok(Request::Transactions(ids)) => size_of_val(ids.as_slice()),
                _ => 0,
            },
            Packet::Response(_, bytes) => match Response::from_bytes(bytes, params) {
                Ok(Response::Bodies(bodies)) => bodies.iter().flatten().map(|body| all(&body.transactions)).sum(),
                Ok(Response::BlockTransactions(Some(transactions)) | Response::Transactions(transactions)) => {
                    all(&transactions)
                }
                Ok(Response::Reconcile(ids)) => size_of_val(ids.as_slice()),
                _ => 0,
            },
            Packet::Gossip(Frame::Publish { topic, bytes, .. }) => match Gossip::from_bytes(*topic, bytes, params) {
                Ok(Gossip::Block(announcement)) => size_of_val(announcement.ids.as_slice()),
                Ok(Gossip::Transactions(transactions)) => all(&transactions),
                Err(_) => 0,
            },
            Packet::Gossip(_) => 0,
        };
        bytes as u64
    }

    /// Its length on the wire if each transaction stands for so many.
    pub fn weighted_bytes(&self, weight: u64, params: &ChainParams) -> u64 {
        let more = if weight > 1 { (weight - 1) * self.transaction_bytes(params) } else { 0 };
        self.wire_bytes() + more
    }
}

/// What a host's access to the network is like.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Its region.
    pub region: usize,
    /// What it sends, in bytes a second.
    pub rate: u64,
    /// Lost packets of 10,000.
    pub loss: u64,
}

/// What lies between two accesses.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// One-way latency in microseconds, without jitter.
    pub latency: u64,
    /// What the sender sends to all together, in bytes a second.
    pub upload: u64,
    /// What the slower end can do, in bytes a second.
    pub rate: u64,
    /// Lost packets of 10,000.
    pub loss: u64,
}

/// What a host sends through: one line for all of its connections. Short messages leave one after the other, and so do long
/// ones; a short one is not held up by long ones, which pay for its time.
#[derive(Debug, Default)]
pub struct Uplink {
    /// When the last byte of the short messages leaves.
    short_until: u64,
    /// When the last byte of all leaves.
    busy_until: u64,
}

impl Uplink {
    /// When a message that is handed over at `now` begins to leave.
    fn start(&mut self, now: u64, bytes: u64, rate: u64) -> u64 {
        let time = bytes * SECOND / rate;
        let start = if bytes <= SHORT { self.short_until } else { self.busy_until }.max(now);
        if bytes <= SHORT {
            self.short_until = start + time;
        }
        self.busy_until = self.busy_until.max(now) + time;
        start
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Pipe {
    /// When the last byte of what was sent leaves.
    busy_until: u64,
    /// When the last message arrives: none overtakes another.
    last_arrival: u64,
    /// What was sent while blocked.
    pub held: Vec<Packet>,
}

impl Pipe {
    /// When a message of so many bytes that is sent at `now` arrives.
    pub fn arrival(&mut self, now: u64, bytes: u64, path: &Path, uplink: &mut Uplink, random: &mut Random) -> u64 {
        let start = uplink.start(now, bytes, path.upload);
        self.busy_until = self.busy_until.max(start) + bytes * SECOND / path.rate;
        let base = path.latency;
        let jitter = random.below(base / 10 + 1);
        let packets = bytes.div_ceil(PACKET);
        let loss = path.loss * packets;
        let retransmission = if loss > 0 && random.below(10_000) < loss { 200 * MS + 2 * base } else { 0 };
        self.last_arrival = self.last_arrival.max(self.busy_until + base + jitter + retransmission);
        self.last_arrival
    }
}

#[cfg(test)]
mod tests {
    use drystone_core::block::Body;
    use drystone_core::key::{AccountId, SecretKey};
    use drystone_node::engine::wire::{Announcement, Topic};

    use super::*;
    use crate::chain::TestChain;
    use crate::sim::setup::params;

    const EUROPE: Access = Access { region: 1, rate: 1_000_000, loss: 0 };

    #[test]
    fn a_message_takes_latency_and_its_bytes_and_none_overtakes() {
        let path = CLOUDS.path(&EUROPE, &EUROPE);
        let (mut random, mut uplink, mut pipe) = (Random::new(1), Uplink::default(), Pipe::default());
        let first = pipe.arrival(0, 1_000_000, &path, &mut uplink, &mut random);
        assert!((1_010_000..1_012_000).contains(&first), "{first}");
        assert!(pipe.arrival(0, 10, &path, &mut uplink, &mut random) >= first);
    }

    #[test]
    fn connections_share_an_upload_and_short_messages_pass() {
        let path = CLOUDS.path(&EUROPE, &Access { rate: 100_000_000, ..EUROPE });
        let (mut random, mut uplink) = (Random::new(1), Uplink::default());
        let mut send = |bytes| Pipe::default().arrival(0, bytes, &path, &mut uplink, &mut random);
        let arrivals = [1_000_000; 4].map(&mut send);
        for (number, arrival) in arrivals.into_iter().enumerate() {
            let left = (number as u64 + 1) * SECOND;
            assert!((left + 10_000..left + 12_000).contains(&arrival), "{number}: {arrival}");
        }
        assert!(send(1_000) < 20_000);
    }

    #[test]
    fn regions_are_complete_and_drawn_by_their_share() {
        for regions in [&CLOUDS, &SIMBLOCK] {
            let count = regions.count();
            assert!(regions.rates.len() == count && regions.latency_ms.len() == count);
            for (from, row) in regions.latency_ms.iter().enumerate() {
                assert_eq!(row.len(), count);
                assert!((0..count).all(|to| row[to] == regions.latency_ms[to][from]));
            }
        }
        let mut random = Random::new(1);
        let europe = (0..10_000).filter(|_| SIMBLOCK.draw(&mut random).region == 1).count();
        assert!((4_800..5_200).contains(&europe), "{europe}");
    }

    /// Every message that speaks of transactions, with so many of them.
    fn messages(params: &ChainParams, count: u64) -> Vec<Packet> {
        let chain = TestChain::new(params);
        let to = SecretKey::dev(1).account();
        let transactions: Vec<Transaction> = (0..count).map(|nonce| chain.pay(0, &to, 1_000, nonce)).collect();
        let header = params.genesis_block().header;
        let (hash, reward_to, many) = (header.hash(), AccountId([1; 32]), count as usize);
        let gossip = |topic, gossip: Gossip| Packet::Gossip(Frame::publish(topic, gossip.to_bytes().into()));
        let request = |request: Request| Packet::Request(RequestId(1), request.to_bytes().into());
        let response = |response: Response| Packet::Response(RequestId(1), response.to_bytes().into());
        let body = Body { reward_to, transactions: transactions.clone() };
        vec![
            gossip(Topic::Blocks, Gossip::Block(Announcement { header, reward_to, ids: vec![[0; 6]; many] })),
            gossip(Topic::Transactions, Gossip::Transactions(transactions.clone())),
            request(Request::BlockTransactions(hash, vec![0; many])),
            request(Request::Transactions(vec![[0; 8]; many])),
            request(Request::Bodies(vec![hash])),
            response(Response::Bodies(vec![Some(body), None])),
            response(Response::BlockTransactions(Some(transactions.clone()))),
            response(Response::Reconcile(vec![[0; 8]; many])),
            response(Response::Transactions(transactions)),
        ]
    }

    #[test]
    fn a_block_of_weight_w_takes_as_long_as_one_with_w_times_as_many_payments() {
        const WEIGHT: u64 = 20;
        let params = params();
        let path = SIMBLOCK.path(&EUROPE, &EUROPE);
        let arrival = |bytes| Pipe::default().arrival(0, bytes, &path, &mut Uplink::default(), &mut Random::new(1));
        for (few, many) in messages(&params, 10).into_iter().zip(messages(&params, 10 * WEIGHT)) {
            let (weighted, real) = (few.weighted_bytes(WEIGHT, &params), many.weighted_bytes(1, &params));
            // Protobuf's lengths and Noise's frames: a few bytes.
            assert!(weighted.abs_diff(real) <= 8, "{few:?}: {weighted}, {real}");
            assert!(arrival(weighted).abs_diff(arrival(real)) <= 8);
            assert_eq!(few.weighted_bytes(1, &params), few.wire_bytes());
        }
    }
}
