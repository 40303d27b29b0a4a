//! The arguments of `sendlift cluster`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(super) struct ClusterArguments {
    #[command(subcommand)]
    pub(super) command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Plan queries and deal them out to the workers; one for a cluster
    Scheduler(SchedulerArguments),
    /// Work on parts of queries; as many for a cluster as there are machines
    Worker(WorkerArguments),
}

#[derive(Debug, Args)]
pub(super) struct SchedulerArguments {
    /// Address to listen on; whoever reaches it can read the store
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "ADDRESS:PORT")]
    pub(super) listen: SocketAddr,
    /// The name under which the workers reach this machine [default: the address listened on]
    #[arg(long, value_name = "HOST")]
    pub(super) advertise: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct WorkerArguments {
    /// The scheduler of the cluster
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) scheduler: String,
    /// Address to listen on; the next port is listened on, too; port 0 takes two free ones
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    pub(super) listen: SocketAddr,
    /// The name under which the others reach this machine [default: the address listened on, or called from]
    #[arg(long, value_name = "HOST")]
    pub(super) advertise: Option<String>,
    /// Tasks at a time [default: one a processor core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) tasks: Option<u16>,
    /// Where rows in exchange go [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(super) work_dir: Option<PathBuf>,
    /// Mebibytes of memory for queries before they spill to disk [default: 70 % of the machine's]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..))]
    pub(super) memory: Option<u64>,
}
