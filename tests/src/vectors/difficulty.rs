//! Cases of numbers: compact targets and work, the difficulty rule, the subsidy schedule.

use drystone_core::amount::Amount;
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::hash::BlockHash;
use drystone_core::params::ChainParams;
use drystone_core::pow::{CompactTarget, Target, Work};
use drystone_core::subsidy::{subsidies_through, subsidy_at};
use serde::{Deserialize, Serialize};

use super::{VectorFile, timed};

/// Compact bits, what they stand for, and whether a hash meets it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetCase {
    /// What the case is about.
    pub comment: String,
    /// Eight hex digits.
    pub bits: CompactTarget,
    /// The target as a big-endian number, nothing where the bits are refused.
    pub target: Option<BlockHash>,
    /// The compact form of that target.
    pub compact: Option<CompactTarget>,
    /// The work that the target stands for.
    pub work: Option<Work>,
    /// A block hash, printed as a number, and whether it meets the target.
    pub hashes: Vec<(BlockHash, bool)>,
    /// The name of the `BitsError`.
    pub error: Option<String>,
}

/// Compact forms that Bitcoin publishes with its tests, and bounds.
const COMPACT: &[(&str, u32, &str)] = &[
    ("Bitcoin: zero", 0x0000_0000, "Zero"),
    ("Bitcoin: shifted away", 0x0012_3456, "Zero"),
    ("Bitcoin: shifted away", 0x0100_3456, "Zero"),
    ("Bitcoin: shifted away", 0x0200_0056, "Zero"),
    ("Bitcoin: no mantissa", 0x0300_0000, "Zero"),
    ("Bitcoin: no mantissa", 0x0400_0000, "Zero"),
    ("Bitcoin reads zero; the sign bit is refused first", 0x0092_3456, "Negative"),
    ("Bitcoin reads zero; the sign bit is refused first", 0x0180_3456, "Negative"),
    ("Bitcoin reads zero; the sign bit is refused first", 0x0380_0000, "Negative"),
    ("Bitcoin: 0x12", 0x0112_3456, ""),
    ("Bitcoin: a sign bit by a wide mantissa", 0x01fe_dcba, "Negative"),
    ("Bitcoin: 0x1234", 0x0212_3456, ""),
    ("Bitcoin: 0x123456", 0x0312_3456, ""),
    ("Bitcoin: 0x12345600", 0x0412_3456, ""),
    ("Bitcoin: negative", 0x0492_3456, "Negative"),
    ("Bitcoin: 0x92340000", 0x0500_9234, ""),
    ("Bitcoin: 0x123456 followed by 29 zero bytes", 0x2012_3456, ""),
    ("Bitcoin: overflow", 0xff12_3456, "Overflow"),
    ("Bitcoin's first target", 0x1d00_ffff, ""),
    ("Bitcoin's block 100,800", 0x1b04_04cb, ""),
    ("Bitcoin's test limit, the development chain's", 0x207f_ffff, ""),
    ("the main chain's limit", 0x1e00_ffff, ""),
    ("the hardest target", 0x0101_0000, ""),
    ("the hardest target, not canonical", 0x0300_0001, ""),
    ("a mantissa that would set the sign bit moves up a byte", 0x0200_8000, ""),
    ("just within 256 bits", 0x2100_ffff, ""),
    ("just over 256 bits", 0x2101_0000, "Overflow"),
    ("just within 256 bits", 0x2200_00ff, ""),
    ("just over 256 bits", 0x2200_0100, "Overflow"),
    ("a large exponent over nothing", 0xff00_0000, "Zero"),
];

/// `targets.json`.
pub fn targets() -> VectorFile<TargetCase> {
    let case = |(comment, bits, error): &(&str, u32, &str)| {
        let bits = CompactTarget(*bits);
        let target = bits.to_target().ok().filter(|_| error.is_empty());
        // The target itself is met, the number after it is not.
        let hashes = target.map_or(vec![], |target| {
            let at = target.value();
            let over = at + Work::from_hashes(1).value();
            [(at, true), (over, false)].map(|(n, met)| (BlockHash(n.to_le_bytes()), met)).into()
        });
        TargetCase {
            comment: (*comment).into(),
            bits,
            target: target.map(|target| BlockHash(target.value().to_le_bytes())),
            compact: target.map(|target| target.to_compact()),
            work: target.map(|target| target.work()),
            hashes,
            error: (!error.is_empty()).then(|| (*error).to_owned()),
        }
    };
    let about = "The bits stand for the target (64 digits, big-endian), which has that compact form and that work; each hash \
                 meets the target or not. Or the bits are refused for the named BitsError.";
    VectorFile { about: about.into(), genesis: None, cases: COMPACT.iter().map(case).collect() }
}

/// What the difficulty rule reads of the parameters. Times in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// T.
    pub interval: u64,
    /// H.
    pub response: u64,
    /// The easiest target.
    pub pow_limit: CompactTarget,
    /// The bits of genesis and of block 1.
    pub bits: CompactTarget,
}

