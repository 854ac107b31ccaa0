//! What the node is started with: flag before environment before file before default.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ArgMatches;
use clap::parser::ValueSource;
use raft_kv::node::NodeConfig;
use serde::Deserialize;

use crate::flags::{Addresses, Flags, LogFormat, Time};

/// The file's content. An option that is unknown is an error: it would be silently without effect.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: Option<u64>,
    listen: Option<String>,
    data_dir: Option<PathBuf>,
    cluster: Option<Text<Addresses>>,
    advertise: Option<String>,
    election_timeout: Option<Text<Time>>,
    heartbeat: Option<Text<Time>>,
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
    /// As `check-config` shows it.
    lines: Vec<(&'static str, String, &'static str)>,
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
        let pick = Pick { given };
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
        let listen = pick
            .one("listen", flags.listen, file.listen)
            .or_else(|| {
                own.clone().map(|value| From {
                    value,
                    source: "from --cluster",
                })
            })
            .ok_or("--listen is missing: where this node listens, as HOST:PORT")?;
        let advertise = pick.one("advertise", flags.advertise, file.advertise);
        if let (Some(advertise), Some(own)) = (&advertise, &own)
            && advertise.value != *own
        {
            let given = &advertise.value;
            return Err(format!(
                "--advertise is {given} and --cluster says that node {} is at {own}; make them the same",
                id.value
            ));
        }
        let dial_override = overrides(flags.dial_override)?;
        let dial_override = pick.one(
            "dial_override",
            dial_override,
            file.dial_override.map(|text| text.0),
        );
        let exit_with_stdin = flags.exit_with_stdin.then_some(true);
        let exit_with_stdin = pick.or(
            "exit_with_stdin",
            exit_with_stdin,
            file.exit_with_stdin,
            false,
        );
        let log_format = pick.or(
            "log_format",
            flags.log_format,
            file.log_format,
            LogFormat::Text,
        );

        let addresses = |from: &Option<From<Addresses>>| {
            from.as_ref()
                .map(|from| from.value.0.clone())
                .unwrap_or_default()
        };
        let mut node = NodeConfig::new(id.value, data_dir.value.clone(), addresses(&cluster));
        node.listen = listen.value.clone();
        node.dial_override = addresses(&dial_override);
        let times = [
            pick.or(
                "election_timeout",
                flags.election_timeout,
                file.election_timeout.map(|t| t.0),
                Time(node.election_timeout),
            ),
            pick.or(
                "heartbeat",
                flags.heartbeat,
                file.heartbeat.map(|t| t.0),
                Time(node.heartbeat),
            ),
        ];
        let [election_timeout, heartbeat] = &times;
        (node.election_timeout, node.heartbeat) = (election_timeout.value.0, heartbeat.value.0);
        node.validate().map_err(|error| error.to_string())?;

        let mut lines = vec![
            ("id", id.value.to_string(), id.source),
            ("listen", quoted(&listen.value), listen.source),
            (
                "data_dir",
                quoted(&data_dir.value.display()),
                data_dir.source,
            ),
        ];
        lines.extend(cluster.map(|from| ("cluster", quoted(&from.value), from.source)));
        lines.extend(advertise.map(|from| ("advertise", quoted(&from.value), from.source)));
        lines.push((
            "election_timeout",
            quoted(&election_timeout.value),
            election_timeout.source,
        ));
        lines.push(("heartbeat", quoted(&heartbeat.value), heartbeat.source));
        let format = if log_format.value == LogFormat::Json {
            "json"
        } else {
            "text"
        };
        lines.push(("log_format", quoted(&format), log_format.source));
        lines.extend(dial_override.map(|from| ("dial_override", quoted(&from.value), from.source)));
        lines.push((
            "exit_with_stdin",
            exit_with_stdin.value.to_string(),
            exit_with_stdin.source,
        ));
        Ok(Self {
            node,
            log_format: log_format.value,
            exit_with_stdin: exit_with_stdin.value,
            lines,
        })
    }
}

impl fmt::Display for Settings {
    /// As a file for `--config`, with where each value comes from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines
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
