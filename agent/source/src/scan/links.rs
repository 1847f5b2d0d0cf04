//! The way that symbolic links lead: a change of any of them is a change of what is read.

use std::{
    ffi::OsString,
    fs, io,
    path::{Component, Path, PathBuf},
};

/// As many links as the kernel follows (`MAXSYMLINKS`).
const MOST: usize = 40;

/// One step of a path that is still to go.
enum Step {
    Root,
    Up,
    Name(OsString),
}

/// The name of each link on the way of a path, and where the way ends. Each is in a directory without
/// links; a name of which nothing is there yet ends the way.
pub(super) fn hops(path: &Path) -> Vec<PathBuf> {
    let (mut at, mut rest) = (PathBuf::from("/"), steps(path));
    let (mut found, mut links) = (Vec::new(), 0);
    while let Some(step) = rest.pop() {
        let name = match step {
            Step::Root => {
                at = PathBuf::from("/");
                continue;
            }
            Step::Up => {
                at.pop();
                continue;
            }
            Step::Name(name) => name,
        };
        let next = at.join(name);
        match fs::read_link(&next) {
            Ok(target) => {
                found.push(next);
                links += 1;
                if links > MOST {
                    return found;
                }
                rest.extend(steps(&target));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                found.push(next);
                return found;
            }
            // It is no link.
            Err(_) => at = next,
        }
    }
    found.push(at);
    found
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Vec<Step> {
    let steps = path.components().rev().filter_map(|component| match component {
        Component::RootDir | Component::Prefix(_) => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::CurDir => None,
        Component::Normal(name) => Some(Step::Name(name.to_owned())),
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_link_of_the_way_is_named_with_its_own_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("one/v1")).unwrap();
        fs::write(root.join("one/v1/a.yaml"), "").unwrap();
        symlink("v1", root.join("one/now")).unwrap();
        symlink("../two/../one/./now/a.yaml", root.join("one/b.yaml")).unwrap();
        let names = |path: &str| -> Vec<String> {
            let below = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
            hops(&root.join(path)).iter().map(below).collect()
        };
        assert_eq!(names("one/v1/a.yaml"), ["one/v1/a.yaml"]);
        // A folder on the way is not there yet.
        assert_eq!(names("one/b.yaml"), ["one/b.yaml", "two"]);
        fs::create_dir(root.join("two")).unwrap();
        assert_eq!(names("one/b.yaml"), ["one/b.yaml", "one/now", "one/v1/a.yaml"]);
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(names("loop").len(), MOST + 1);
    }
}
