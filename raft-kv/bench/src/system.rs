//! What the kernel says of processes: processor time, memory, bytes written; and of the machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// What some processes have used so far, together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Bytes that the kernel accounts to them as written: of the pages that they made dirty. Where a file's pages are cached in
    /// large folios, a write of few bytes counts as all of the folio, up to 1 MiB, though only the changed blocks are written.
    pub(crate) bytes_accounted: f64,
}

impl Usage {
    /// Of these processes.
    ///
    /// # Errors
    /// When one has ended.
    pub(crate) fn of(pids: &[u32]) -> Result<Usage> {
        let mut usage = Usage::default();
        for pid in pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
                .with_context(|| format!("process {pid} has ended"))?;
            usage.cpu_seconds += cpu_seconds(&stat);
            // Only readable for one's own processes.
            let io = fs::read_to_string(format!("/proc/{pid}/io"))
                .with_context(|| format!("cannot read /proc/{pid}/io"))?;
            usage.bytes_accounted += field(&io, "write_bytes:").unwrap_or(0.0);
        }
        Ok(usage)
    }

    /// What was used since `before`.
    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            bytes_accounted: self.bytes_accounted - before.bytes_accounted,
        }
    }
}

/// Bytes written so far to the disk that this directory is on, by everyone on the machine; none where the kernel does not say.
pub(crate) fn disk_bytes_written(dir: &Path) -> Option<f64> {
    let device = rustix::fs::stat(dir).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    // The seventh number counts sectors of 512 bytes, whatever the disk's own are.
    let sectors: f64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512.0)
}

/// Resident memory of each of these processes, in bytes.
pub(crate) fn resident(pids: &[u32]) -> Result<Vec<f64>> {
    pids.iter()
        .map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))
                .with_context(|| format!("process {pid} has ended"))?;
            Ok(field(&status, "VmRSS:").unwrap_or(0.0) * 1024.0)
        })
        .collect()
}

/// Behind the name, which may hold anything, utime and stime are the 12th and 13th field, in hundredths of a second on every
/// platform.
fn cpu_seconds(stat: &str) -> f64 {
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2);
    times
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The machine, as far as it explains figures.
pub(crate) fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim().to_owned())
    });
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "processor": model,
        "memory_mib": field(&memory, "MemTotal:").map(|kib| (kib / 1024.0).round()),
        "kernel": kernel.trim(),
    })
}

/// How many processes were ready to run in the last minute, on average: above the number of cores, figures are of a loaded machine.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert!((cpu_seconds(stat) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn fields_are_found_by_name() {
        assert_eq!(field("a: 1\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12.0));
        assert_eq!(field("a: 1\n", "VmRSS:"), None);
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let me = [std::process::id()];
        assert!(Usage::of(&me).is_ok());
        assert!(resident(&me).unwrap().iter().all(|bytes| *bytes > 0.0));
    }
}
