//! A picture for README and book: durable resets over clients.

use crate::case::{CLIENTS, Case};
use crate::measured::{Cell, Measurements, Number};
use crate::server::Kind;
use std::fmt::Write;

/// Points of the drawing, and of the two charts in it.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 330.0;
const CHART_WIDTH: f64 = 270.0;
const CHART_HEIGHT: f64 = 220.0;
const TOP: f64 = 50.0;

/// It is read on white and on black.
const STYLE: &str = "\
<style>
text { font: 12px sans-serif; fill: #57606a }
.title { font-weight: bold }
.grid { stroke: #8c959f; stroke-opacity: .35 }
polyline { fill: none; stroke-width: 2 }
.k0 { stroke: #0969da; fill: #0969da } .k1 { stroke: #1a7f37; fill: #1a7f37 }
.k2 { stroke: #bc4c00; fill: #bc4c00 } .k3 { stroke: #8250df; fill: #8250df }
polyline.k0, polyline.k1, polyline.k2, polyline.k3 { fill: none }
@media (prefers-color-scheme: dark) { text { fill: #9198a1 } }
</style>";

/// One of the charts: a title, where it begins, and what it shows.
struct Chart {
    title: &'static str,
    left: f64,
    value: fn(&Cell) -> f64,
}

const CHARTS: [Chart; 2] = [
    Chart {
        title: "durable resets a second",
        left: 60.0,
        value: |cell| cell.median(Number::Rate),
    },
    Chart {
        title: "99th percentile of the latency, ms",
        left: 430.0,
        value: |cell| cell.latency(0.99),
    },
];

/// The drawing, as SVG.
pub(crate) fn draw(measurements: &Measurements) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         role=\"img\" aria-label=\"durable resets a second and their latency, by the number of clients\">\n\
         {STYLE}\n"
    );
    for chart in &CHARTS {
        svg += &chart.draw(measurements);
    }
    for (number, kind) in Kind::ON_FILES.into_iter().enumerate() {
        let x = 60.0 + 160.0 * number as f64;
        let (y, name) = (HEIGHT - 10.0, kind.name());
        let _ = writeln!(
            svg,
            "<circle class=\"k{number}\" cx=\"{x}\" cy=\"{}\" r=\"4\"/><text x=\"{}\" y=\"{y}\">{name}</text>",
            y - 4.0,
            x + 10.0
        );
    }
    svg + "</svg>\n"
}

impl Chart {
    fn draw(&self, measurements: &Measurements) -> String {
        let lines = Kind::ON_FILES.map(|kind| {
            let value = |clients| {
                let cell = measurements.cell(kind, Case::Success, clients);
                cell.map_or(f64::NAN, self.value)
            };
            CLIENTS.map(value)
        });
        let ticks = ticks(lines.iter().flatten().copied());
        let (lowest, highest) = (ticks.first().copied(), ticks.last().copied());
        let (lowest, highest) = (lowest.unwrap_or(1.0), highest.unwrap_or(1.0));
        let y = |value: f64| TOP + CHART_HEIGHT * (highest / value).ln() / (highest / lowest).ln();
        let mut svg = format!(
            "<text class=\"title\" x=\"{}\" y=\"{}\">{}</text>\n",
            self.left,
            TOP - 20.0,
            self.title
        );
        for tick in &ticks {
            svg += &self.grid_line(*tick, y(*tick));
        }
        for (place, clients) in CLIENTS.into_iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text text-anchor=\"middle\" x=\"{}\" y=\"{}\">{clients}{}</text>",
                self.x(place),
                TOP + CHART_HEIGHT + 18.0,
                if clients == 1 { " client" } else { "" }
            );
        }
        for (number, line) in lines.into_iter().enumerate() {
            svg += &self.line(number, line.map(y));
        }
        svg
    }

    fn x(&self, place: usize) -> f64 {
        self.left + CHART_WIDTH * place as f64 / (CLIENTS.len() - 1) as f64
    }

    fn grid_line(&self, value: f64, y: f64) -> String {
        let (left, right) = (self.left, self.left + CHART_WIDTH);
        format!(
            "<line class=\"grid\" x1=\"{left}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>\
             <text text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{value}</text>\n",
            left - 8.0,
            y + 4.0
        )
    }

    fn line(&self, number: usize, heights: [f64; CLIENTS.len()]) -> String {
        let points = heights.iter().enumerate();
        let points: Vec<_> = points.map(|(place, y)| (self.x(place), *y)).collect();
        let path: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let mut svg = format!(
            "<polyline class=\"k{number}\" points=\"{}\"/>\n",
            path.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(
                svg,
                "<circle class=\"k{number}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
            );
        }
        svg
    }
}

/// 1, 2, 5, 10 and so on, from below all values to above.
fn ticks(values: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let lowest = values.clone().fold(f64::INFINITY, f64::min);
    let highest = values.fold(0.0, f64::max);
    let ticks = (-3..9).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    let above = ticks.clone().find(|tick| *tick >= highest);
    let from_below = ticks.clone().rfind(|tick| *tick <= lowest);
    let (from, to) = (from_below.unwrap_or(lowest), above.unwrap_or(highest));
    ticks.filter(|tick| (from..=to).contains(tick)).collect()
}
