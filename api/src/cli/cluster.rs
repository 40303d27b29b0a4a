//! `sendlift cluster`: the processes of a cluster, until ctrl-c or SIGTERM.

use sendlift_engine::cluster::{Scheduler, SchedulerOptions, Worker, WorkerOptions};

use super::cluster_arguments::{ClusterArguments, ClusterCommand, SchedulerArguments, WorkerArguments};
use crate::http::shutdown_signal;

pub(super) async fn run(arguments: &ClusterArguments) -> anyhow::Result<()> {
    match &arguments.command {
        ClusterCommand::Scheduler(arguments) => schedule(arguments).await,
        ClusterCommand::Worker(arguments) => work(arguments).await,
    }
}

async fn schedule(arguments: &SchedulerArguments) -> anyhow::Result<()> {
    let options = SchedulerOptions { listen: arguments.listen, advertise: arguments.advertise.clone() };
    let scheduler = Scheduler::bind(&options).await?;
    eprintln!("the cluster is at {} (stop with ctrl-c)", scheduler.address());
    Ok(scheduler.run(shutdown_signal()).await?)
}

async fn work(arguments: &WorkerArguments) -> anyhow::Result<()> {
    let scheduler = arguments.scheduler.as_str();
    let options = WorkerOptions {
        scheduler: format!("df://{}", scheduler.strip_prefix("df://").unwrap_or(scheduler)).parse()?,
        listen: arguments.listen,
        advertise: arguments.advertise.clone(),
        tasks: arguments.tasks.map(usize::from),
        work_dir: arguments.work_dir.clone(),
        memory: arguments.memory.map(|mebibytes| mebibytes << 20),
    };
    let worker = Worker::prepare(&options).await?;
    eprintln!("a worker of {} on {} (stop with ctrl-c)", options.scheduler, worker.address());
    Ok(worker.run().await?)
}
