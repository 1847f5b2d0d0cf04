//! Rules of the tree that a search for words can hold: where a dialect may be named, what the pure
//! crate may not touch, how files are named and how long they may get.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::bail;

use crate::command::{quiet, workspace};
use std::process::Command;

/// Past this many lines a file has a second job.
const LONGEST_FILE: usize = 400;
const FORBIDDEN_NAMES: [&str; 6] =
    ["helpers.rs", "manager.rs", "misc.rs", "mod.rs", "types.rs", "utils.rs"];

/// Words that may stand in some places only.
struct Rule {
    words: &'static [&'static str],
    /// Where the rule applies.
    within: &'static [&'static str],
    /// Where it does not.
    except: &'static [&'static str],
    why: &'static str,
}

const RULES: [Rule; 4] = [
    Rule {
        words: &["Istio", "AppMesh"],
        within: &["agent-abi/", "agent-ebpf/", "agent/model/", "agent/proxy/", "agent/"],
        except: &[
            // The service's own name in its protocol.
            "agent/ca/src/wire",
            "agent/model/src/object",
            "agent/model/src/resource",
            "agent/model/src/translate",
        ],
        why: "a dialect is named under object/, resource/ and translate/ only",
    },
    Rule {
        words: &[
            "std::env",
            "std::fs",
            "std::process",
            "std::thread",
            "Instant",
            "SystemTime",
            "TcpListener",
            "TcpStream",
            "UdpSocket",
            "UnixStream",
        ],
        within: &["agent/model/src/"],
        except: &[],
        why: "the model is pure: no I/O and no clock",
    },
    Rule {
        words: &[
            "std::env",
            "std::fs",
            "std::process",
            "std::thread",
            "Instant",
            "Timestamp::now",
            "tokio",
        ],
        within: &["agent/identity/src/"],
        except: &[
            "agent/identity/src/ca_dir",
            "agent/identity/src/kept",
            "agent/identity/src/life",
        ],
        why: "what is decided about identities is pure: no I/O and no clock",
    },
    Rule {
        words: &["kube", "k8s_openapi", "aya"],
        within: &["agent/proxy/src/"],
        except: &[],
        why: "the data path knows neither Kubernetes nor BPF",
    },
];

/// Words that comments and documents say more exactly: which process, which caller, which object.
const VAGUE: [&str; 7] = ["anew", "anybody", "hung", "let be", "nobody", "somebody", "whoever"];
/// The one document that has them: it names this rule.
const NAMES_THE_RULE: &str = "CONTRIBUTING.md";

pub(crate) fn check() -> anyhow::Result<()> {
    let listed = quiet(Command::new("git").args(["ls-files", "*.rs"]).current_dir(workspace()))?;
    let mut problems = Vec::new();
    for path in listed.lines().map(PathBuf::from) {
        // A file that is deleted but not yet committed is still listed.
        let Ok(text) = fs::read_to_string(workspace().join(&path)) else { continue };
        problems.extend(problems_of(&path, &text));
    }
    let listed = quiet(Command::new("git").args(["ls-files", "*.md"]).current_dir(workspace()))?;
    for path in listed.lines().filter(|path| *path != NAMES_THE_RULE) {
        let Ok(text) = fs::read_to_string(workspace().join(path)) else { continue };
        problems.extend(vague(path, text.lines().map(Some)));
    }
    if problems.is_empty() { Ok(()) } else { bail!("\n  {}", problems.join("\n  ")) }
}

fn problems_of(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let mut problems = Vec::new();
    if path.file_name().is_some_and(|name| FORBIDDEN_NAMES.iter().any(|bad| name == *bad)) {
        problems.push(format!("{shown}: a file is named after its job"));
    }
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        problems.push(format!("{shown}: {lines} lines, {LONGEST_FILE} is the most"));
    }
    if !is_test(&shown.to_string()) && !text.starts_with("//!") {
        problems.push(format!("{shown}: no `//!` header that states its one job"));
    }
    problems.extend(vague(&shown.to_string(), text.lines().map(comment)));
    for rule in &RULES {
        problems.extend(rule.problems(&shown.to_string(), text));
    }
    problems
}

