//! What came of a bench: figures as text and as JSON.

use std::fmt::Display;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::failure::{Exit, Failure};

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
    pub(super) interrupted: bool,
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

    /// Why these figures say nothing good, if so.
    pub(super) fn failure(&self) -> Option<Failure> {
        let tally = &self.tally;
        if let Some(wrong) = &tally.first_wrong {
            let count = counted(tally.wrong, "wrong answer");
            return Some(Failure::new(
                Exit::Other,
                format!("{count}; the first: {wrong}"),
            ));
        }
        let failed = tally.errors + tally.unknown;
        let exit = if tally.unknown == 0 {
            Exit::Unavailable
        } else {
            Exit::Other
        };
        let why = tally.first_error.as_deref();
        if self.ops() == 0 && !(self.interrupted && failed == 0) {
            let why = why.unwrap_or("too little time");
            return Some(Failure::new(
                exit,
                format!("no request was answered while it was measured: {why}"),
            ));
        }
        (failed > self.ops()).then(|| {
            let all = failed + self.ops();
            Failure::new(
                exit,
                format!(
                    "only {} of {} requests succeeded, so the figures say little; the first error: {}",
                    self.ops(),
                    all,
                    why.unwrap_or_default()
                ),
            )
        })
    }

    pub(super) fn json(&self) -> Value {
        let Report { args, tally, .. } = self;
        json!({
            "op": args.op.name(),
            "interrupted": self.interrupted,
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
            "{} {} by {} over {} in {:.1} s{}, values of {} bytes, {}\n",
            self.ops(),
            match args.op {
                crate::args::BenchOp::Put => "puts",
                crate::args::BenchOp::Get => "linearizable gets",
                crate::args::BenchOp::Mix => "puts and linearizable gets",
            },
            counted(args.clients, "client"),
            counted(self.connections, "connection"),
            self.elapsed.as_secs_f64(),
            if self.interrupted {
                ", when it was interrupted"
            } else {
                ""
            },
            args.value_size,
            counted(args.keys, "key"),
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
            "\n{}, {}, {}\n",
            counted(*errors, "error"),
            counted(*unknown, "unknown outcome"),
            counted(*wrong, "wrong answer")
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

/// A number and what it counts, in the plural where it is not one.
fn counted(number: impl TryInto<u64> + Display, what: &str) -> String {
    let text = format!("{number} {what}");
    match number.try_into() {
        Ok(1) => text,
        _ => text + "s",
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
            timeout: None,
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
            interrupted: false,
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
        assert!(
            text.starts_with("4 puts by 2 clients over 1 connection in 2.0 s"),
            "{text}"
        );
        assert!(text.contains("\n0 errors, 1 unknown outcome, 0 wrong answers\n"));
    }

    #[test]
    fn figures_of_mostly_failed_requests_are_a_failure() {
        let args = BenchArgs {
            op: BenchOp::Put,
            clients: 2,
            connections: None,
            seconds: 2,
            warm_up: 0,
            value_size: 256,
            keys: 10,
            timeout: None,
        };
        let exit = |succeeded, errors, unknown, interrupted| {
            let mut tally = Tally::new();
            tally.puts = succeeded;
            (tally.errors, tally.unknown) = (errors, unknown);
            let report = Report {
                args: &args,
                connections: 1,
                elapsed: Duration::from_secs(2),
                interrupted,
                tally,
            };
            report.failure().map(|failure| failure.exit)
        };
        assert_eq!(exit(10, 10, 0, false), None);
        assert_eq!(exit(10, 11, 0, false), Some(Exit::Unavailable));
        assert_eq!(exit(10, 9, 2, false), Some(Exit::Other));
        assert_eq!(exit(0, 0, 0, false), Some(Exit::Unavailable));
        assert_eq!(exit(0, 3, 0, true), Some(Exit::Unavailable));
        assert_eq!(exit(0, 0, 0, true), None);
    }
}
