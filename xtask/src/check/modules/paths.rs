//! The paths of a source file that begin with `crate` or `super`, found among its tokens: in `use`
//! trees, in expressions and within macros alike; never in comments or texts.

use std::str::FromStr as _;

use anyhow::anyhow;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path as it is written. Where in the file is not known: that costs a feature of the tokens'
/// crate with which every macro of the tree would be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// How many modules up from the file's own it starts; `None` is the crate's root.
    pub(super) up: Option<usize>,
    /// The names that follow.
    pub(super) names: Vec<String>,
}

pub(super) fn find(text: &str) -> anyhow::Result<Vec<Written>> {
    let tokens = TokenStream::from_str(text).map_err(|error| anyhow!("{error}"))?;
    let mut found = Vec::new();
    walk(tokens, 0, &mut found);
    Ok(found)
}

/// `depth`: how many modules within the file are open.
fn walk(tokens: TokenStream, depth: usize, found: &mut Vec<Written>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let within = usize::from(is_module(&tokens[..at])) + depth;
        match token {
            TokenTree::Group(group) => walk(group.stream(), within, found),
            TokenTree::Ident(word) if word == "crate" || word == "super" => {
                let supers = tokens[at..].iter().step_by(3).take_while(|one| is(one, "super"));
                let supers = supers.count();
                let up = (word == "super").then(|| supers.saturating_sub(depth));
                // Within a module of this file that many `super` stay in the file.
                let leaves = word == "crate" || supers > depth;
                let rest = &tokens[at + 3 * supers.max(1) - 2..];
                let start = Written { up, names: Vec::new() };
                let taken = follow(rest, &start, &mut |one| {
                    if leaves {
                        found.push(one);
                    }
                });
                at += 3 * supers.max(1) - 2 + taken;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

fn is(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(word) if word == name)
}

/// Whether `mod NAME` stands directly before a group.
fn is_module(before: &[TokenTree]) -> bool {
    matches!(before, [.., keyword, TokenTree::Ident(_)] if is(keyword, "mod"))
}

/// Reads `::a::b` and `::{a, b::c}`; returns how many tokens of it belong to the path.
fn follow(tokens: &[TokenTree], so_far: &Written, each: &mut dyn FnMut(Written)) -> usize {
    let mut path = so_far.clone();
    let mut at = 0;
    let is_colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    while is_colon(at) && is_colon(at + 1) {
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(word)) => path.names.push(word.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                branches(group, &path, each);
                return at + 3;
            }
            _ => break,
        }
        at += 3;
    }
    each(path);
    at
}

/// The branches of a `use` tree.
fn branches(group: &Group, so_far: &Written, each: &mut dyn FnMut(Written)) {
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
    for branch in tokens.split(is_comma) {
        let [TokenTree::Ident(word), rest @ ..] = branch else { continue };
        let mut path = so_far.clone();
        if word != "self" {
            path.names.push(word.to_string());
        }
        follow(rest, &path, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let shown = |one: Written| match one.up {
            None => format!("crate {}", one.names.join(" ")),
            Some(up) => format!("{up} {}", one.names.join(" ")),
        };
        find(text).unwrap().into_iter().map(shown).collect()
    }

    #[test]
    fn each_branch_of_a_use_tree_is_a_path() {
        let text = "use crate::{\n  a::{self, B, c::D as E},\n  f,\n};";
        assert_eq!(found(text), ["crate a", "crate a B", "crate a c D", "crate f"]);
    }

    #[test]
    fn paths_within_macros_count_and_comments_and_texts_do_not() {
        let text = "/// crate::a\nfn f() { assert_eq!(crate::b::C, \"crate::d\"); } // crate::e";
        assert_eq!(found(text), ["crate b C"]);
    }

    #[test]
    fn super_counts_from_the_file() {
        let text = "use super::a; mod tests { use super::b; use super::super::c::D; }";
        assert_eq!(found(text), ["1 a", "1 c D"]);
    }
}
