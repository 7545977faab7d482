//! Which processes are in scope: a process tree, followed over fork and exit, or a control group. Enters: scheduler
//! tracepoints. Leaves: EXIT records.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_probe_read_kernel,
        generated::bpf_get_current_ancestor_cgroup_id,
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use outflow_ebpf::wire::{self, Header, kind};

use crate::maps::{
    self, ACTIVE, AGENT_TGID, PROCESSES, READER_TGID, RING, SCOPE_CGROUP, SCOPE_CGROUP_LEVEL, SCOPE_TREE, SIGNAL_LIVE,
    TASK_SIGNAL, TASK_TGID, setting,
};
use crate::tls::READ_KEY;

/// The current process is one that the user asked for. The agent never watches itself, neither of
/// its two processes.
#[inline(always)]
pub fn contains(tgid: u32) -> bool {
    if tgid == setting(&AGENT_TGID) || tgid == setting(&READER_TGID) {
        return false;
    }
    if setting(&SCOPE_TREE) != 0 && PROCESSES.get_ptr(tgid).is_some() {
        return true;
    }
    let cgroup = setting(&SCOPE_CGROUP);
    // SAFETY: the helper only reads the current task.
    cgroup != 0 && unsafe { bpf_get_current_ancestor_cgroup_id(setting(&SCOPE_CGROUP_LEVEL) as i32) } == cgroup
}

/// `sched_process_fork(parent, child)`: runs before the child does, so a child in scope is never seen too late.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn fork(ctx: RawTracePointContext) -> i32 {
    if setting(&SCOPE_TREE) == 0 {
        return 0;
    }
    let parent = task_tgid(ctx.arg(0));
    if PROCESSES.get_ptr(parent).is_none() {
        return 0;
    }
    let child = task_tgid(ctx.arg(1));
    if child != parent && PROCESSES.insert(child, 1u32, 0).is_err() {
        maps::add(wire::FORKS_LOST, 1);
    }
    0
}

/// `sched_process_exit(task)`: when the last thread of a process in scope goes, the agent may forget its connections.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exit(ctx: RawTracePointContext) -> i32 {
    let id = bpf_get_current_pid_tgid();
    let tgid = (id >> 32) as u32;
    if !contains(tgid) {
        return 0;
    }
    let _ = ACTIVE.remove(id);
    let _ = ACTIVE.remove(id | READ_KEY);
    if threads_left(ctx.arg(0)) > 0 {
        return 0;
    }
    let _ = PROCESSES.remove(tgid);
    let Some(mut record) = RING.reserve::<Header>(0) else {
        maps::add(wire::ENDS_LOST, 1);
        return 0;
    };
    let header = record.as_mut_ptr();
    // SAFETY: the reservation is as large as a header, and every field is written before it is submitted.
    unsafe {
        (*header).kind = kind::EXIT;
        (*header).flags = 0;
        (*header).conn = 0;
        (*header).at_ns = bpf_ktime_get_ns();
        (*header).tgid = tgid;
        (*header).len = 0;
        (*header).offset = 0;
        (*header).total = 0;
        (*header).tls = 0;
        (*header).direction = 0;
        (*header).reserved = 0;
    }
    record.submit(maps::wake());
    0
}

#[inline(always)]
fn task_tgid(task: u64) -> u32 {
    // SAFETY: the helper checks the address; a wrong one reads as an error.
    unsafe { bpf_probe_read_kernel((task + u64::from(setting(&TASK_TGID))) as *const u32) }.unwrap_or(0)
}

/// `task->signal->live`, which the kernel lowers before the tracepoint fires.
#[inline(always)]
fn threads_left(task: u64) -> i32 {
    // SAFETY: as above.
    unsafe {
        match bpf_probe_read_kernel((task + u64::from(setting(&TASK_SIGNAL))) as *const u64) {
            Ok(signal) => bpf_probe_read_kernel((signal + u64::from(setting(&SIGNAL_LIVE))) as *const i32).unwrap_or(0),
            Err(_) => 0,
        }
    }
}
