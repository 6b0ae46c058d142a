use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use protocol::Reason;

use crate::harness::Place;

const UID: u32 = 12345;
const GID: u32 = 23456;

#[test]
fn root_becomes_the_owner_of_the_data_in_all_threads() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root: it becomes another user"
    );
    let place = Place::new();
    let data = place.gate("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(UID), Some(GID)).unwrap();
    let become_owner = format!("become={}", data.display());
    let gate = place.awaiting("gate");
    let mut run = place.start(&place.request(), &[&become_owner, "warn=became", &gate]);
    run.until_warning("became");

    let seen = run.warnings();
    assert_eq!(
        seen[0],
        format!("Ok(Some(Owner {{ uid: {UID}, gid: {GID} }}))")
    );
    let lines: Vec<&str> = seen[1].lines().collect();
    let (proc_self, threads) = lines.split_last().unwrap();
    assert_eq!(*proc_self, "exe true fd true cgroup true");
    assert!(
        threads.len() >= 4,
        "main, teller and two workers: {threads:?}"
    );
    for thread in threads {
        let all = |id| format!("{id} {id} {id} {id}");
        assert!(thread.contains(&format!("Uid: {}", all(UID))), "{thread}");
        assert!(thread.contains(&format!("Gid: {}", all(GID))), "{thread}");
        assert!(thread.contains(&format!("Groups: {GID}")), "{thread}");
    }
    // A process that is not dumpable has its /proc entries owned by root, whoever it is: its own
    // user cannot read its memory or trace it.
    let entry = fs::metadata(format!("/proc/{}/environ", run.pid())).unwrap();
    assert_eq!(entry.uid(), 0);

    for path in [place.state(), place.state().join("runs"), place.journal()] {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            (UID, GID),
            "{}",
            path.display()
        );
        assert_eq!(metadata.mode() & 0o077, 0, "{}", path.display());
    }
    // Root still attaches and is told all; then the run ends as it should.
    let mut attached = place.start(&place.request(), &[]);
    attached.until_warning("became");
    place.open("gate");
    assert_eq!(run.outcome().0.reason, Reason::Succeeded);
    assert_eq!(attached.outcome().0.reason, Reason::Succeeded);
}
