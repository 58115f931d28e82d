//! Who is linked with whom, and how far apart that puts them.

use std::collections::VecDeque;

/// Hosts and the links between them, each named once with the lower number first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// How many hosts.
    pub hosts: usize,
    /// The links.
    pub edges: Vec<(usize, usize)>,
}

impl Topology {
    /// A ring, and these chords through it.
    pub fn ring(hosts: usize, chords: &[(usize, usize)]) -> Topology {
        let ring = (0..hosts).map(|host| (host, (host + 1) % hosts));
        let mut edges: Vec<(usize, usize)> =
            ring.chain(chords.iter().copied()).map(|(a, b)| (a.min(b), a.max(b))).collect();
        edges.sort_unstable();
        edges.dedup();
        Topology { hosts, edges }
    }

    /// Every host is linked with every other.
    pub fn full(hosts: usize) -> Topology {
        let edges = (0..hosts).flat_map(|a| (a + 1..hosts).map(move |b| (a, b))).collect();
        Topology { hosts, edges }
    }

    /// Whether two hosts are linked.
    pub fn has(&self, a: usize, b: usize) -> bool {
        self.edges.contains(&(a.min(b), a.max(b)))
    }

    /// The neighbours of a host.
    pub fn neighbours(&self, host: usize) -> Vec<usize> {
        (0..self.hosts).filter(|other| *other != host && self.has(host, *other)).collect()
    }

    /// How many links lie between a host and each.
    pub fn hops(&self, from: usize) -> Vec<usize> {
        let mut hops = vec![usize::MAX; self.hosts];
        hops[from] = 0;
        let mut queue = VecDeque::from([from]);
        while let Some(host) = queue.pop_front() {
            for next in self.neighbours(host) {
                if hops[next] == usize::MAX {
                    hops[next] = hops[host] + 1;
                    queue.push_back(next);
                }
            }
        }
        hops
    }

    /// The most links between any two hosts.
    pub fn diameter(&self) -> usize {
        (0..self.hosts).filter_map(|host| self.hops(host).into_iter().max()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chords_shorten_a_ring() {
        let ring = Topology::ring(8, &[]);
        assert_eq!((ring.edges.len(), ring.diameter()), (8, 4));
        assert_eq!(ring.hops(0), [0, 1, 2, 3, 4, 3, 2, 1]);
        let chords = Topology::ring(8, &[(0, 4), (2, 6)]);
        assert_eq!((chords.edges.len(), chords.diameter()), (10, 3));
        assert_eq!(chords.neighbours(4), [0, 3, 5]);
        assert_eq!(Topology::full(4).edges.len(), 6);
    }
}
