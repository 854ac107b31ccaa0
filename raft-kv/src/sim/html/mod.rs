//! A run as a page to look at in a browser: a space-time diagram, with everything that it needs in it.

mod pack;
#[cfg(test)]
mod tests;

use super::replay::replay;
use super::run::Report;
use super::trace_json::{Field, Lines};
use pack::Packer;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
/// In the order in which they need each other.
const SCRIPTS: [&str; 6] = [
    include_str!("model.js"),
    include_str!("theme.js"),
    include_str!("draw.js"),
    include_str!("overview.js"),
    include_str!("panel.js"),
    include_str!("page.js"),
];

/// The page of a run whose trace was kept whole.
#[must_use]
pub fn page(report: &Report) -> String {
    let title = format!("seed {}", report.setup.seed);
    let mut page = String::new();
    let mut rest = PAGE;
    // Only the template is searched for places, never what was put into one.
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (place, behind) = after.split_once("}}").unwrap_or((after, ""));
        match place {
            "title" => page.push_str(&title),
            "style" => page.push_str(STYLE),
            "data" => page.push_str(&data(report)),
            "script" => SCRIPTS.iter().for_each(|script| page.push_str(script)),
            _ => {}
        }
        rest = behind;
    }
    page.push_str(rest);
    page
}

/// What the scripts read. No `<` is in it, so that no text of a run ends the element that holds it.
fn data(report: &Report) -> String {
    let setup = &report.setup;
    let nanos = |time: super::Time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let violation = report.violation.as_ref().map(|violation| {
        Field::from([
            ("invariant", violation.invariant.into()),
            ("what", violation.what.clone().into()),
        ])
    });
    let about = Field::from([
        ("seed", setup.seed.to_string().into()),
        ("nodes", setup.nodes.into()),
        ("clients", setup.clients.into()),
        ("faults", setup.faults.to_string().into()),
        ("horizon_ns", nanos(setup.horizon).into()),
        ("latency_ns", nanos(setup.tuning.latency.1).into()),
        ("ended_ns", nanos(report.ended).into()),
        ("acknowledged", report.acknowledged.into()),
        ("committed", report.committed.into()),
        ("elections", report.elections.into()),
        ("hash", format!("{:016x}", report.hash).into()),
        ("command", replay(setup).into()),
        ("violation", violation.into()),
        ("inconclusive", report.inconclusive.clone().into()),
        (
            "first_step",
            report
                .records
                .first()
                .map_or(1, |record| record.step)
                .into(),
        ),
    ]);
    let mut lines = Lines::default();
    let mut packer = Packer::default();
    for record in &report.records {
        packer.record(lines.line(record));
    }
    let about = serde_json::to_string(&about).unwrap_or_else(|_| "{}".into());
    packer.finish(&about).replace('<', "\\u003c")
}
