//! Reads Prometheus' text format, version 0.0.4, and takes nothing that the format does not allow.

use std::collections::{BTreeMap, BTreeSet};

/// A page of metrics.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// The metrics by name.
    pub families: BTreeMap<String, Family>,
}

/// One metric.
#[derive(Clone, Debug)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// What it says, in the order of the page.
    pub samples: Vec<Sample>,
}

/// One number.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The name, of a histogram with its suffix.
    pub name: String,
    /// Names and values.
    pub labels: Vec<(String, String)>,
    /// The number.
    pub value: f64,
}

impl Scrape {
    /// Reads a page.
    ///
    /// # Panics
    /// If it breaks a rule of the format, or a convention: help and type come first and once, counters end in `_total`,
    /// no sample stands twice, a histogram's buckets rise and end with its count.
    pub fn read(page: &str) -> Scrape {
        assert!(page.ends_with('\n'), "the last line ends");
        let (mut scrape, mut current) = (Scrape::default(), None::<String>);
        let mut lines = page.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect(line);
                assert!(is_name(name) && text.ends_with('.'), "{line}");
                let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect(line);
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                let family = Family { kind: kind.into(), samples: Vec::new() };
                assert!(scrape.families.insert(name.into(), family).is_none(), "{name} stands twice");
                current = Some(name.into());
            } else {
                let name = current.as_ref().expect("help comes before samples");
                let family = scrape.families.get_mut(name).expect("it was just entered");
                let sample = Sample::read(line);
                let suffix = sample.name.strip_prefix(name.as_str()).expect(line);
                let histogram = ["_bucket", "_sum", "_count"].contains(&suffix);
                assert_eq!((histogram, !histogram), (family.kind == "histogram", suffix.is_empty()), "{line}");
                family.samples.push(sample);
            }
        }
        scrape.families.iter().for_each(|(name, family)| family.check(name));
        scrape
    }

    /// The number of a metric without labels.
    ///
    /// # Panics
    /// If there is none.
    pub fn value(&self, name: &str) -> f64 {
        self.labelled(name, &[])
    }

    /// The number of a metric with these labels.
    ///
    /// # Panics
    /// If there is none.
    pub fn labelled(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let family = name.trim_end_matches("_count").trim_end_matches("_sum");
        let family = self.families.get(name).or(self.families.get(family)).unwrap_or_else(|| panic!("no {name}"));
        let labels: Vec<_> = labels.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect();
        let found = family.samples.iter().find(|sample| sample.name == name && sample.labels == labels);
        found.unwrap_or_else(|| panic!("no {name} {labels:?}")).value
    }
}

impl Family {
    fn check(&self, name: &str) {
        let distinct: BTreeSet<_> = self.samples.iter().map(|sample| (&sample.name, &sample.labels)).collect();
        assert_eq!(distinct.len(), self.samples.len(), "{name}: a sample stands twice");
        if self.kind == "histogram" {
            let mut last = 0.0;
            for sample in &self.samples {
                let bucket = sample.name.ends_with("_bucket");
                let infinite = bucket && sample.labels.last().expect("a bound").1 == "+Inf";
                assert!(!bucket || sample.value >= last, "{name}: buckets fall");
                assert!(!sample.name.ends_with("_count") || sample.value == last, "{name}: the count is another");
                last = if bucket { sample.value } else { last };
                assert!(!infinite || sample.labels.last().expect("a bound").0 == "le");
                last = if sample.name.ends_with("_count") { 0.0 } else { last };
            }
        } else if self.kind == "counter" {
            assert!(self.samples.iter().all(|sample| sample.value >= 0.0), "{name} is negative");
        }
    }
}

impl Sample {
    fn read(line: &str) -> Sample {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect(line));
        assert!(is_name(name), "{line}");
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once("} ").expect(line),
            None => ("", &rest[1..]),
        };
        let label = |pair: &str| {
            let (label, value) = pair.split_once('=').expect(line);
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect(line);
            assert!(is_name(label) && !value.contains(['"', '\\']), "{line}");
            (label.to_owned(), value.to_owned())
        };
        let labels = labels.split(',').filter(|pair| !pair.is_empty()).map(label).collect();
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite(), "{line}");
        Sample { name: name.into(), labels, value }
    }
}

fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}
