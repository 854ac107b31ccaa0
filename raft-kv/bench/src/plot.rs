//! The loads as a drawing: operations a second and p99 over the number of clients, both sides, as SVG.

use std::fmt::Write;

use crate::report::{Pair, median, pairs, spread};
use crate::results::Results;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 220.0;
/// Around each panel, for numbers and names.
const MARGIN: f64 = 56.0;
const COLOURS: [(&str, &str); 2] = [("raft-kv", "#0b6e4f"), ("etcd", "#c1440e")];
/// What is drawn, a row each.
const FIGURES: [(&str, &str); 2] = [
    ("ops_per_second", "operations a second"),
    ("p99_us", "p99, microseconds"),
];
const OPS: [(&str, &str); 3] = [
    ("put", "put"),
    ("get", "linearizable get"),
    ("mix", "9 gets to a put"),
];

/// A point: how many clients; the median, the least and the most.
type Point = (f64, f64, f64, f64);

/// The whole drawing, unless nothing was measured.
pub(crate) fn load(results: &Results) -> Option<String> {
    let pairs = pairs(results, "load");
    if pairs.is_empty() {
        return None;
    }
    let (columns, rows) = (OPS.len() as f64, FIGURES.len() as f64);
    let (width, height) = (
        columns * (WIDTH + MARGIN) + MARGIN,
        rows * (HEIGHT + MARGIN) + MARGIN,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (number, (name, colour)) in COLOURS.iter().enumerate() {
        let x = MARGIN + 80.0 * number as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"18\" fill=\"{colour}\" font-weight=\"bold\">{name}</text>"
        );
    }
    for (row, (figure, figure_name)) in FIGURES.iter().enumerate() {
        for (column, (op, op_name)) in OPS.iter().enumerate() {
            let of_op: Vec<&Pair<'_>> =
                pairs.iter().filter(|pair| pair.cell["op"] == *op).collect();
            let sides = [0, 1].map(|side| points(&of_op, side, figure));
            let left = MARGIN + column as f64 * (WIDTH + MARGIN);
            let top = MARGIN + row as f64 * (HEIGHT + MARGIN);
            panel(
                &mut svg,
                (left, top),
                &format!("{op_name}: {figure_name}"),
                &sides,
            );
        }
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn points(pairs: &[&Pair<'_>], side: usize, figure: &str) -> Vec<Point> {
    let point = |pair: &&Pair<'_>| {
        let values = pair.figures(side, figure);
        let (least, most) = spread(&values)?;
        Some((
            pair.cell["clients"].as_f64()?,
            median(&values)?,
            least,
            most,
        ))
    };
    let mut points: Vec<Point> = pairs.iter().filter_map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// Both axes are logarithmic; whiskers go from the least to the most of the rounds.
fn panel(svg: &mut String, (left, top): (f64, f64), title: &str, sides: &[Vec<Point>; 2]) {
    let all = || sides.iter().flatten();
    let lowest = all().map(|point| point.2).fold(f64::INFINITY, f64::min);
    let highest = all().map(|point| point.3).fold(0.0, f64::max);
    let most_clients = all().map(|point| point.0).fold(1.0, f64::max);
    let (low, high) = (
        lowest.max(1.0).log10().floor(),
        highest.max(1.0).log10().ceil(),
    );
    let (low, high) = if low < high {
        (low, high)
    } else {
        (low - 1.0, low)
    };
    let x = |clients: f64| left + WIDTH * clients.log10() / most_clients.log10().max(0.3);
    let y = |value: f64| top + HEIGHT * (1.0 - (value.max(1.0).log10() - low) / (high - low));
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{title}</text>\n\
         <rect x=\"{left}\" y=\"{top}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#999\"/>",
        top - 6.0
    );
    if all().next().is_none() {
        return;
    }
    let mut decade = low;
    while decade <= high {
        let at = y(10_f64.powf(decade));
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" y1=\"{at:.1}\" x2=\"{}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left + WIDTH,
            left - 4.0,
            at + 4.0,
            10_f64.powf(decade)
        );
        decade += 1.0;
    }
    for point in sides
        .iter()
        .max_by_key(|side| side.len())
        .into_iter()
        .flatten()
    {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(point.0),
            top + HEIGHT + 14.0,
            point.0
        );
    }
    for (points, (_, colour)) in sides.iter().zip(COLOURS) {
        let line: Vec<String> = points
            .iter()
            .map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for (clients, middle, least, most) in points {
            let (at, from, to, centre) = (x(*clients), y(*least), y(*most), y(*middle));
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" y1=\"{from:.1}\" x2=\"{at:.1}\" y2=\"{to:.1}\" stroke=\"{colour}\"/>\
                 <circle cx=\"{at:.1}\" cy=\"{centre:.1}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
    }
}