/// The vague words of a file, of whose lines `prose` has what is meant for readers.
fn vague<'a>(path: &str, prose: impl Iterator<Item = Option<&'a str>>) -> Vec<String> {
    prose
        .enumerate()
        .filter_map(|(at, prose)| {
            let prose = prose?.to_lowercase();
            let word = VAGUE.iter().find(|word| names(&prose, word))?;
            Some(format!("{path}:{}: {word}: say which process, caller or object", at + 1))
        })
        .collect()
}

/// The comment of a line; one that stands behind code starts after a blank.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    match line.strip_prefix("//") {
        Some(comment) => Some(comment),
        None => line.split_once(" // ").map(|(_, comment)| comment),
    }
}

impl Rule {
    fn problems(&self, path: &str, text: &str) -> Vec<String> {
        let applies = self.within.iter().any(|part| path.starts_with(part))
            && !self.except.iter().any(|part| path.starts_with(part))
            && !is_test(path);
        if !applies {
            return Vec::new();
        }
        code_lines(text)
            .filter_map(|(number, code)| {
                let word = self.words.iter().find(|word| names(code, word))?;
                Some(format!("{path}:{number}: {word}: {}", self.why))
            })
            .collect()
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.ends_with("/testing.rs")
}

/// The lines of a file up to the tests at its end, without comments, counted from 1.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

/// A word in a longer path counts; within a longer identifier it counts where it is capitalised,
/// as in `IstioRule`.
fn names(code: &str, word: &str) -> bool {
    let camel = word.starts_with(char::is_uppercase);
    code.match_indices(word).any(|(at, found)| {
        let joined = |letter: Option<char>| letter.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let before = code[..at].chars().next_back();
        let after = code[at + found.len()..].chars().next();
        camel || (!joined(before) && !joined(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_is_found_in_code_and_not_in_comments_or_tests() {
        let text =
            "//! Job.\nfn f() { IstioRule::new() } // Istio\n#[cfg(test)]\nfn g() { Istio }\n";
        let found = problems_of(Path::new("agent/src/app.rs"), text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("agent/src/app.rs:2: Istio"), "{found:?}");
        assert!(problems_of(Path::new("agent/model/src/translate/x.rs"), text).is_empty());
    }

    #[test]
    fn a_word_within_a_longer_one_is_another_word() {
        assert!(names("use aya::Bpf;", "aya"));
        assert!(!names("let layable = 1;", "aya"));
        assert!(!names("kubelet", "kube"));
    }

    #[test]
    fn a_vague_word_is_found_in_comments_of_every_room() {
        // This file has none of them in comments either.
        let text =
            "//! Job.\n@ Nobody waits.\nfn f() {} @ whoever asks\nlet nobody = 1;\n@ Let be.\n";
        let text = &text.replace('@', "//");
        for room in
            ["agent/kernel/src", "agent/model/src", "agent/proxy/src", "agent/src", "tests/src"]
        {
            let found = problems_of(&Path::new(room).join("a.rs"), text);
            assert_eq!(found.len(), 3, "{found:?}");
            assert!(found[1].starts_with(&format!("{room}/a.rs:3: whoever")), "{found:?}");
        }
    }

    #[test]
    fn a_vague_word_is_found_in_documents() {
        let text = "# Nobody\n\nA nobodyish word is another one.\n";
        let found = vague("docs/a.md", text.lines().map(Some));
        assert_eq!(found, ["docs/a.md:1: nobody: say which process, caller or object"]);
    }

    #[test]
    fn a_file_without_a_header_or_with_a_vague_name_is_reported() {
        let found = problems_of(Path::new("agent/src/utils.rs"), "fn f() {}\n");
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
