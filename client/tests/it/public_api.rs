//! The public face shows no type of the libraries beneath it: a new version of one of those must
//! not be a new version of the SDK.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Returns the declarations of a file that may be seen from outside: from `pub` to the body.
fn public_declarations(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut declarations = Vec::new();
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if !line.starts_with("pub ") && !line.starts_with("impl") {
            continue;
        }
        let mut declaration = line.to_owned();
        while !declaration.ends_with(['{', ';', ',']) && lines.peek().is_some() {
            declaration.push(' ');
            declaration.push_str(lines.next().unwrap_or_default().trim());
        }
        declarations.push(declaration);
    }
    declarations
}

/// Returns the modules of the contract whose types the SDK shows as its own.
fn shown_modules(lib: &str) -> Vec<&str> {
    let shown = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub use towpath_proto::"));
    shown.filter_map(|path| path.split("::").next()).collect()
}

#[test]
fn no_type_of_the_transport_is_public() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "{files:?}");
    let lib = fs::read_to_string(root.join("lib.rs")).unwrap();
    let modules = shown_modules(&lib);
    assert!(modules.contains(&"reason"), "{modules:?}");
    let proto = root.join("../../proto/src");
    files.extend(
        modules
            .iter()
            .map(|module| proto.join(format!("{module}.rs"))),
    );
    let hidden = [
        "tonic", "prost", "v1::", "Status", "Code", "Channel", "Problem", "wire::", "http::",
        "hyper",
    ];
    // What is not reachable from outside may say `pub` within its module.
    let is_hidden_file = |path: &Path| {
        let private = ["transport", "error/convert", "testing"];
        private.iter().any(|it| path.to_string_lossy().contains(it))
    };
    for file in files.iter().filter(|it| !is_hidden_file(it)) {
        let source = fs::read_to_string(file).unwrap();
        for declaration in public_declarations(&source) {
            let shown = hidden.iter().find(|it| declaration.contains(**it));
            assert!(shown.is_none(), "{}: {declaration}", file.display());
        }
    }
}

#[test]
fn what_is_public_is_found() {
    let source = "pub fn a(\n    b: tonic::Status,\n) -> C {\n}\npub(crate) fn d() {}\n";
    assert_eq!(
        public_declarations(source),
        ["pub fn a( b: tonic::Status,"],
        "first part"
    );
}

const fn check<T: Send>() {}

const fn check_sync<T: Sync>() {}

/// Everything can be moved to and used from another thread.
#[test]
fn everything_is_send() {
    check::<towpath_client::Client>();
    check::<towpath_client::Producer>();
    check::<towpath_client::Receipt>();
    check::<towpath_client::Reader>();
    check::<towpath_client::Batch>();
    check::<towpath_client::ReceivedRecord>();
    check::<towpath_client::Subscriber>();
    check::<towpath_client::Delivery>();
    check::<towpath_client::Error>();
    check_sync::<towpath_client::Client>();
    check_sync::<towpath_client::Producer>();
    check_sync::<towpath_client::Error>();
}
