use std::fs;
use std::path::{Path, PathBuf};

/// What the agent may need at its peak, with room for Cassandra beside it.
const NEEDED: u64 = 128 << 20;

/// There is no room for the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "only {left} MiB of memory are left in the container, the agent needs {needed} MiB beside Cassandra: raise the memory limit"
)]
pub struct NoMemory {
    left: u64,
    needed: u64,
}

/// Makes sure that Cassandra keeps its memory. Gives what is left, in bytes; none where nothing is
/// limited.
pub fn enough_memory() -> Result<Option<u64>, NoMemory> {
    enough(memory_left())
}

fn enough(left: Option<u64>) -> Result<Option<u64>, NoMemory> {
    match left {
        Some(left) if left < NEEDED => Err(NoMemory {
            left: left >> 20,
            needed: NEEDED >> 20,
        }),
        left => Ok(left),
    }
}

/// cgroup v1 writes this much or more for "no limit" (the largest multiple of the page size).
const NO_LIMIT_V1: u64 = 1 << 60;

/// Bytes that may still be used before the kernel ends a process of our memory cgroup, or of one
/// above it. Pages of files that were not read lately count as free. None where nothing is limited.
fn memory_left() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let membership = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    left(&membership, &mounts, &read)
}

/// Reads a file of a cgroup directory, if it is there.
type ReadFile<'a> = &'a dyn Fn(&Path) -> Option<String>;

fn left(membership: &str, mounts: &str, read: ReadFile<'_>) -> Option<u64> {
    hierarchies(membership, mounts)
        .into_iter()
        .flat_map(|hierarchy| hierarchy.directories())
        .filter_map(|directory| {
            left_in_v2(&directory, read).or_else(|| left_in_v1(&directory, read))
        })
        .min()
}

/// One mounted cgroup file system that may limit our memory.
#[derive(Debug, PartialEq)]
struct Hierarchy {
    mount: PathBuf,
    /// Our directory below the mount.
    ours: PathBuf,
}

impl Hierarchy {
    /// Our cgroup and those above it, as far as they can be seen from here.
    fn directories(&self) -> Vec<PathBuf> {
        self.ours
            .ancestors()
            .map(|below| self.mount.join(below))
            .collect()
    }
}

/// Finds where our memory cgroups are mounted. Formats: cgroups(7), proc_pid_mountinfo(5).
fn hierarchies(membership: &str, mounts: &str) -> Vec<Hierarchy> {
    mounts
        .lines()
        .filter_map(|line| {
            let (place, source) = line.split_once(" - ")?;
            let mut source = source.split(' ');
            let kind = source.next()?;
            let options = source.nth(1).unwrap_or_default();
            let ours = membership.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                let same = match kind {
                    "cgroup2" => controllers.is_empty(),
                    "cgroup" => has(controllers, "memory") && has(options, "memory"),
                    _ => false,
                };
                same.then_some(path)
            })?;
            let mut place = place.split(' ');
            let root = place.nth(3)?;
            let mount = PathBuf::from(place.next()?);
            // In a container, the mount often begins at our own cgroup while our path is told as
            // the host sees it.
            let ours = Path::new(ours).strip_prefix(root).unwrap_or(Path::new(""));
            let ours = ours.strip_prefix("/").unwrap_or(ours).to_path_buf();
            Some(Hierarchy { mount, ours })
        })
        .collect()
}

fn has(list: &str, word: &str) -> bool {
    list.split(',').any(|entry| entry == word)
}

fn left_in_v2(directory: &Path, read: ReadFile<'_>) -> Option<u64> {
    let limit = number(&read(&directory.join("memory.max"))?)?;
    let used = number(&read(&directory.join("memory.current"))?)?;
    Some(room(
        limit,
        used,
        inactive(directory, "inactive_file", read),
    ))
}

fn left_in_v1(directory: &Path, read: ReadFile<'_>) -> Option<u64> {
    let limit = number(&read(&directory.join("memory.limit_in_bytes"))?)?;
    let used = number(&read(&directory.join("memory.usage_in_bytes"))?)?;
    (limit < NO_LIMIT_V1).then(|| {
        room(
            limit,
            used,
            inactive(directory, "total_inactive_file", read),
        )
    })
}

fn room(limit: u64, used: u64, reclaimable: u64) -> u64 {
    limit.saturating_sub(used.saturating_sub(reclaimable))
}

fn inactive(directory: &Path, field: &str, read: ReadFile<'_>) -> u64 {
    read(&directory.join("memory.stat"))
        .and_then(|stat| {
            stat.lines()
                .find_map(|line| number(line.strip_prefix(field)?.strip_prefix(' ')?))
        })
        .unwrap_or(0)
}

/// None for `max`.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn left_with(membership: &str, mounts: &str, files: &[(&str, &str)]) -> Option<u64> {
        let files: HashMap<PathBuf, String> = files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect();
        left(membership, mounts, &|path| files.get(path).cloned())
    }

    #[test]
    fn a_v2_container_has_what_its_limit_leaves_and_its_cold_file_pages() {
        let left = left_with(
            "0::/\n",
            "31 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n",
            &[
                ("/sys/fs/cgroup/memory.max", "1048576000\n"),
                ("/sys/fs/cgroup/memory.current", "943718400\n"),
                (
                    "/sys/fs/cgroup/memory.stat",
                    "anon 7\ninactive_file 52428800\nactive_file 9\n",
                ),
            ],
        );
        assert_eq!(left, Some(150 * MIB));
    }

    #[test]
    fn the_tightest_cgroup_on_the_way_up_counts() {
        let left = left_with(
            "0::/a/b\n",
            "31 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
            &[
                ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("/sys/fs/cgroup/a/b/memory.current", "1\n"),
                ("/sys/fs/cgroup/a/memory.max", "1000"),
                ("/sys/fs/cgroup/a/memory.current", "400"),
            ],
        );
        assert_eq!(left, Some(600));
    }

    #[test]
    fn a_v1_container_is_found_where_its_own_cgroup_is_mounted() {
        let mounts = "40 30 0:33 /kubepods/pod7 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                      41 30 0:34 /kubepods/pod7 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n";
        let left = left_with(
            "9:name=systemd:/kubepods/pod7\n4:memory:/kubepods/pod7\n3:cpu,cpuacct:/kubepods/pod7\n",
            mounts,
            &[
                ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
                ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n"),
                (
                    "/sys/fs/cgroup/memory/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 300\n",
                ),
            ],
        );
        assert_eq!(left, Some(400));
    }

    #[test]
    fn nothing_is_said_where_nothing_is_limited() {
        let v1 = left_with(
            "4:memory:/\n",
            "40 30 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            &[
                (
                    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                    "9223372036854771712\n",
                ),
                ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n"),
            ],
        );
        assert_eq!(v1, None);
        assert_eq!(left_with("0::/\n", "", &[]), None);
    }

    #[test]
    fn more_use_than_the_limit_leaves_nothing() {
        assert_eq!(room(100, 150, 20), 0);
    }
}
