use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use rustix::process::geteuid;

use crate::harness::{Place, Running, copy_program};

/// The nineteenth field of /proc/PID/stat, see proc_pid_stat(5).
fn nice(stat: &str) -> i32 {
    let after_the_name = stat.rsplit_once(") ").unwrap().1;
    after_the_name.split(' ').nth(16).unwrap().parse().unwrap()
}

#[test]
fn a_run_dies_first_and_all_its_threads_come_last() {
    let place = Place::new();
    let mut run = place.start(&place.request(), &["warn=one", &place.awaiting("gate")]);
    run.until_warning("one");
    let process = format!("/proc/{}", run.pid());
    let score = fs::read_to_string(format!("{process}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "1000");
    let mut threads = 0;
    for task in fs::read_dir(format!("{process}/task")).unwrap() {
        let task = task.unwrap();
        let stat = fs::read_to_string(task.path().join("stat")).unwrap();
        assert_eq!(nice(&stat), 10, "{stat}");
        let thread = task.file_name();
        let class = std::process::Command::new("ionice")
            .arg("-p")
            .arg(thread)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&class.stdout).trim(), "idle");
        threads += 1;
    }
    assert!(
        threads >= 4,
        "main, teller and two workers, and not {threads}"
    );
    place.open("gate");
    run.outcome();
}

#[test]
fn the_memory_of_a_run_is_closed_to_other_processes_of_its_user() {
    assert!(
        geteuid().is_root(),
        "this test needs root: it becomes another user"
    );
    let place = Place::new();
    fs::set_permissions(place.gate(""), fs::Permissions::from_mode(0o777)).unwrap();
    // Where another user can reach it.
    let copy = place.gate("scripted_run");
    let command = place.command(&[]);
    copy_program(command.get_program().as_ref(), &copy);
    let mut command = std::process::Command::new(&copy);
    command
        .arg(place.state())
        .args(["warn=one", &place.awaiting("gate")])
        .uid(12345)
        .gid(12345);
    let mut run = Running::start(command, &(place.request().to_line().unwrap() + "\n"));
    run.until_warning("one");
    // The kernel gives the entries of a process that can be traced to its user, the others to root.
    let owner = |pid: u32| fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
    assert_eq!(owner(run.pid()), 0);
    let mut other = std::process::Command::new("sleep")
        .arg("60")
        .uid(12345)
        .spawn()
        .unwrap();
    crate::harness::eventually("another process of the user can be traced", || {
        owner(other.id()) == 12345
    });
    other.kill().unwrap();
    other.wait().unwrap();
    place.open("gate");
    run.outcome();
}
