//! Figures: a few series of points, drawn as SVG and listed as text.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
/// Without the legend, which stands below.
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 55.0;
/// The height of a line.
const LINE: f64 = 18.0;
/// Colours that those who see few apart can tell (Okabe and Ito, "Color Universal Design", 2008).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"];

/// How an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// By differences.
    Linear,
    /// By ratios. Every value must be above zero.
    Log,
}

/// An axis from the least to the greatest of its ticks.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it counts, with its unit.
    pub label: &'static str,
    /// How.
    pub scale: Scale,
    /// Where it is marked, in order.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis.
    pub fn new(label: &'static str, scale: Scale, ticks: &[f64]) -> Axis {
        Axis { label, scale, ticks: ticks.to_vec() }
    }

    /// Where a value stands: 0 at one end, 1 at the other.
    fn place(&self, value: f64) -> f64 {
        let [first, last] = [self.ticks.first(), self.ticks.last()].map(|tick| tick.copied().unwrap_or(f64::NAN));
        let of = |value: f64| if self.scale == Scale::Log { value.ln() } else { value };
        (of(value) - of(first)) / (of(last) - of(first))
    }
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A line.
    Line,
    /// A broken line: what something else is compared with.
    Dashed,
    /// Dots: what was counted.
    Dots,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub struct Series {
    /// What they are.
    pub name: String,
    /// How they are drawn.
    pub style: Style,
    /// The points.
    pub points: Vec<(f64, f64)>,
    /// The place of its colour; that of the series among all, where none is given.
    pub colour: Option<usize>,
}

impl Series {
    /// A series.
    pub fn new(name: impl Into<String>, style: Style, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.into(), style, points, colour: None }
    }

    /// In the colour of the series at `place`, to which it belongs.
    #[must_use]
    pub fn like(self, place: usize) -> Series {
        Series { colour: Some(place), ..self }
    }
}

/// A figure.
#[derive(Clone, Debug)]
pub struct Plot {
    /// The name of its file, without an ending.
    pub file: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What is drawn, the last on top.
    pub series: Vec<Series>,
}

impl Plot {
    /// The figure as SVG.
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        let mut put = |text: String| svg.push_str(&(text + "\n"));
        let whole = HEIGHT + LINE * (self.series.len() as f64 + 0.5);
        put(format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {whole}" font-family="sans-serif" font-size="13">"#
        ));
        put(format!("<title>{}</title>", escape(self.title)));
        put(format!(r#"<rect width="{WIDTH}" height="{whole}" fill="white"/>"#));
        // What is beyond the axes is not shown; a dot on an end is.
        let (left, top, width, height) =
            (LEFT - 4.0, TOP - 4.0, WIDTH - LEFT - RIGHT + 8.0, HEIGHT - TOP - BOTTOM + 8.0);
        put(format!(
            r#"<clipPath id="frame"><rect x="{left}" y="{top}" width="{width}" height="{height}"/></clipPath>"#
        ));
        put(text(WIDTH / 2.0, 22.0, "middle", r#"font-size="15""#, self.title));
        for value in &self.x.ticks {
            let x = self.left(*value);
            put(format!(r#"<path d="M{x:.1} {TOP}V{}" stroke="{GRID}"/>"#, HEIGHT - BOTTOM));
            put(text(x, HEIGHT - BOTTOM + LINE, "middle", "", &value.to_string()));
        }
        for value in &self.y.ticks {
            let y = self.down(*value);
            put(format!(r#"<path d="M{LEFT} {y:.1}H{}" stroke="{GRID}"/>"#, WIDTH - RIGHT));
            put(text(LEFT - 6.0, y + 4.0, "end", "", &value.to_string()));
        }
        put(text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 14.0, "middle", "", self.x.label));
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        put(text(16.0, middle, "middle", &format!(r#"transform="rotate(-90 16 {middle})""#), self.y.label));
        let mut legend = String::new();
        for (index, series) in self.series.iter().enumerate() {
            let colour = COLOURS[series.colour.unwrap_or(index) % COLOURS.len()];
            let places = series.points.iter().map(|(x, y)| (self.left(*x), self.down(*y)));
            let places: Vec<(f64, f64)> = places.filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
            let at = HEIGHT + LINE * (index as f64 + 0.5);
            put(format!(r#"<g clip-path="url(#frame)">{}</g>"#, drawn(&places, series.style, colour)));
            legend += &drawn(&[(LEFT + 12.0, at), (LEFT + 36.0, at)], series.style, colour);
            legend += &text(LEFT + 44.0, at + 4.0, "start", "", &series.name);
        }
        put(legend);
        put("</svg>".into());
        svg
    }

    /// The points, a line each, with the words of the axes and series.
    pub fn table(&self) -> String {
        let mut table = format!("# {}\n# {}\t{}\tseries\n", self.title, self.x.label, self.y.label);
        for series in &self.series {
            for (x, y) in &series.points {
                writeln!(table, "{}\t{}\t{}", short(*x), short(*y), series.name).expect("a string has room");
            }
        }
        table
    }

    fn left(&self, x: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * self.x.place(x)
    }

    fn down(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * self.y.place(y)
    }
}

const GRID: &str = "#e0e0e0";

/// Five digits.
pub(crate) fn short(value: f64) -> String {
    let digits = value.abs().log10().floor();
    let decimals = if digits.is_finite() { (4.0 - digits).clamp(0.0, 12.0) as usize } else { 0 };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn drawn(places: &[(f64, f64)], style: Style, colour: &str) -> String {
    if style == Style::Dots {
        let dot = |(x, y): &(f64, f64)| format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{colour}"/>"#);
        return places.iter().map(dot).collect();
    }
    let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let dashes = if style == Style::Dashed { r#" stroke-dasharray="7 4""# } else { "" };
    format!(r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>"#, points.join(" "))
}

fn text(x: f64, y: f64, anchor: &str, more: &str, words: &str) -> String {
    format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" {more}>{}</text>"#, escape(words))
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_shows_every_point_between_its_axes() {
        let plot = Plot {
            file: "test",
            title: "a < b & c",
            x: Axis::new("time (s)", Scale::Log, &[1.0, 10.0, 100.0]),
            y: Axis::new("share", Scale::Linear, &[0.0, 0.5, 1.0]),
            series: vec![
                Series::new("measured", Style::Dots, vec![(1.0, 0.0), (10.0, 0.5), (100.0, 1.0), (1000.0, 2.0)]),
                Series::new("formula", Style::Line, vec![(1.0, 1.0), (100.0, 0.0)]),
            ],
        };
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b &amp; c") && svg.trim_end().ends_with("</svg>"), "{svg}");
        // Four points, and two in the legend.
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(svg.contains(r#"cx="385.0" cy="212.5""#), "the middle of both axes: {svg}");
        assert_eq!(svg.matches(r#"cx="700.0" cy="40.0""#).count(), 1, "the end");
        assert_eq!(svg.matches("<g clip-path").count(), 2, "what is beyond is cut off");
        assert_eq!(plot.table().lines().count(), 2 + 6);
        assert!(plot.table().contains("10\t0.5\tmeasured"));
    }

    #[test]
    fn numbers_are_short() {
        let expected = [
            (0.0, "0"),
            (1.0 / 3.0, "0.33333"),
            (12345.678, "12346"),
            (0.000_012_345_6, "0.000012346"),
            (100.0, "100"),
        ];
        for (value, text) in expected {
            assert_eq!(short(value), text);
        }
    }
}
