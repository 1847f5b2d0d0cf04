//! What the runtime is told, in the words of the CNI specification (1.1.0, sections 2 and 5).

use serde::Serialize;
use serde_json::{Value, json};

/// The versions whose results can be passed through as they are: all that have a `prevResult`.
pub(super) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// What is spoken to a runtime that names no version.
pub(super) const NEWEST: &str = "1.1.0";

/// The specification's numbers, and ours from 100 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The configuration is of a version that we do not speak, or the verb is newer than it.
    Version = 1,
    /// `CNI_*` is missing or makes no sense.
    Environment = 4,
    /// Something cannot be read.
    Io = 5,
    /// The configuration is no JSON, or a field is of another type.
    Decode = 6,
    /// The configuration makes no sense.
    Config = 7,
    /// Not now; the runtime tries again.
    TryAgain = 11,
    /// The pod is not judged as it should be.
    NotJudged = 100,
}

/// Why a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    /// What, in a few words.
    pub(super) message: String,
    /// What to do about it.
    pub(super) details: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: details.into() }
    }

    /// The standard output of a call that fails.
    pub(super) fn text(&self, version: &str) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Told<'a> {
            cni_version: &'a str,
            code: u32,
            msg: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            details: &'a str,
        }
        let told = Told {
            cni_version: version,
            code: self.code as u32,
            msg: &self.message,
            details: &self.details,
        };
        serde_json::to_string(&told).expect("words and a number are always JSON")
    }
}

/// The result of the plugin before us, which is ours as well: an interface of our own is none.
pub(super) fn result(version: &str, before: &Value) -> String {
    let mut result = before.clone();
    if let Some(fields) = result.as_object_mut() {
        fields.insert("cniVersion".into(), version.into());
    }
    result.to_string()
}

/// The answer to VERSION.
pub(super) fn versions(asked: Option<&str>) -> String {
    json!({"cniVersion": asked.unwrap_or(NEWEST), "supportedVersions": VERSIONS}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_the_one_before_in_the_lists_version() {
        let before = json!({"ips": [{"address": "203.0.113.7/24"}], "x-unknown": [1, {"a": null}]});
        let told: Value = serde_json::from_str(&result("1.0.0", &before)).unwrap();
        let mut wanted = before;
        wanted["cniVersion"] = "1.0.0".into();
        assert_eq!(told, wanted);
    }

    #[test]
    fn versions_are_told_in_the_version_that_is_asked() {
        let told: Value = serde_json::from_str(&versions(Some("1.0.0"))).unwrap();
        assert_eq!(told["cniVersion"], "1.0.0");
        assert!(told["supportedVersions"].as_array().unwrap().contains(&"1.1.0".into()));
        let told: Value = serde_json::from_str(&versions(None)).unwrap();
        assert_eq!(told["cniVersion"], NEWEST);
    }
}
