//! Counters, histograms and gauges, and the page on which they are written: Prometheus' text format, version 0.0.4
//! (Prometheus documentation, "Exposition formats").
//!
//! Our own because little is needed. `metrics-exporter-prometheus` brings some ten further crates even without its HTTP
//! server, among them a summary of quantiles that is not used here; `prometheus-client` writes OpenMetrics, which is
//! another format. Names and label values are words of this program, so nothing needs escaping.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::{Mutex, MutexGuard};

/// A number that only rises, or one for each combination of label values.
pub(super) struct Counter<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    series: Mutex<BTreeMap<[&'static str; N], u64>>,
}

impl Counter<0> {
    /// A counter that stands at nought.
    pub(super) fn new(name: &'static str, help: &'static str) -> Counter<0> {
        Counter { name, help, labels: [], series: Mutex::new(BTreeMap::from([([], 0)])) }
    }
}

impl<const N: usize> Counter<N> {
    /// Counters that stand at nought for the label values that are known before, so that rates begin with the first
    /// event.
    pub(super) fn labelled(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        known: &[[&'static str; N]],
    ) -> Counter<N> {
        Counter { name, help, labels, series: Mutex::new(known.iter().map(|values| (*values, 0)).collect()) }
    }

    pub(super) fn add(&self, values: [&'static str; N], count: u64) {
        let mut series = lock(&self.series);
        let counter = series.entry(values).or_default();
        *counter = counter.saturating_add(count);
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head(self.name, self.help, "counter");
        for (values, count) in &*lock(&self.series) {
            page.sample(self.name, "", &pairs(self.labels, *values), count);
        }
    }
}

/// How often something measured fell below each of some bounds, with the sum of all.
pub(super) struct Histogram<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    /// Ascending.
    bounds: &'static [f64],
    series: Mutex<BTreeMap<[&'static str; N], Observed>>,
}

#[derive(Clone, Default)]
struct Observed {
    /// Those at or below each bound and above the one before, and last those above all.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram<0> {
    /// A histogram of nothing yet.
    pub(super) fn new(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Histogram<0> {
        let nothing = Observed { counts: vec![0; bounds.len() + 1], sum: 0.0 };
        Histogram { name, help, labels: [], bounds, series: Mutex::new(BTreeMap::from([([], nothing)])) }
    }
}

impl<const N: usize> Histogram<N> {
    /// Histograms that begin with the first value of their label values.
    pub(super) fn labelled(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &'static [f64],
    ) -> Histogram<N> {
        Histogram { name, help, labels, bounds, series: Mutex::default() }
    }

    pub(super) fn observe(&self, values: [&'static str; N], value: f64) {
        let place = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        let mut series = lock(&self.series);
        let observed = series.entry(values).or_default();
        observed.counts.resize(self.bounds.len() + 1, 0);
        observed.counts[place] += 1;
        observed.sum += value;
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head(self.name, self.help, "histogram");
        for (values, observed) in &*lock(&self.series) {
            let labels = pairs(self.labels, *values);
            let mut total = 0;
            let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(&observed.counts) {
                total += count;
                let labels = [&labels[..], &[("le", bound.as_str())]].concat();
                page.sample(self.name, "_bucket", &labels, total);
            }
            page.sample(self.name, "_sum", &labels, observed.sum);
            page.sample(self.name, "_count", &labels, total);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds the lock")
}

fn pairs<const N: usize>(labels: [&'static str; N], values: [&'static str; N]) -> Vec<(&'static str, &'static str)> {
    labels.into_iter().zip(values).collect()
}

/// What a scrape reads.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// A number that rises and falls.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "gauge");
        self.sample(name, "", &[], value);
    }

    /// A number that rises and falls for each value of a label.
    pub(super) fn labelled_gauge(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        self.head(name, help, "gauge");
        values.iter().for_each(|(of, value)| self.sample(name, "", &[(label, of)], value));
    }

    /// A count that is kept elsewhere.
    pub(super) fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.head(name, help, "counter");
        self.sample(name, "", &[], count);
    }

    /// Counts that are kept elsewhere, for each value of a label.
    pub(super) fn labelled_counter(&mut self, name: &str, help: &str, label: &str, counts: &[(&str, u64)]) {
        self.head(name, help, "counter");
        counts.iter().for_each(|(of, count)| self.sample(name, "", &[(label, of)], count));
    }

    /// The text.
    pub(super) fn text(self) -> String {
        self.0
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name}{suffix} {value}")),
            false => self.line(format_args!("{name}{suffix}{{{}}} {value}", labels.join(","))),
        }
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a string takes any text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_the_format_says() {
        let counter = Counter::labelled("a_total", "What a is.", ["kind"], &[["x"], ["y"]]);
        counter.add(["y"], 2);
        counter.add(["z"], u64::MAX);
        counter.add(["z"], 1);
        let histogram = Histogram::new("b_seconds", "What b is.", &[0.5, 1.0]);
        [0.5, 0.75, 2.0].into_iter().for_each(|value| histogram.observe([], value));
        let mut page = Page::default();
        counter.write(&mut page);
        histogram.write(&mut page);
        page.gauge("c", "What c is.", 1.5);
        let expected = "# HELP a_total What a is.\n# TYPE a_total counter\na_total{kind=\"x\"} 0\na_total{kind=\"y\"} 2\n\
                        a_total{kind=\"z\"} 18446744073709551615\n\
                        # HELP b_seconds What b is.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"0.5\"} 1\n\
                        b_seconds_bucket{le=\"1\"} 2\nb_seconds_bucket{le=\"+Inf\"} 3\nb_seconds_sum 3.25\n\
                        b_seconds_count 3\n# HELP c What c is.\n# TYPE c gauge\nc 1.5\n";
        assert_eq!(page.text(), expected);
    }
}
