//! Removes what is pinned: all of it, or what belongs to another layout of the maps.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    LinkError,
    filters::{self, Filters},
    pins::{pinned_interfaces, remove},
};

/// Whether filters of ours may be attached somewhere, as far as pins tell.
pub(crate) fn has_filters(pin_dir: &Path) -> bool {
    !pinned_interfaces(&pin_dir.join("links"), &filters::PINS).is_empty()
}

/// Detaches and unpins everything below a pin directory; the names of what was removed.
pub(crate) fn remove_all(pin_dir: &Path) -> Result<Vec<String>, LinkError> {
    let mut removed = Filters::new(pin_dir)?.remove_all()?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LinkError::Pin { path, source }
    };
    let links = pin_dir.join("links");
    // What judges goes first, so that nothing is sent to a proxy that is about to lose its memory.
    for directory in std::iter::once(links).chain(layouts(pin_dir)) {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.map_err(failed(&directory))?.path();
            let name = path.strip_prefix(pin_dir).unwrap_or(&path).display().to_string();
            remove(&path)?;
            removed.push(name);
        }
        fs::remove_dir(&directory).map_err(failed(&directory))?;
    }
    if pin_dir.exists() {
        fs::remove_dir(pin_dir).map_err(failed(pin_dir))?;
    }
    removed.sort();
    Ok(removed)
}

/// The directories of maps, of every layout.
fn layouts(pin_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(pin_dir) else { return Vec::new() };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("maps-v"))
        })
        .collect()
}

/// Removes the maps of every layout but one: nothing of ours reads them any more.
pub(crate) fn remove_other_layouts(pin_dir: &Path, keep: &Path) -> Result<(), LinkError> {
    for directory in layouts(pin_dir) {
        if directory == keep {
            continue;
        }
        fs::remove_dir_all(&directory)
            .map_err(|source| LinkError::Pin { path: directory.clone(), source })?;
    }
    Ok(())
}
