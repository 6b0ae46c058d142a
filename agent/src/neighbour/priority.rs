// `mallopt`, `ioprio_set` and `sched_setscheduler` have no safe wrapper in the crates that we use;
// they take plain numbers and a structure of ours, and write no memory.
#![allow(unsafe_code)]

use std::fs;
use std::io;

use rustix::process::{
    DumpableBehavior, getpriority_process, set_dumpable_behavior, setpriority_process,
};

/// The worst score: the kernel ends us, and not Cassandra, when the memory cgroup is full.
const OOM_SCORE: &str = "1000";

/// Niceness: about a tenth of the CPU time that a thread of Cassandra's gets.
const NICE: i32 = 10;

// From linux/ioprio.h, which libc does not carry.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const IOPRIO_CLASS_IDLE: libc::c_int = 3;
const IOPRIO_CLASS_SHIFT: libc::c_int = 13;

/// Heaps that glibc may make. By default it makes up to eight a core, and each keeps what was
/// freed in it.
const MALLOC_ARENAS: libc::c_int = 2;

pub(super) fn apply() -> Vec<String> {
    limit_heaps();
    let mut missed = Vec::new();
    let mut note = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            missed.push(format!("{what}: {error}"));
        }
    };
    note(
        "could not ask to be ended first when memory runs out (oom_score_adj 1000)",
        fs::write("/proc/self/oom_score_adj", OOM_SCORE),
    );
    note("could not lower the CPU priority (nice 10)", lower_cpu());
    note(
        "could not leave the CPU to others at once (SCHED_IDLE)",
        yield_cpu(),
    );
    note("could not use the idle I/O class", lower_io());
    // Last, because it makes root the owner of /proc/self/oom_score_adj.
    note(
        "could not close the process's memory to other processes of its user",
        hide_memory(),
    );
    missed
}

/// Neither a debugger of the same user, such as a process that broke into Cassandra, nor a core
/// file gets the secrets in our memory. `/proc/self` stays usable for the process itself.
pub(super) fn hide_memory() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

fn limit_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers. It can only fail for an unknown parameter, and then all is as
    // it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, MALLOC_ARENAS);
    }
}

fn lower_cpu() -> io::Result<()> {
    // Who started us with still less priority meant it.
    if getpriority_process(None)? < NICE {
        setpriority_process(None, NICE)?;
    }
    Ok(())
}

/// Whoever wants the CPU gets it from a thread of this policy at once (sched(7)), and not after
/// the 3 ms that a thread of the usual policy may go on for, however nice it is: a reader of
/// Cassandra's waits for that (docs/benchmarks.md).
fn yield_cpu() -> io::Result<()> {
    let no_priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: reads the structure, which lives here; 0 means the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &no_priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn lower_io() -> io::Result<()> {
    // SAFETY: takes three numbers; 0 means the calling thread.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            0,
            IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_steps_back_gets_what_nobody_else_wants() {
        // Priorities are a thread's own: those of the other tests stay as they are.
        let thread = std::thread::spawn(|| {
            lower_cpu().unwrap();
            yield_cpu().unwrap();
            // SAFETY: takes a number; 0 means the calling thread.
            let policy = unsafe { libc::sched_getscheduler(0) };
            (policy, getpriority_process(None).unwrap())
        });
        let (policy, nice) = thread.join().unwrap();
        assert_eq!(policy, libc::SCHED_IDLE);
        assert!(nice >= NICE, "{nice}");
    }
}
