//! `hayase`: servers, clients and measurements on our own TCP/IP stack, from the command line.
#![forbid(unsafe_code)]

mod allocator;
mod bench;
mod channel;
mod cli;
mod connect;
mod device;
mod doctor;
mod failure;
mod pattern;
mod ping;
mod say;
mod serve;
mod signal;
mod storm;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, SimKind};
use crate::failure::Failure;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Ping(args) => ping::run(&args),
        Command::Connect(args) => connect::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Sim(args) => match args.kind {
            SimKind::Storm(args) => storm::run(&args),
        },
        Command::Doctor(args) => doctor::run(&args),
    };
    outcome.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
