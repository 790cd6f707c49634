//! Where the binary is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Names a binary to be used instead of one that is built.
const VARIABLE: &str = "TOWPATH_BIN";

/// Returns the `towpath` binary: the one that `TOWPATH_BIN` names, else one that is built now.
///
/// Cargo tells the path of a binary only to the tests of its own package, and does not build it for
/// those of another. So it is built here, once for each test program, with the same cargo, profile
/// and target folder. Selected alone, it has the features that it ships with: those that tests
/// switch on in the crates below it are not in it.
///
/// # Panics
///
/// The binary cannot be built.
pub fn towpath() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this test");
    // <target folder>/<profile>/deps/<test>
    let profile_dir = own
        .ancestors()
        .nth(2)
        .expect("a test lies in a target folder");
    let target_dir = profile_dir
        .parent()
        .expect("a profile has a folder above it");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let status = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "-p", "towpath", "--bin", "towpath"])
        .args(["--profile", profile_of(profile_dir)])
        .arg("--target-dir")
        .arg(target_dir)
        .stdin(Stdio::null())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the binary cannot be built");
    profile_dir.join("towpath")
}

fn profile_of(profile_dir: &Path) -> &str {
    match profile_dir.file_name().and_then(|name| name.to_str()) {
        // The one profile whose folder has another name.
        Some("debug") => "dev",
        Some(profile) => profile,
        None => panic!("no profile in {}", profile_dir.display()),
    }
}
