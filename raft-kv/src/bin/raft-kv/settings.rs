//! What the node is started with: flag before environment before file before default.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ArgMatches;
use clap::parser::ValueSource;
use raft_kv::node::NodeConfig;
use serde::Deserialize;

use crate::flags::{Addresses, Flags, LogFormat, Size, Time};

/// The file's content. An option that is unknown is an error: it would be silently without effect.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: Option<u64>,
    listen: Option<String>,
    data_dir: Option<PathBuf>,
    cluster: Option<Text<Addresses>>,
    join: Option<bool>,
    advertise: Option<String>,
    election_timeout: Option<Text<Time>>,
    heartbeat: Option<Text<Time>>,
    snapshot_every: Option<u64>,
    snapshot_bytes: Option<Text<Size>>,
    segment_bytes: Option<Text<Size>>,
    log_format: Option<LogFormat>,
    dial_override: Option<Text<Addresses>>,
    exit_with_stdin: Option<bool>,
}

/// A value that is written in the file as on the command line.
#[derive(Debug)]
struct Text<T>(T);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for Text<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Text).map_err(serde::de::Error::custom)
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug)]
struct From<T> {
    value: T,
    source: &'static str,
}

/// All that `serve` needs, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) node: NodeConfig,
    pub(crate) log_format: LogFormat,
    pub(crate) exit_with_stdin: bool,
    picked: Picked,
}

/// Every option, and where it comes from.
#[derive(Debug)]
struct Picked {
    id: From<u64>,
    listen: From<String>,
    data_dir: From<PathBuf>,
    cluster: Option<From<Addresses>>,
    join: From<bool>,
    advertise: Option<From<String>>,
    election_timeout: From<Time>,
    heartbeat: From<Time>,
    snapshot_every: From<u64>,
    snapshot_bytes: From<Size>,
    segment_bytes: From<Size>,
    log_format: From<LogFormat>,
    dial_override: Option<From<Addresses>>,
    exit_with_stdin: From<bool>,
}

impl Settings {
    /// Puts everything together. `given` tells flags from the environment.
    ///
    /// The error says what is wrong and what to do, in words.
    pub(crate) fn gather(flags: Flags, given: Option<&ArgMatches>) -> Result<Self, String> {
        let file = flags
            .config
            .as_deref()
            .map(read)
            .transpose()?
            .unwrap_or_default();
        let picked = Picked::pick(flags, file, &Pick { given })?;
        let node = picked.node();
        node.validate().map_err(|error| error.to_string())?;
        let (log_format, exit_with_stdin) = (picked.log_format.value, picked.exit_with_stdin.value);
        Ok(Self {
            node,
            log_format,
            exit_with_stdin,
            picked,
        })
    }
}

/// A node must not say that it is elsewhere than the list of the first members does.
fn check_advertised(
    id: u64,
    advertise: Option<&From<String>>,
    listed: Option<&String>,
) -> Result<(), String> {
    match (advertise.map(|advertise| &advertise.value), listed) {
        (Some(given), Some(listed)) if given != listed => Err(format!(
            "--advertise is {given} and --cluster says that node {id} is at {listed}; make them the same"
        )),
        _ => Ok(()),
    }
}

impl Picked {
    fn pick(flags: Flags, file: File, pick: &Pick<'_>) -> Result<Self, String> {
        let id = pick
            .one("id", flags.id, file.id)
            .ok_or("--id is missing: this node's number")?;
        let data_dir = pick
            .one("data_dir", flags.data_dir, file.data_dir)
            .ok_or("--data-dir is missing: where this node keeps its log")?;
        let cluster = pick.one("cluster", flags.cluster, file.cluster.map(|text| text.0));
        let own = cluster
            .as_ref()
            .and_then(|cluster| cluster.value.0.get(&id.value))
            .cloned();
        let from_cluster = own.clone().map(|value| From {
            value,
            source: "from --cluster",
        });
        let listen = pick
            .one("listen", flags.listen, file.listen)
            .or(from_cluster)
            .ok_or("--listen is missing: where this node listens, as HOST:PORT")?;
        let advertise = pick.one("advertise", flags.advertise, file.advertise);
        check_advertised(id.value, advertise.as_ref(), own.as_ref())?;
        let overrides = overrides(flags.dial_override)?;
        let join = flags.join.then_some(true);
        let with_stdin = flags.exit_with_stdin.then_some(true);
        let default = NodeConfig::new(id.value, "", [].into());
        Ok(Self {
            id,
            listen,
            data_dir,
            cluster,
            join: pick.or("join", join, file.join, false),
            advertise,
            election_timeout: pick.or(
                "election_timeout",
                flags.election_timeout,
                file.election_timeout.map(|text| text.0),
                Time(default.election_timeout),
            ),
            heartbeat: pick.or(
                "heartbeat",
                flags.heartbeat,
                file.heartbeat.map(|text| text.0),
                Time(default.heartbeat),
            ),
            snapshot_every: pick.or(
                "snapshot_every",
                flags.snapshot_every,
                file.snapshot_every,
                default.snapshot_every,
            ),
            snapshot_bytes: pick.or(
                "snapshot_bytes",
                flags.snapshot_bytes,
                file.snapshot_bytes.map(|text| text.0),
                Size(default.snapshot_bytes as u64),
            ),
            segment_bytes: pick.or(
                "segment_bytes",
                flags.segment_bytes,
                file.segment_bytes.map(|text| text.0),
                Size(default.segment_bytes),
            ),
            log_format: pick.or(
                "log_format",
                flags.log_format,
                file.log_format,
                LogFormat::Text,
            ),
            dial_override: pick.one(
                "dial_override",
                overrides,
                file.dial_override.map(|text| text.0),
            ),
            exit_with_stdin: pick.or("exit_with_stdin", with_stdin, file.exit_with_stdin, false),
        })
    }

