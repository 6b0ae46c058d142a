//! The images of the bed: what is in them runs without anything else.

use std::process::Command;

use e2e::parts::binaries;
use e2e::parts::cassandra::Version;
use e2e::parts::images::{self, Image};

#[tokio::test(flavor = "multi_thread")]
async fn programs_of_an_image_run_in_it_and_only_the_libc_it_has_is_there() {
    let musl = Unpacked::of(&images::musl().await.unwrap());
    assert_eq!(
        musl.run(&["/bin/sh", "-c", "echo $((6 * 7))"]),
        Ok("42\n".into())
    );
    // musl's loader, run as a program, says who it is.
    let loader = musl.run(&["/lib/ld-musl-x86_64.so.1"]).unwrap_err();
    assert!(loader.starts_with("musl libc (x86_64)"), "{loader}");
    assert!(!musl.path("lib/x86_64-linux-gnu").exists() && !musl.path("lib64").exists());

    let bare = Unpacked::of(&images::without_shell().await.unwrap());
    assert!(bare.run(&["/bin/sh", "-c", "true"]).is_err());
    assert_eq!(bare.run(&["/sleep", "0"]), Ok(String::new()));

    let cassandra = images::cassandra(Version::V5_0).await.unwrap();
    assert_eq!(cassandra, images::cassandra(Version::V5_0).await.unwrap());
    let cassandra = Unpacked::of(&cassandra);
    let java = cassandra.run(&["/opt/java/bin/java", "-Xshare:on", "-version"]);
    assert_eq!(
        java,
        Ok(String::new()),
        "the archive of loaded classes must fit"
    );
    assert_eq!(
        cassandra.run(&["/bin/bash", "-c", "echo $BASH"]),
        Ok("/bin/bash\n".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_programs_run_where_there_is_nothing_else() {
    let binaries = binaries::build().await.unwrap();
    let image = images::operator(&binaries).await.unwrap();
    assert_eq!(image, images::operator(&binaries).await.unwrap());
    let operator = Unpacked::of(&image);
    for program in ["cassandra-backup", "cassandra-backup-operator"] {
        let help = operator
            .run(&[&format!("/usr/local/bin/{program}"), "--help"])
            .unwrap();
        assert!(help.contains("Usage"), "{help}");
    }
    assert!(!operator.path("lib64").exists() && !operator.path("lib").exists());
    let trusted = std::fs::read_to_string(operator.path("etc/ssl/certs/ca-certificates.crt"));
    assert!(trusted.unwrap().contains("BEGIN CERTIFICATE"));
    // As registries keep it.
    let packed = Command::new("gzip")
        .args(["-1", "-c"])
        .arg(&image.archive)
        .output()
        .unwrap();
    assert!(packed.status.success(), "{packed:?}");
    let bytes = packed.stdout.len();
    assert!(0 < bytes && bytes < 60 << 20, "{bytes} bytes");
    let config = config(&image);
    assert_eq!(config["config"]["User"], images::OPERATOR_UID.to_string());

    let bom = e2e::product::sbom::of_the_workspace().await.unwrap();
    let components = bom["components"].as_array().unwrap();
    let has = |name: &str| components.iter().any(|one| one["name"] == name);
    assert!(has("kube") && has("aws-sdk-s3") && has("rustls"));
    assert!(!has("e2e") && !has("insta"), "what tests need is not in it");
}

/// How a container of the image is configured.
fn config(image: &Image) -> serde_json::Value {
    let read = |path: &str| {
        let mut archive = tar::Archive::new(std::fs::File::open(&image.archive).unwrap());
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let entry = entries.find(|entry| entry.path().unwrap().to_str() == Some(path));
        serde_json::from_reader::<_, serde_json::Value>(entry.unwrap()).unwrap()
    };
    let manifest = read("manifest.json");
    read(manifest[0]["Config"].as_str().unwrap())
}

/// An image's layer, unpacked.
struct Unpacked(tempfile::TempDir);

impl Unpacked {
    fn of(image: &Image) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        tar(&[
            "-xf",
            image.archive.to_str().unwrap(),
            "-C",
            archive.to_str().unwrap(),
        ]);
        let manifest = std::fs::read(archive.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], image.name.as_str());
        let layer = archive.join(manifest[0]["Layers"][0].as_str().unwrap());
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        tar(&[
            "-xpf",
            layer.to_str().unwrap(),
            "-C",
            root.to_str().unwrap(),
        ]);
        Self(dir)
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join("root").join(path)
    }

    /// Runs a program of the image in it: its standard output, or what it said when it failed.
    fn run(&self, command: &[&str]) -> Result<String, String> {
        let root = self.path("");
        let proc = self.path("proc");
        std::fs::create_dir_all(&proc).unwrap();
        // Java's launcher looks for its libraries by /proc/self/exe, which containers have.
        let script =
            "mount -t proc proc \"$1\" && root=$2 && shift 2 && exec chroot \"$root\" \"$@\"";
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "--", "sh", "-c", script, "sh"])
            .arg(proc)
            .arg(root);
        let ran = unshare.args(command).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if ran.status.success() {
            Ok(text(ran.stdout))
        } else {
            Err(text(ran.stderr))
        }
    }
}

fn tar(args: &[&str]) {
    assert!(Command::new("tar").args(args).status().unwrap().success());
}
