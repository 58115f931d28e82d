//! A disk that fails on purpose: it remembers every write and sync, and gives the images that a power cut could leave.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use crate::random::Random;

/// What hardware writes at once: a power cut tears a write between sectors, never inside one. In bytes.
pub const SECTOR: u64 = 512;

/// One operation that changes the disk.
#[derive(Clone, Debug)]
enum Operation {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
    Sync,
}

/// What takes an operation back: the length before it, and the bytes that it wrote over or cut off.
#[derive(Debug)]
struct Before {
    len: usize,
    offset: usize,
    bytes: Vec<u8>,
}

/// What becomes of the writes that no sync made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// None reached the disk.
    Lost,
    /// All did.
    Kept,
    /// A subset of their sectors did, drawn from this seed.
    Torn(u64),
}

#[derive(Debug, Default)]
struct Disk {
    /// What the running program sees: one copy of the disk, as there may be a thousand of them.
    live: Vec<u8>,
    log: Vec<Operation>,
    /// For each operation of the log, what takes it back.
    before: Vec<Before>,
    /// Operations that a sync made durable and that are in the log no more.
    folded: u64,
    /// Whether a finished sync folds the log: for disks that live long and are cut once.
    folds: bool,
    /// Syncs that are reported done and are not: a disk that lies.
    forgets: bool,
    /// The operation, counted from 0, at which the power goes.
    cut_at: Option<u64>,
}

impl Disk {
    fn operations(&self) -> u64 {
        self.folded + self.log.len() as u64
    }

    fn is_off(&self) -> bool {
        self.cut_at.is_some_and(|cut| self.operations() > cut)
    }

    /// Makes what a finished sync made durable the beginning of the log.
    fn fold(&mut self) {
        self.folded += self.log.len() as u64;
        (self.log, self.before) = (Vec::new(), Vec::new());
    }

