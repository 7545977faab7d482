//! A batch job is handed in: a file that was sent before, to be worked on within a day.

use super::Job;
use crate::wire::batches::wired;

pub(super) fn run(job: &mut Job<'_>, at: u64) {
    let took = job.milliseconds(400.0, 0.3);
    let wrapping = job.wrapping(0, took / 1_000_000, at);
    let file = format!("file-{}", job.random.id(22));
    job.add(wired(&file, &wrapping), at, took);
}
