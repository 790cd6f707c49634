//! Which paths a [`Vfs`](super::Vfs) takes: relative to its root, of plain UTF-8 names.

use std::io;
use std::path::{Component, Path};

/// Splits a path into its names; the empty path is the root itself.
///
/// # Errors
/// Kind `InvalidInput` for an absolute path and for any part that is not a plain UTF-8 name
/// without a zero byte.
pub(super) fn split(path: &Path) -> io::Result<Vec<&str>> {
    path.components()
        .map(|component| match component {
            Component::Normal(name) => name
                .to_str()
                .filter(|name| !name.contains('\0'))
                .ok_or_else(|| refuse(path)),
            _ => Err(refuse(path)),
        })
        .collect()
}

/// Splits the path of something inside the root into its folder's names and its own.
///
/// # Errors
/// As [`split`], and for the empty path.
pub(super) fn split_name(path: &Path) -> io::Result<(Vec<&str>, &str)> {
    let mut names = split(path)?;
    let name = names.pop().ok_or_else(|| refuse(path))?;
    Ok((names, name))
}

fn refuse(path: &Path) -> io::Error {
    let message = format!(
        "not a plain path inside the data folder, path={}",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_split() {
        assert_eq!(split(Path::new("")).unwrap(), Vec::<&str>::new());
        assert_eq!(split(Path::new("a/b")).unwrap(), ["a", "b"]);
        assert_eq!(
            split_name(Path::new("a/b/c")).unwrap(),
            (vec!["a", "b"], "c")
        );
    }

    #[test]
    fn ways_out_of_the_root_are_refused() {
        for path in ["/a", "..", "a/..", "a/../b", "./a", "a\0b"] {
            let error = split(Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "path={path}");
        }
        split_name(Path::new("")).unwrap_err();
    }
}