impl Timing {
    /// Parameters with this timing.
    pub fn params(&self) -> ChainParams {
        timed(self.interval, self.response, self.pow_limit.0, self.bits.0)
    }
}

const MAIN: Timing = Timing {
    interval: 30_000,
    response: 3_600_000,
    pow_limit: CompactTarget(0x1e00_ffff),
    bits: CompactTarget(0x1e00_ffff),
};
const FINE: Timing = Timing {
    interval: 1_000,
    response: 60_000,
    pow_limit: CompactTarget(0x2000_ffff),
    bits: CompactTarget(0x1f00_ffff),
};

/// One step of the difficulty rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepCase {
    /// What the case is about.
    pub comment: String,
    /// The parameters.
    pub timing: Timing,
    /// The parent's height.
    pub height: u64,
    /// The parent's bits.
    pub bits: CompactTarget,
    /// The grandparent's time.
    pub grandparent_time: u64,
    /// The parent's time.
    pub time: u64,
    /// The bits that the child must carry.
    pub next: CompactTarget,
}

/// `wtema.json`.
pub fn steps() -> VectorFile<StepCase> {
    let mut cases = Vec::new();
    let mut add = |comment: &str, timing: Timing, height, bits, grandparent_time, time| {
        let bits = CompactTarget(bits);
        let next = next_bits(&timing.params(), &ParentTimes { bits, height, time, grandparent_time });
        cases.push(StepCase { comment: comment.into(), timing, height, bits, grandparent_time, time, next });
    };
    let start = 1_795_392_000_000;
    for timing in [MAIN, FINE] {
        let (interval, response) = (timing.interval, timing.response);
        add("block 1 takes the genesis bits", timing, 0, timing.bits.0, 0, start);
        add("block 2: t = T, however late block 1 was", timing, 1, 0x1c00_ffff, start, start + 9 * response);
        add("block 2: t = T, however early block 1 was", timing, 1, 0x1c00_ffff, start, start + 1);
        for (comment, t) in [
            ("t = T keeps the target", interval),
            ("t = T + 1", interval + 1),
            ("t = T - 1", interval - 1),
            ("t = 1, the least that increasing times allow", 1),
            ("t = 2T: half the hash rate", 2 * interval),
            ("t = T/2: twice the hash rate", interval / 2),
            ("t = 10T", 10 * interval),
            ("t = H: about twice the target", response),
            ("t = 4H - 1", 4 * response - 1),
            ("t = 4H, the most", 4 * response),
            ("t = 4H + 1 counts as 4H", 4 * response + 1),
            ("t of a weekend counts as 4H", 172_800_000),
        ] {
            add(comment, timing, 7, 0x1c00_ffff, start, start + t);
        }
        add("t of all time counts as 4H", timing, 7, 0x1c00_ffff, 0, u64::MAX);
        let limit = timing.pow_limit.0;
        add("at the limit: slower stays", timing, 7, limit, start, start + interval + 1);
        add("at the limit: 4H stays", timing, 7, limit, start, start + 4 * response);
        add("at the limit: T stays", timing, 7, limit, start, start + interval);
        add("at the limit: faster leaves it", timing, 7, limit, start, start + interval - 1);
        add("just below the limit: clamped", timing, 7, limit - 1, start, start + 2 * interval);
        add("the hardest target cannot harden", timing, 7, 0x0101_0000, start, start + 1);
        add("the hardest target moves up only in whole steps", timing, 7, 0x0101_0000, start, start + interval + 1);
        add("the hardest target times almost five", timing, 7, 0x0101_0000, start, start + 4 * response);
        add("rounding down in the compact form", timing, 7, 0x1c7f_ffff, start, start + interval + interval / 3);
        add("a mantissa crosses the sign bit", timing, 7, 0x1c7f_ffff, start, start + 2 * interval);
        add("a mantissa loses a byte", timing, 7, 0x1c00_8000, start, start + 1);
    }
    let about =
        "The child of a parent with this height, bits and time, whose parent has this time, must carry the bits next.";
    VectorFile { about: about.into(), genesis: None, cases }
}

/// A chain of header times, and the bits that follow from them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SequenceCase {
    /// What the case is about.
    pub comment: String,
    /// The parameters.
    pub timing: Timing,
    /// The times of genesis, block 1, block 2 and so on.
    pub times: Vec<u64>,
    /// The bits of the same blocks.
    pub bits: Vec<CompactTarget>,
}

impl SequenceCase {
    /// The bits of the block after these, all but the last of which have their bits.
    pub fn next_bits(&self, params: &ChainParams, height: usize) -> CompactTarget {
        if height == 0 {
            return params.bits;
        }
        let (bits, time) = (self.bits[height - 1], self.times[height - 1]);
        let grandparent_time = self.times[height.saturating_sub(2)];
        next_bits(params, &ParentTimes { bits, height: height as u64 - 1, time, grandparent_time })
    }