    fn node(&self) -> NodeConfig {
        let addresses = |from: &Option<From<Addresses>>| {
            from.as_ref()
                .map(|from| from.value.0.clone())
                .unwrap_or_default()
        };
        NodeConfig {
            listen: self.listen.value.clone(),
            dial_override: addresses(&self.dial_override),
            election_timeout: self.election_timeout.value.0,
            heartbeat: self.heartbeat.value.0,
            join: self.join.value,
            snapshot_every: self.snapshot_every.value,
            snapshot_bytes: usize::try_from(self.snapshot_bytes.value.0).unwrap_or(usize::MAX),
            segment_bytes: self.segment_bytes.value.0,
            ..NodeConfig::new(
                self.id.value,
                self.data_dir.value.clone(),
                addresses(&self.cluster),
            )
        }
    }

    /// Name, value as TOML has it, and source.
    fn lines(&self) -> Vec<(&'static str, String, &'static str)> {
        fn line<T>(
            name: &'static str,
            from: &From<T>,
            shown: impl Fn(&T) -> String,
        ) -> (&'static str, String, &'static str) {
            (name, shown(&from.value), from.source)
        }
        let mut lines = vec![
            line("id", &self.id, ToString::to_string),
            line("listen", &self.listen, quoted),
            line("data_dir", &self.data_dir, |dir| quoted(&dir.display())),
        ];
        lines.extend(
            self.cluster
                .as_ref()
                .map(|from| line("cluster", from, quoted)),
        );
        lines.push(line("join", &self.join, ToString::to_string));
        lines.extend(
            self.advertise
                .as_ref()
                .map(|from| line("advertise", from, quoted)),
        );
        lines.push(line("election_timeout", &self.election_timeout, quoted));
        lines.push(line("heartbeat", &self.heartbeat, quoted));
        let every = &self.snapshot_every;
        lines.push(line("snapshot_every", every, ToString::to_string));
        lines.push(line("snapshot_bytes", &self.snapshot_bytes, quoted));
        lines.push(line("segment_bytes", &self.segment_bytes, quoted));
        lines.push(line(
            "log_format",
            &self.log_format,
            |format| match format {
                LogFormat::Text => quoted(&"text"),
                LogFormat::Json => quoted(&"json"),
            },
        ));
        lines.extend(
            self.dial_override
                .as_ref()
                .map(|from| line("dial_override", from, quoted)),
        );
        lines.push(line(
            "exit_with_stdin",
            &self.exit_with_stdin,
            ToString::to_string,
        ));
        lines
    }
}

impl fmt::Display for Settings {
    /// As a file for `--config`, with where each value comes from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.picked.lines();
        lines
            .iter()
            .try_for_each(|(name, value, source)| writeln!(f, "{name} = {value} # {source}"))
    }
}

/// As a string in TOML.
fn quoted(value: &impl fmt::Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

fn read(path: &Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!(
            "the configuration file {} cannot be read: {error}",
            path.display()
        )
    })?;
    toml::from_str(&text).map_err(|error| {
        format!(
            "the configuration file {} is wrong: {error}",
            path.display()
        )
    })
}

fn overrides(given: Vec<Addresses>) -> Result<Option<Addresses>, String> {
    let mut all = Addresses::default();
    for (id, address) in given.into_iter().flat_map(|addresses| addresses.0) {
        if all.0.insert(id, address).is_some() {
            return Err(format!("--dial-override is given twice for node {id}"));
        }
    }
    Ok((!all.0.is_empty()).then_some(all))
}

/// Chooses between the command line with its environment, and the file.
struct Pick<'a> {
    given: Option<&'a ArgMatches>,
}

impl Pick<'_> {
    fn one<T>(&self, name: &str, flag: Option<T>, file: Option<T>) -> Option<From<T>> {
        let from_environment =
            self.given.and_then(|given| given.value_source(name)) == Some(ValueSource::EnvVariable);
        match (flag, file) {
            (Some(value), _) => Some(From {
                value,
                source: if from_environment {
                    "environment"
                } else {
                    "flag"
                },
            }),
            (None, Some(value)) => Some(From {
                value,
                source: "file",
            }),
            (None, None) => None,
        }
    }

    fn or<T>(&self, name: &str, flag: Option<T>, file: Option<T>, default: T) -> From<T> {
        self.one(name, flag, file).unwrap_or(From {
            value: default,
            source: "default",
        })
    }
}
