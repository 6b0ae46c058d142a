//! Which supplementary groups a process of a user has. Formats: passwd(5), group(5).

use std::collections::BTreeSet;

/// The groups that /etc/group gives the user, and those that we were started with and that have no
/// name there: only who made the container can have given those (`fsGroup`,
/// `supplementalGroups`), so that the volumes can be used. Root's own groups stay behind.
pub(super) fn groups_of(
    uid: u32,
    gid: u32,
    passwd: &str,
    group: &str,
    inherited: &[u32],
) -> Vec<u32> {
    let user = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    let mut named = BTreeSet::new();
    let mut groups = BTreeSet::from([gid]);
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, number, members] = fields[..] else {
            continue;
        };
        let Ok(number) = number.parse::<u32>() else {
            continue;
        };
        named.insert(number);
        if user.is_some_and(|user| members.split(',').any(|member| member == user)) {
            groups.insert(number);
        }
    }
    groups.extend(
        inherited
            .iter()
            .filter(|id| **id != 0 && !named.contains(id)),
    );
    groups.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::groups_of;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ncassandra:x:999:999::/home:/bin/sh\n";
    const GROUP: &str = "root:x:0:\ndisk:x:6:root\nssl:x:110:www,cassandra\ncassandra:x:999:\n";

    #[test]
    fn the_user_s_own_groups_and_those_of_the_volumes_are_kept_and_root_s_are_not() {
        assert_eq!(
            groups_of(999, 999, PASSWD, GROUP, &[0, 6, 2000]),
            [110, 999, 2000]
        );
    }

    #[test]
    fn a_user_without_a_name_has_the_group_of_the_data() {
        assert_eq!(groups_of(12345, 54321, PASSWD, GROUP, &[0]), [54321]);
        assert_eq!(groups_of(12345, 54321, "", "", &[]), [54321]);
    }
}
