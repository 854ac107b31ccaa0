//! What a command works with: the client, its deadline, and where its output goes.

use std::time::Duration;

use raft_kv::client::{Client, ConnectError, Options};
use tokio::time::Instant;

use crate::args::{BenchArgs, DataCommand, Global, LeaderCommand};
use crate::failure::Outcome;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::{bench, member, read, snapshot, status, write};

/// How long the end of a command may be held up to give its session back.
const CLOSE_MAX: Duration = Duration::from_millis(250);

pub(crate) struct Context {
    client: Client,
    pub(crate) endpoints: Vec<String>,
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    pub(crate) output: Output,
    /// Whether the commands come from standard input, so that nothing else can.
    pub(crate) owns_stdin: bool,
    pub(crate) interrupt: Interrupt,
}

impl Context {
    pub(crate) fn new(global: &Global, output: Output) -> Result<Context, (ConnectError, Output)> {
        let options = Options {
            timeout: global.timeout,
            ..Options::default()
        };
        match Client::connect(global.endpoints.iter().cloned(), options) {
            Ok(client) => Ok(Context {
                client,
                endpoints: global.endpoints.clone(),
                timeout: global.timeout,
                deadline: Instant::now() + global.timeout,
                output,
                owns_stdin: false,
                interrupt: Interrupt::default(),
            }),
            Err(error) => Err((error, output)),
        }
    }

    /// A client whose requests end by the command's deadline.
    pub(crate) fn client(&self) -> Client {
        self.client.until(self.deadline)
    }

    /// The time of a command begins.
    pub(crate) fn start(&mut self) {
        self.deadline = Instant::now() + self.timeout;
    }

    pub(crate) async fn run(&mut self, command: DataCommand) -> Outcome {
        match command {
            DataCommand::Put(args) => write::put(self, args).await,
            #[cfg(raft_kv_next)]
            DataCommand::Append { key, value } => write::append(self, key, value).await,
            DataCommand::Get(args) => read::get(self, args).await,
            DataCommand::Range(args) => read::range(self, args).await,
            DataCommand::Delete(args) => write::delete(self, args).await,
            DataCommand::Cas(args) => write::cas(self, args).await,
            DataCommand::Status(args) => status::status(self, &args).await,
            DataCommand::Health => status::health(self).await,
            DataCommand::Check => status::check(self).await,
            DataCommand::Leader { command: None } => status::leader(self).await,
            DataCommand::Leader {
                command: Some(LeaderCommand::Move { id }),
            } => member::move_lead(self, id).await,
            DataCommand::Member(command) => member::member(self, command).await,
            DataCommand::Snapshot(command) => snapshot::snapshot(self, command).await,
            DataCommand::Bench(args) => Box::pin(self.bench(args)).await,
        }
    }

    async fn bench(&mut self, args: BenchArgs) -> Outcome {
        bench::bench(self, args).await
    }

    /// Gives the session back, if there is one.
    pub(crate) async fn close(&self) {
        self.client
            .timeout(CLOSE_MAX.min(self.timeout))
            .close()
            .await;
    }
}
