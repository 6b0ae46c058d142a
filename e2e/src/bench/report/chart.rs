//! The chart: a bar for each tool in each case.

use std::fmt::Write as _;

use super::text::cell;
use crate::bench::cases::{Kind, new_data, nothing_new, restore};
use crate::bench::results::{Results, Series};
use crate::bench::tools::{Agent, Tool};

const WIDTH: f64 = 720.0;
const LABELS: f64 = 250.0;
const BAR: f64 = 18.0;
const STEP: f64 = 24.0;

/// An SVG, readable on light and dark pages.
pub fn svg(results: &Results) -> String {
    let mut bars = String::new();
    let mut y = 10.0;
    for name in [
        new_data::name(Kind::S3),
        new_data::name(Kind::File),
        nothing_new::name(Kind::S3),
        nothing_new::name(Kind::File),
        restore::NAME,
    ] {
        let Some(case) = results.case(name) else {
            continue;
        };
        let shown: Vec<_> = case
            .series
            .iter()
            .filter(|series| series.tool != Tool::B3sum.name())
            .filter_map(|series| Some((series, series.wall()?)))
            .collect();
        y += STEP;
        // Writing to a string does not fail.
        let _ = writeln!(
            bars,
            "<text x=\"0\" y=\"{y}\" font-weight=\"bold\">{name}, seconds</text>"
        );
        let most = shown.iter().map(|(_, wall)| *wall).fold(0.0, f64::max);
        for (series, wall) in shown {
            y += STEP;
            bar(&mut bars, y, series, wall, most);
        }
        y += STEP / 2.0;
    }
    let height = y + STEP;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{bars}</svg>\n"
    )
}

fn bar(out: &mut String, y: f64, series: &Series, wall: f64, most: f64) {
    let ours = series.tool.starts_with(Tool::Agent(Agent::Default).name());
    let color = if ours { "#0a7d4f" } else { "#9aa5b1" };
    let room = WIDTH - LABELS - 60.0;
    let length = (wall / most * room).max(1.0);
    let top = y - BAR + 4.0;
    let (tool, value) = (&series.tool, cell(Some(wall)));
    let end = LABELS + length + 6.0;
    let _ = writeln!(
        out,
        "<text x=\"{0}\" y=\"{y}\" text-anchor=\"end\">{tool}</text>\
         <rect x=\"{LABELS}\" y=\"{top}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{color}\"/>\
         <text x=\"{end:.1}\" y=\"{y}\">{value}</text>",
        LABELS - 8.0
    );
}
