//! What came of a bench: figures as text and as JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::args::BenchArgs;

/// Latencies up to ten minutes, to three digits.
const LATENCY_MAX_US: u64 = 600_000_000;

/// What clients count.
pub(super) struct Tally {
    /// Microseconds of each answer.
    pub(super) latencies: Histogram<u64>,
    pub(super) puts: u64,
    pub(super) gets: u64,
    /// Requests that surely did nothing.
    pub(super) errors: u64,
    /// Writes that may have been applied.
    pub(super) unknown: u64,
    /// Answers that cannot be right.
    pub(super) wrong: u64,
    /// The first error and the first wrong answer, in words.
    pub(super) first_error: Option<String>,
    pub(super) first_wrong: Option<String>,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally {
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
                .expect("bounds that are fixed and valid"),
            puts: 0,
            gets: 0,
            errors: 0,
            unknown: 0,
            wrong: 0,
            first_error: None,
            first_wrong: None,
        }
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        self.latencies.saturating_record(micros);
    }

    pub(super) fn wrong(&mut self, what: String) {
        self.wrong += 1;
        self.first_wrong.get_or_insert(what);
    }

    pub(super) fn error(&mut self, what: String, maybe_applied: bool) {
        if maybe_applied {
            self.unknown += 1;
        } else {
            self.errors += 1;
        }
        self.first_error.get_or_insert(what);
    }

    pub(super) fn merge(&mut self, other: Tally) {
        self.latencies
            .add(&other.latencies)
            .expect("the same bounds");
        self.puts += other.puts;
        self.gets += other.gets;
        self.errors += other.errors;
        self.unknown += other.unknown;
        self.wrong += other.wrong;
        self.first_error = self.first_error.take().or(other.first_error);
        self.first_wrong = self.first_wrong.take().or(other.first_wrong);
    }
}

/// A finished bench.
pub(super) struct Report<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) connections: usize,
    pub(super) elapsed: Duration,
    pub(super) tally: Tally,
}

impl Report<'_> {
    fn ops(&self) -> u64 {
        self.tally.puts + self.tally.gets
    }

    fn ops_per_second(&self) -> f64 {
        self.ops() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn quantile(&self, quantile: f64) -> u64 {
        self.tally.latencies.value_at_quantile(quantile)
    }

    pub(super) fn json(&self) -> Value {
        let Report { args, tally, .. } = self;
        json!({
            "op": args.op.name(),
            "clients": args.clients,
            "connections": self.connections,
            "value_size": args.value_size,
            "keys": args.keys,
            "seconds": (self.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            "ops": self.ops(),
            "puts": tally.puts,
            "gets": tally.gets,
            "errors": tally.errors,
            "unknown": tally.unknown,
            "wrong": tally.wrong,
            "ops_per_second": (self.ops_per_second() * 10.0).round() / 10.0,
            "mean_us": tally.latencies.mean().round(),
            "p50_us": self.quantile(0.5),
            "p90_us": self.quantile(0.9),
            "p99_us": self.quantile(0.99),
            "p999_us": self.quantile(0.999),
            "max_us": tally.latencies.max(),
        })
    }

    pub(super) fn text(&self) -> String {
        let Report { args, tally, .. } = self;
        let mut out = format!(
            "{} {} by {} clients over {} connections in {:.1} s, values of {} bytes, {} keys\n",
            self.ops(),
            match args.op {
                crate::args::BenchOp::Put => "puts",
                crate::args::BenchOp::Get => "linearizable gets",
                crate::args::BenchOp::Mix => "puts and linearizable gets",
            },
            args.clients,
            self.connections,
            self.elapsed.as_secs_f64(),
            args.value_size,
            args.keys,
        );
        out.push_str(&format!("{:.0} per second\n\n", self.ops_per_second()));
        for (name, quantile) in [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p99.9", 0.999),
            ("max", 1.0),
        ] {
            out.push_str(&format!(
                "  {name:<6} {:>10}\n",
                micros(self.quantile(quantile))
            ));
        }
        out.push('\n');
        out.push_str(&self.histogram());
        let Tally {
            errors,
            unknown,
            wrong,
            ..
        } = tally;
        out.push_str(&format!(
            "\n{errors} errors, {unknown} unknown outcomes, {wrong} wrong answers\n"
        ));
        if let Some(error) = &tally.first_error {
            out.push_str(&format!("first error: {error}\n"));
        }
        out
    }

    /// A bar for each doubling of the latency.
    fn histogram(&self) -> String {
        const WIDTH: u64 = 40;
        let latencies = &self.tally.latencies;
        if latencies.is_empty() {
            return String::new();
        }
        let mut bars: Vec<(u64, u64)> = Vec::new();
        let mut low = 1;
        while low <= latencies.max() {
            bars.push((low, latencies.count_between(low, low * 2 - 1)));
            low *= 2;
        }
        let begin = bars.iter().position(|(_, count)| *count > 0).unwrap_or(0);
        let most = bars
            .iter()
            .map(|(_, count)| *count)
            .max()
            .unwrap_or(1)
            .max(1);
        let mut out = String::new();
        for (low, count) in bars.iter().skip(begin) {
            let length = (count * WIDTH).div_ceil(most);
            let bar = "#".repeat(usize::try_from(length).unwrap_or_default());
            out.push_str(
                format!(
                    "  {:>8} .. {:<8} {count:>9} {bar}",
                    micros(*low),
                    micros(low * 2)
                )
                .trim_end(),
            );
            out.push('\n');
        }
        out
    }
}

fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.2} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::BenchOp;

    #[test]
    fn figures_are_those_of_what_was_recorded() {
        let args = BenchArgs {
            op: BenchOp::Put,
            clients: 2,
            connections: None,
            seconds: 2,
            warm_up: 0,
            value_size: 256,
            keys: 10,
        };
        let mut tally = Tally::new();
        for micros in [100, 100, 100, 300] {
            tally.record(Duration::from_micros(micros));
            tally.puts += 1;
        }
        let mut other = Tally::new();
        other.error("gone".into(), true);
        tally.merge(other);
        let report = Report {
            args: &args,
            connections: 1,
            elapsed: Duration::from_secs(2),
            tally,
        };
        let json = report.json();
        assert_eq!(json["ops"], json!(4));
        assert_eq!(json["ops_per_second"], json!(2.0));
        assert_eq!(json["p50_us"], json!(100));
        assert_eq!(json["max_us"], json!(300));
        assert_eq!((&json["errors"], &json["unknown"]), (&json!(0), &json!(1)));
        let text = report.text();
        assert!(text.contains("64 us .. 128 us           3 ####"), "{text}");
        assert!(text.contains("first error: gone"), "{text}");
    }
}
