//! `hayase doctor`: what this machine allows, which devices would work, why others would not, and what to do.
//!
//! What is found goes into [`Facts`], which are data; what follows from it is decided in [`verdict`], which looks at
//! nothing else.

mod facts;
mod gather;
mod interfaces;
mod netdev;
mod proc;
mod report;
mod verdict;

use crate::cli::DoctorArgs;
use crate::failure::Result;
use crate::say::say;
use facts::Facts;
use report::Report;

pub(crate) fn run(args: &DoctorArgs) -> Result {
    let facts = Facts::gather();
    let report = Report { verdicts: verdict::all(&facts), facts };
    if args.json { say(serde_json::to_string(&report)?) } else { say(report.to_string().trim_end()) }
}
