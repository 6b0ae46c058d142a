//! Which files of an SSTable are imported, and whether a release of Cassandra reads them.

use manifest::{ComponentName, SsTable};

use super::error::OnlineError;

/// The files of an SSTable that are imported. Those of attached indexes are not, and the list of files
/// that names them: Cassandra builds the indexes that the target has, and the list.
pub fn imported(sstable: &SsTable) -> impl Iterator<Item = &manifest::Component> {
    let of_index = |name: &str| {
        let parsed = name.parse::<ComponentName>();
        parsed.is_ok_and(|it| it.component.starts_with("SAI") || it.component.starts_with("SI_"))
    };
    let indexed = sstable.components.iter().any(|it| of_index(&it.name));
    let components = sstable.components.iter();
    let is_list = move |name: &str| indexed && name.ends_with("-TOC.txt");
    components.filter(move |it| !of_index(&it.name) && !is_list(&it.name))
}

/// Makes sure that a release reads a format. It reads those of the releases before.
pub fn is_readable(release: &str, file: &str) -> Result<(), OnlineError> {
    // The newest of each release; of what comes later nothing is known.
    let newest: &[(&str, &str)] = match release.split('.').next() {
        Some("4") => &[("big", "nb")],
        Some("5") => &[("big", "oz"), ("bti", "dz")],
        _ => return Ok(()),
    };
    let Ok(name) = file.parse::<ComponentName>() else {
        return Ok(());
    };
    let descriptor = &name.descriptor;
    let known = newest.iter().any(|(format, version)| {
        let version_of_file = descriptor.version();
        // None of them reads what is older than 3.0.
        let since = if *format == "big" { "ma" } else { "da" };
        descriptor.format() == *format && (since..=*version).contains(&version_of_file)
    });
    if known {
        return Ok(());
    }
    Err(OnlineError::Format {
        version: release.to_owned(),
        format: format!("{}-{}", descriptor.version(), descriptor.format()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_reads_what_came_before_it() {
        let reads = |release, file| is_readable(release, file).is_ok();
        assert!(reads("4.0.19", "nb-1-big-Data.db") && reads("4.1.10", "me-1-big-Data.db"));
        assert!(!reads("4.1.10", "la-1-big-Data.db"));
        assert!(!reads("4.1.10", "oa-1-big-Data.db") && !reads("4.1.10", "da-1-bti-Data.db"));
        assert!(reads("5.0.9", "oa-1-big-Data.db") && reads("5.0.9", "da-1-bti-Data.db"));
        assert!(!reads("5.0.9", "pa-1-big-Data.db") && reads("6.0.0", "zz-1-new-Data.db"));
    }

    #[test]
    fn attached_indexes_are_built_anew() {
        let sstable = |names: &[&str]| SsTable {
            sstable: "nb-1-big.00000001.17".into(),
            index: None,
            data_directory: 0,
            first_token: None,
            last_token: None,
            content: None,
            components: names
                .iter()
                .map(|name| manifest::Component {
                    name: format!("nb-1-big-{name}"),
                    object: String::new(),
                    bytes: 1,
                    blake3: String::new(),
                })
                .collect(),
        };
        let names = |given: &[&str]| -> Vec<String> {
            imported(&sstable(given))
                .map(|it| it.name.clone())
                .collect()
        };
        assert_eq!(names(&["Data.db", "TOC.txt"]).len(), 2);
        let with_index = names(&["Data.db", "SAI+aa+GroupMeta.db", "SI_x.db", "TOC.txt"]);
        assert_eq!(with_index, ["nb-1-big-Data.db"]);
    }
}
