//! Lists what `npm run build` made, so that it is compiled in.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Error},
    path::{Path, PathBuf},
};

#[expect(clippy::disallowed_methods, reason = "this is how cargo tells a build script where to write")]
fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist");
    // The folder is always there; what is in it isn't tracked.
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut paths = Vec::new();
    collect(&folder, &mut paths)?;
    paths.sort();
    let mut text = String::from("/// Every file, by path.\npub static FILES: &[File] = &[\n");
    for path in paths.iter().filter(|path| path.extension().is_none_or(|end| end != "br")) {
        let mut packed = path.clone().into_os_string();
        packed.push(".br");
        let packed = Some(PathBuf::from(packed)).filter(|packed| paths.contains(packed));
        let include = |path: &Path| format!("include_bytes!({:?})", path.display().to_string());
        let name = path.strip_prefix(&folder).map_err(Error::other)?;
        let name = name.to_str().ok_or_else(|| Error::other("a file's name isn't UTF-8"))?;
        let brotli = packed.map_or("None".to_owned(), |packed| format!("Some({})", include(&packed)));
        writeln!(text, "    File {{ path: {name:?}, bytes: {}, brotli: {brotli} }},", include(path))
            .map_err(Error::other)?;
    }
    text.push_str("];\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| Error::other("cargo names no OUT_DIR"))?;
    fs::write(Path::new(&out).join("files.rs"), text)
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.file_name().is_some_and(|name| name != ".gitignore") {
            paths.push(path);
        }
    }
    Ok(())
}
