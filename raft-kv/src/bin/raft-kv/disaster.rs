//! `raft-kv restore` and `raft-kv recover`: a new cluster of a backup, and a backup of what is left of a cluster.

use std::io::{self, Write};

use raft_kv::backup::{
    BackupError, Candidate, RecoverError, Recovered, RestoreError, RestoreOptions, Summary,
    recover, restore,
};
use raft_kv::node::DirectoryError;

use crate::flags::{RecoverFlags, RestoreFlags};
use crate::{EXIT_DATA, EXIT_OTHER, EXIT_USAGE, Failure};

/// Makes a founder's directory of a backup, and says what it holds.
pub(crate) fn run_restore(flags: RestoreFlags) -> Result<(), Failure> {
    let options = RestoreOptions {
        backup: flags.snapshot,
        data_dir: flags.data_dir,
        id: flags.id,
        cluster: flags.cluster.0,
        revision_jump: flags.revision_jump,
    };
    let restored = restore(&options).map_err(|error| {
        let status = match &error {
            RestoreError::Founders(_) | RestoreError::Config(_) | RestoreError::Jump(_) => {
                EXIT_USAGE
            }
            RestoreError::Directory(DirectoryError::NotNew { .. }) => EXIT_USAGE,
            RestoreError::Backup(BackupError::Missing { .. }) => EXIT_OTHER,
            _ => EXIT_DATA,
        };
        Failure::new(status, error.to_string())
    })?;
    let mut out = io::stdout().lock();
    let done = summary(&mut out, &restored.backup).and_then(|()| {
        let (id, dir) = (options.id, options.data_dir.display());
        writeln!(
            out,
            "restored to {dir} for node {id} in incarnation {:x}\n\
             revision {} (raised by {}), log from index {} on; sessions of the old cluster have ended\n\
             next: the same for every other node of --cluster, from the same file; then start them all",
            restored.incarnation.0,
            restored.revision,
            options.revision_jump,
            restored.seed.file.last.index.0 + 1,
        )
    });
    done.map_err(|error| unwritten(&error))
}

/// Writes a backup of stopped nodes' directories, and says what may be lost.
pub(crate) fn run_recover(flags: &RecoverFlags) -> Result<(), Failure> {
    let recovered = recover(&flags.dirs, &flags.out, flags.force).map_err(|error| {
        let status = match &error {
            RecoverError::Draft(_) | RecoverError::Write { .. } => EXIT_OTHER,
            RecoverError::NotFormed(_)
            | RecoverError::OtherCluster { .. }
            | RecoverError::Twice(_)
            | RecoverError::Within { .. }
            | RecoverError::None => EXIT_USAGE,
            _ => EXIT_DATA,
        };
        match error {
            RecoverError::Inspect(error) => crate::log::not_open(error),
            error => Failure::new(status, error.to_string()),
        }
    })?;
    let mut out = io::stdout().lock();
    let done = recovered.candidates.iter().enumerate();
    let mut done = done.map(|(at, candidate)| line(&mut out, candidate, at == recovered.taken));
    let done = done.by_ref().collect::<io::Result<()>>().and_then(|()| {
        match recovered.snapshot {
            Some(last) => writeln!(out, "its log goes on from a snapshot up to {last}")?,
            None => writeln!(out, "its log begins at the beginning")?,
        }
        writeln!(
            out,
            "entries up to {} were surely committed; {} behind them may have been, or never: all of them are kept",
            recovered.commit.0, recovered.uncertain
        )?;
        writeln!(out, "so writes may appear whose outcome nobody was told")?;
        missing(&mut out, &recovered)?;
        summary(&mut out, &recovered.backup)?;
        let file = flags.out.display();
        writeln!(
            out,
            "written to {file}; next: raft-kv restore {file} --data-dir DIR --id N --cluster …, for every node of the new cluster"
        )
    });
    done.map_err(|error| unwritten(&error))
}

fn line(out: &mut dyn Write, candidate: &Candidate, taken: bool) -> io::Result<()> {
    let Candidate { dir, member, last } = candidate;
    let verdict = match taken {
        true => "taken: the newest log, by term and then by index",
        false => "not taken: older, or the same",
    };
    writeln!(
        out,
        "{}: node {} in incarnation {:x}, last entry {last}: {verdict}",
        dir.display(),
        member.node,
        member.incarnation.0
    )
}

/// Who is not here, and what that means.
fn missing(out: &mut dyn Write, recovered: &Recovered) -> io::Result<()> {
    let membership = &recovered.membership;
    for candidate in &recovered.candidates {
        if !membership.contains(candidate.member) {
            let dir = candidate.dir.display();
            writeln!(
                out,
                "{dir}: its node is no member any more, so its log may end long before the others'"
            )?;
        }
    }
    let names = |nodes: &mut dyn Iterator<Item = u64>| {
        let names: Vec<String> = nodes.map(|node| node.to_string()).collect();
        names.join(", ")
    };
    let voters = names(&mut membership.voters().iter().map(|node| node.0));
    write!(out, "voters as its log has them: {voters}; ")?;
    match names(&mut recovered.missing().map(|member| member.node.0)).as_str() {
        "" => writeln!(out, "all of them are here")?,
        missing => writeln!(out, "not here: {missing}")?,
    }
    match recovered.is_majority() {
        true => writeln!(
            out,
            "a majority of them is here, so nothing that was acknowledged is lost: start these nodes instead, if they are to go on"
        ),
        false => writeln!(
            out,
            "acknowledged writes are lost that only nodes had which are not here"
        ),
    }
}

fn summary(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    writeln!(
        out,
        "cluster {}, up to {}, revision {}, {} keys, {} bytes, state hash {:016x}",
        summary.cluster,
        summary.last,
        summary.revision,
        summary.keys,
        summary.bytes,
        summary.state_hash
    )
}

fn unwritten(error: &io::Error) -> Failure {
    Failure::new(
        EXIT_OTHER,
        format!("done, but standard output cannot be written: {error}"),
    )
}