    /// Adds the block that `pace` (milliseconds, from its bits) finds after the last.
    fn push(&mut self, params: &ChainParams, pace: impl Fn(CompactTarget) -> u64) {
        let bits = self.next_bits(params, self.bits.len());
        let last = *self.times.last().expect("genesis stands");
        self.bits.push(bits);
        self.times.push(last + pace(bits).max(1));
    }
}

/// The milliseconds in which a constant rate, in hashes a millisecond, does the expected work of a target: no luck.
pub fn solve_time(bits: CompactTarget, rate: u64) -> u64 {
    let work = bits.to_target().expect("bits of a chain").work().value();
    u64::try_from(work).expect("test targets are easy") / rate
}

/// The main chain's parameters with the bits at which a rate, in hashes a millisecond, finds a block an interval.
pub fn settled(rate: u64) -> Timing {
    let easiest = MAIN.pow_limit.to_target().expect("canonical");
    let steady = Work::from_hashes(rate * MAIN.interval);
    let target = easiest.value() / steady.value() * easiest.work().value();
    Timing { bits: Target::new(target).to_compact(), ..MAIN }
}

/// `wtema_sequences.json`.
pub fn sequences() -> VectorFile<SequenceCase> {
    const RATE: u64 = 1_000_000;
    let mut cases = Vec::new();
    let mut add = |comment: &str, timing: Timing, parts: &[(usize, &dyn Fn(CompactTarget) -> u64)]| {
        let params = timing.params();
        let mut case =
            SequenceCase { comment: comment.into(), timing, times: vec![params.time], bits: vec![timing.bits] };
        for (blocks, pace) in parts {
            (0..*blocks).for_each(|_| case.push(&params, pace));
        }
        cases.push(case);
    };
    let at = |rate: u64| move |bits| solve_time(bits, rate);
    let timing = settled(RATE);
    add("a steady rate", timing, &[(40, &at(RATE))]);
    add("the rate doubles", timing, &[(10, &at(RATE)), (200, &at(2 * RATE))]);
    add("the rate halves", timing, &[(10, &at(RATE)), (200, &at(RATE / 2))]);
    add("the rate grows tenfold", timing, &[(10, &at(RATE)), (300, &at(10 * RATE))]);
    add("the rate falls to a tenth", timing, &[(10, &at(RATE)), (120, &at(RATE / 10))]);
    add("miners come and go", timing, &[(20, &at(RATE)), (40, &at(5 * RATE)), (20, &at(RATE)), (40, &at(5 * RATE))]);
    add("the network sleeps for a weekend", timing, &[(10, &at(RATE)), (1, &|_| 172_800_000), (480, &at(RATE))]);
    add("blocks a millisecond apart", timing, &[(5, &at(RATE)), (400, &|_| 1)]);
    add("from the limit: a rate too low for it", MAIN, &[(30, &at(100))]);
    add("from the limit: a rate that leaves it", MAIN, &[(300, &at(10_000))]);
    let about =
        "Blocks at these times, genesis first, carry these bits. Paces are those of a constant rate without luck.";
    VectorFile { about: about.into(), genesis: None, cases }
}

/// One height of a subsidy schedule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubsidyCase {
    /// The subsidy of block 1.
    pub initial: Amount,
    /// Blocks between halvings.
    pub halving_interval: u64,
    /// The height.
    pub height: u64,
    /// Its subsidy.
    pub subsidy: Amount,
    /// All subsidies from block 1 to it.
    pub through: Amount,
}

impl SubsidyCase {
    /// Parameters with this schedule.
    pub fn params(&self) -> ChainParams {
        ChainParams { subsidy: self.initial, halving_interval: self.halving_interval, ..dev_params() }
    }
}

/// `subsidy.json`.
pub fn subsidies() -> VectorFile<SubsidyCase> {
    let mut cases = Vec::new();
    let main = main_params();
    for (initial, halving_interval) in [(main.subsidy, main.halving_interval), (Amount(1_000), 6), (Amount(1), 1)] {
        let n = halving_interval;
        for height in [0, 1, 2, n, n + 1, 2 * n, 2 * n + 1, 9 * n + 1, 63 * n, 63 * n + 1, 64 * n, 64 * n + 1, u64::MAX]
        {
            let (subsidy, through) = (Amount::ZERO, Amount::ZERO);
            let case = SubsidyCase { initial, halving_interval, height, subsidy, through };
            let params = case.params();
            let (subsidy, through) = (subsidy_at(&params, height), subsidies_through(&params, height));
            cases.push(SubsidyCase { subsidy, through, ..case });
        }
    }
    let about = "The block at this height earns this subsidy; all blocks up to it have earned through.";
    VectorFile { about: about.into(), genesis: None, cases }
}
