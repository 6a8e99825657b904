//! Images without a registry: a layer of this machine's own files with the libraries that they need, in the archive format that
//! containerd imports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::succeed;
use crate::services::machine::text_of;
use crate::services::place::Place;

/// What a task's command may use.
pub(super) const TOOLS: [&str; 38] = [
    "bash", "sh", "base64", "cat", "chmod", "cut", "date", "dirname", "echo", "env", "false", "fold", "grep",
    "head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mkfifo", "nohup", "paste", "printf", "ps",
    "readlink", "rm", "sed", "seq", "setsid", "sleep", "sort", "tail", "touch", "tr", "true", "uname", "wc",
];

/// The certificates that a program trusts.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Makes an image of tools and files, and gives it to the node under that name. It has the libraries of `hosts` as well, which are
/// brought into its containers later.
pub(super) fn load(
    place: &Place,
    name: &str,
    tools: &[&str],
    files: &[(PathBuf, PathBuf)],
    entrypoint: &[&str],
    hosts: &[&Path],
) -> Result<()> {
    let mut layer = tar::Builder::new(Vec::new());
    layer.follow_symlinks(true);
    for (folder, mode) in [("tmp", 0o1777), ("proc", 0o755), ("sys", 0o755), ("dev", 0o755), ("etc", 0o755)] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        layer
            .append_data(&mut header, format!("{folder}/"), std::io::empty())
            .context("failed to add a folder")?;
    }
    let mut wanted: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for tool in tools {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
        let found = found.into_iter().find(|path| path.exists());
        let found = found.with_context(|| format!("this machine has no program {tool}"))?;
        wanted.insert(Path::new("/bin").join(tool), found);
    }
    wanted.extend(files.iter().map(|(from, to)| (to.clone(), from.clone())));
    for library in libraries(wanted.values().map(PathBuf::as_path).chain(hosts.iter().copied()))? {
        wanted.insert(library.clone(), library);
    }
    if Path::new(CERTIFICATES).is_file() {
        wanted.insert(CERTIFICATES.into(), CERTIFICATES.into());
    }
    for (to, from) in &wanted {
        let inside = to.strip_prefix("/").unwrap_or(to);
        layer
            .append_path_with_name(from, inside)
            .with_context(|| format!("failed to put {} into an image", from.display()))?;
    }
    let layer = layer.into_inner().context("failed to end a layer")?;
    let digest = hex(&layer);
    let config = serde_json::json!({
        "architecture": architecture(), "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": entrypoint, "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        "history": [{ "created": "2026-01-01T00:00:00Z" }],
    });
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", hex(&config));
    let layer_name = format!("{digest}/layer.tar");
    let manifest = serde_json::json!([{ "Config": config_name, "RepoTags": [name], "Layers": [layer_name] }])
        .to_string();
    let path = place.folder().join("image.tar");
    let file =
        std::fs::File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
    let mut archive = tar::Builder::new(file);
    for (name, content) in
        [("manifest.json", manifest.as_bytes()), (&config_name, &config), (&layer_name, &layer)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content).context("failed to write an image")?;
    }
    archive.finish().context("failed to write an image")?;
    drop(archive);
    succeed(
        Command::new("ctr")
            .arg("--address")
            .arg(super::node::socket(place))
            .args(["-n", "k8s.io", "images", "import"])
            .arg(&path),
    )?;
    std::fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))
}

/// The shared libraries of programs, and what loads them, by the paths at which programs look for them.
fn libraries<'a>(programs: impl Iterator<Item = &'a Path>) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for program in programs {
        let output = Command::new("ldd").arg(program).output().context("failed to start ldd")?;
        let text = text_of(&output);
        // A script or a static program has none.
        ensure!(
            output.status.success() || text.contains("not a dynamic"),
            "ldd {} failed:\n{text}",
            program.display()
        );
        let words =
            text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
        found.extend(words.map(PathBuf::from).filter(|path| path.exists()));
    }
    Ok(found)
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
