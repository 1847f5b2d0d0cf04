//! What does not fit. A rule set past a limit is refused whole; nothing of it is left out.

use agent_abi::{MAX_PREFIXES, MAX_RULES};

/// Why a rule set cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More prefixes than the kernel's trie holds.
    #[error(
        "one rule set has {found} distinct prefixes and a node holds {MAX_PREFIXES} \
         (MAX_PREFIXES): merge neighbouring CIDRs, or let fewer hosts reach this namespace with \
         exportTo or a Sidecar's egress hosts"
    )]
    TooManyPrefixes {
        /// How many the set has.
        found: usize,
    },
    /// More ports than the kernel's table of port rules holds.
    #[error(
        "one rule set has more than {MAX_RULES} port rules after overlapping CIDRs are folded, \
         and a node holds no more (MAX_RULES): name fewer ports on wide CIDRs, or let fewer hosts \
         reach this namespace with exportTo or a Sidecar's egress hosts"
    )]
    TooManyPortRules,
}