    /// What was there before the first operation of the log.
    fn initial(&self) -> Vec<u8> {
        let mut image = self.live.clone();
        for Before { len, offset, bytes } in self.before.iter().rev() {
            image.resize(*len, 0);
            image[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    /// Records an operation, and what it is about to change. From the cut on each fails, the first of them after it was
    /// begun.
    fn begin(&mut self, operation: Operation) -> Result<()> {
        if self.is_off() {
            return Err(power_cut());
        }
        let len = self.live.len();
        let changed = match &operation {
            Operation::Write { offset, bytes } => *offset as usize..*offset as usize + bytes.len(),
            Operation::SetLen(to) => *to as usize..len,
            Operation::Sync => len..len,
        };
        let changed = changed.start.min(len)..changed.end.min(len);
        let bytes = self.live.get(changed.clone()).unwrap_or_default().to_vec();
        self.before.push(Before { len, offset: changed.start, bytes });
        self.log.push(operation);
        if self.is_off() { Err(power_cut()) } else { Ok(()) }
    }
}

fn power_cut() -> Error {
    Error::other("power cut")
}

/// A disk in memory. Clones share it, so a test keeps one while the store owns another.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<Disk>>);

impl FaultyDisk {
    /// A disk that holds `image` and never fails.
    pub fn new(image: Vec<u8>) -> FaultyDisk {
        FaultyDisk(Arc::new(Mutex::new(Disk { live: image, ..Disk::default() })))
    }

    /// A disk that holds `image` and whose power goes in operation number `cut`, counted from 0: that one and all later
    /// ones fail.
    pub fn with_cut(image: Vec<u8>, cut: u64) -> FaultyDisk {
        let disk = FaultyDisk::new(image);
        disk.disk().cut_at = Some(cut);
        disk
    }

    /// A disk that holds `image` and remembers only what no sync has made durable yet: [`FaultyDisk::image`] gives what a cut
    /// at the present moment leaves, and [`FaultyDisk::cuts`] nothing of what was before.
    pub fn folding(image: Vec<u8>) -> FaultyDisk {
        let disk = FaultyDisk::new(image);
        disk.disk().folds = true;
        disk
    }

    /// Has the power go in the operation after `more` others.
    pub fn cut_after(&self, more: u64) {
        let mut disk = self.disk();
        disk.cut_at = Some(disk.operations() + more);
    }

    /// Takes back a cut that has not come yet.
    pub fn spare(&self) {
        let mut disk = self.disk();
        if !disk.is_off() {
            disk.cut_at = None;
        }
    }

    /// From now on syncs do nothing and say that they did: a defect to be found.
    pub fn forget_syncs(&self) {
        self.disk().forgets = true;
    }

    /// Whether the power went in one of its operations.
    pub fn is_off(&self) -> bool {
        self.disk().is_off()
    }

    /// What is on the disk if the power goes now.
    pub fn image(&self, unsynced: Unsynced) -> Vec<u8> {
        let disk = self.disk();
        lay_pending(disk.initial(), &disk.log, unsynced)
    }

    /// How many writes, syncs and changes of length there were.
    pub fn operations(&self) -> u64 {
        self.disk().operations()
    }

    /// The images that cuts in each operation leave, in order.
    pub fn cuts(&self) -> Cuts {
        let disk = self.disk();
        Cuts { log: disk.log.clone(), durable: disk.initial(), unsynced: 0, next: 0 }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("no operation panics while it holds the disk")
    }
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> Result<u64> {
        let disk = self.disk();
        if disk.is_off() { Err(power_cut()) } else { Ok(disk.live.len() as u64) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let disk = self.disk();
        if disk.is_off() {
            return Err(power_cut());
        }
        let end = offset as usize + out.len();
        let bytes = disk.live.get(offset as usize..end).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut disk = self.disk();
        disk.begin(Operation::SetLen(len))?;
        let more = (len as usize).saturating_sub(disk.live.len());
        disk.live.reserve_exact(more);
        disk.live.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        let mut disk = self.disk();
        if disk.forgets {
            return Ok(());
        }
        disk.begin(Operation::Sync)?;
        if disk.folds {
            disk.fold();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut disk = self.disk();
        disk.begin(Operation::Write { offset, bytes: data.to_vec() })?;
        lay(&mut disk.live, offset, data);
        Ok(())
    }
}

/// Walks a disk's log: what the power leaves if it goes in the operation at hand, which is begun and not finished.
#[derive(Debug)]
pub struct Cuts {
    log: Vec<Operation>,
    /// Everything through the last finished sync.
    durable: Vec<u8>,
    /// The first operation that no sync made durable.
    unsynced: usize,
    /// One past the operation at hand.
    next: usize,
}

impl Cuts {
    /// Goes to the next operation; nothing after the last.
    pub fn advance(&mut self) -> Option<u64> {
        if self.next == self.log.len() {
            return None;
        }
        if let Some(Operation::Sync) = self.next.checked_sub(1).map(|last| &self.log[last]) {
            for operation in &self.log[self.unsynced..self.next] {
                apply(&mut self.durable, operation);
            }
            self.unsynced = self.next;
        }
        self.next += 1;
        Some(self.next as u64 - 1)
    }

    /// What is on the disk after a cut here.
    pub fn image(&self, unsynced: Unsynced) -> Vec<u8> {
        lay_pending(self.durable.clone(), &self.log[self.unsynced..self.next], unsynced)
    }
}

/// An image after some of the writes that no sync made durable.
fn lay_pending(mut image: Vec<u8>, pending: &[Operation], unsynced: Unsynced) -> Vec<u8> {
    match unsynced {
        Unsynced::Lost => {}
        Unsynced::Kept => pending.iter().for_each(|operation| apply(&mut image, operation)),
        Unsynced::Torn(seed) => {
            let mut random = Random::new(seed);
            pending.iter().for_each(|operation| tear(&mut image, operation, &mut random));
        }
    }
    image
}

fn apply(image: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Write { offset, bytes } => lay(image, *offset, bytes),
        Operation::SetLen(len) => image.resize(*len as usize, 0),
        Operation::Sync => {}
    }
}

/// Applies some of an operation: each sector of a write may have reached the disk or not, in no order.
fn tear(image: &mut Vec<u8>, operation: &Operation, random: &mut Random) {
    let Operation::Write { offset, bytes } = operation else {
        if random.bit() {
            apply(image, operation);
        }
        return;
    };
    // Half of the writes are whole or absent, so that tears between writes are as frequent as tears inside them.
    let whole = random.bit().then(|| random.bit());
    let mut start = *offset;
    let end = offset + bytes.len() as u64;
    while start < end {
        let stop = ((start / SECTOR + 1) * SECTOR).min(end);
        if whole.unwrap_or_else(|| random.bit()) {
            lay(image, start, &bytes[(start - offset) as usize..(stop - offset) as usize]);
        }
        start = stop;
    }
}

fn lay(image: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if image.len() < end {
        image.resize(end, 0);
    }
    image[start..end].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> FaultyDisk {
        let disk = FaultyDisk::default();
        disk.set_len(2048).unwrap();
        disk.sync_data().unwrap();
        disk.write(0, &[1; 1024]).unwrap();
        disk.sync_data().unwrap();
        disk.write(512, &[2; 1024]).unwrap();
        disk
    }

    fn image(disk: &FaultyDisk, operation: u64, unsynced: Unsynced) -> Vec<u8> {
        let mut cuts = disk.cuts();
        while cuts.advance() != Some(operation) {}
        cuts.image(unsynced)
    }

    #[test]
    fn only_a_finished_sync_makes_durable() {
        let disk = written();
        assert!(image(&disk, 0, Unsynced::Lost).is_empty());
        assert!(image(&disk, 1, Unsynced::Lost).is_empty());
        assert_eq!(image(&disk, 3, Unsynced::Lost), [0; 2048]);
        assert_eq!(image(&disk, 3, Unsynced::Kept)[..1024], [1; 1024]);
        assert_eq!(image(&disk, 4, Unsynced::Lost)[..1024], [1; 1024]);
        assert_eq!(image(&disk, 4, Unsynced::Kept)[512..1536], [2; 1024]);
    }

    #[test]
    fn what_was_before_the_log_is_had_from_what_is_there_now() {
        let disk = FaultyDisk::folding(vec![7; 1024]);
        disk.write(512, &[1; 1024]).unwrap();
        disk.set_len(256).unwrap();
        disk.set_len(4096).unwrap();
        disk.write(0, &[2; 512]).unwrap();
        assert_eq!(disk.image(Unsynced::Lost), [7; 1024]);
        let kept = disk.image(Unsynced::Kept);
        disk.sync_data().unwrap();
        disk.write(0, &[3; 8192]).unwrap();
        assert_eq!(disk.image(Unsynced::Lost), kept);
    }

    #[test]
    fn tears_run_between_sectors_and_differ_by_seed() {
        let disk = written();
        let images: Vec<_> = (0..64).map(|seed| image(&disk, 4, Unsynced::Torn(seed))).collect();
        let (old, new) = ([[1; 512], [2; 512]], [[0; 512], [2; 512]]);
        for image in &images {
            assert_eq!(image[..512], [1; 512]);
            assert!(old.iter().any(|sector| image[512..1024] == *sector));
            assert!(new.iter().any(|sector| image[1024..1536] == *sector));
            assert_eq!(image[1536..], [0; 512]);
        }
        for (first, second) in [(1, 0), (1, 2), (2, 0), (2, 2)] {
            assert!(images.iter().any(|image| (image[600], image[1100]) == (first, second)));
        }
    }

    #[test]
    fn nothing_works_once_the_power_is_off() {
        let disk = FaultyDisk::with_cut(vec![0; 1024], 1);
        disk.write(0, &[1; 512]).unwrap();
        assert!(disk.write(512, &[1; 512]).is_err());
        assert!(disk.sync_data().is_err());
        assert!(disk.read(0, &mut [0]).is_err());
        assert!(disk.len().is_err());
        assert_eq!(disk.operations(), 2);
    }
}
