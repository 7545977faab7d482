//! Memory of assembly and exchange. Enters: the calls of the benchmark `assembly`. Leaves: allocations a call, and what a
//! connection holds that had one call and waits for the next. It fails when that is more than the gate.
//!
//! `cargo xtask bench assembly-memory`.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::{alloc::System, sync::Arc};

use outflow::{
    assembly::{Assembler, Limits},
    exchange::Correlator,
    rules::{RuleSource, VendorTable},
    sources::{Input, StreamEvent, StreamId},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

mod bodies;
mod calls;

use bodies::Random;
use calls::{Call, Failure, correlate, over_h2, understand};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Connections that are open at once.
const IDLE_CONNECTIONS: usize = 50_000;
/// What one of them may hold.
const IDLE_GATE_BYTES: usize = 4 << 10;

fn main() -> Result<(), Failure> {
    let vendors = Arc::new(VendorTable::load(&RuleSource::Embedded)?);
    for case in calls::all()? {
        let region = Region::new(ALLOCATOR);
        let calls = understand(&case.inputs, &vendors);
        let change = region.change();
        let (count, pieces) = (change.allocations + change.reallocations, case.inputs.len());
        println!(
            "{:16} {:9.1} allocations a call, {calls} calls, {pieces} pieces",
            case.name,
            count as f64 / calls as f64
        );
    }
    let h1 = |coded| -> Result<usize, Failure> {
        let (asked, answered) = small();
        let call = Call::json(asked, &answered, coded)?;
        idle(&vendors, |stream| {
            let mut inputs = Vec::new();
            call.play(stream, [0; 2], &mut inputs);
            Ok(inputs)
        })
    };
    let (plain, coded) = (h1(false)?, h1(true)?);
    let (asked, answered) = small();
    let h2 = idle(&vendors, |stream| {
        let mut inputs = over_h2(&asked, &answered, stream)?;
        inputs.retain(|input| !matches!(input.event, StreamEvent::Closed { .. }));
        Ok(inputs)
    })?;
    println!("idle h2          {h2:9} bytes a connection, {IDLE_CONNECTIONS} open");
    println!("idle h1          {plain:9} bytes a connection, {coded} after a gzip answer, {IDLE_CONNECTIONS} open");
    if plain > IDLE_GATE_BYTES { Err(format!("gate missed: {plain} > {IDLE_GATE_BYTES}").into()) } else { Ok(()) }
}

/// A question and an answer.
fn small() -> (String, String) {
    let mut random = Random(7);
    (bodies::request(&mut random, 8, false), bodies::answer(&mut random, 200))
}

/// Bytes a connection that had one call and waits for the next.
fn idle(
    vendors: &Arc<VendorTable>,
    mut call: impl FnMut(StreamId) -> Result<Vec<Input>, Failure>,
) -> Result<usize, Failure> {
    let limits = Limits { connections: IDLE_CONNECTIONS, ..Limits::default() };
    let region = Region::new(ALLOCATOR);
    let (mut assembler, mut correlator) = (Assembler::new(limits), Correlator::new(Arc::clone(vendors)));
    let mut calls = 0;
    for stream in 0..IDLE_CONNECTIONS {
        let (mut events, mut exchanges) = (Vec::new(), Vec::new());
        for input in call(StreamId(stream as u64))? {
            assembler.push(&input, &mut events);
        }
        calls += correlate(&mut correlator, &mut events, &mut exchanges);
    }
    let change = region.change();
    if calls != IDLE_CONNECTIONS || assembler.connections() != IDLE_CONNECTIONS {
        return Err(format!("{calls} calls, {} connections", assembler.connections()).into());
    }
    Ok(change.bytes_allocated.saturating_sub(change.bytes_deallocated) / IDLE_CONNECTIONS)
}
