//! `exportTo`: who may see an object.

use crate::registry::Exposure;

/// Who may see an object that says so by a list of `.`, `*`, `~` and names.
pub(super) fn exposure(export_to: &[String]) -> Option<Exposure> {
    if export_to.is_empty() {
        return None;
    }
    if export_to.iter().any(|entry| entry == "*") {
        return Some(Exposure::All);
    }
    let own = export_to.iter().any(|entry| entry == ".");
    let named = export_to.iter().filter(|entry| *entry != "." && *entry != "~");
    Some(Exposure::Only { own, named: named.cloned().collect() })
}
