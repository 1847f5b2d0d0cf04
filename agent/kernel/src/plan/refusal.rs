//! Why a generation is refused before anything of it is written. The one before it stays.

use agent_abi::{MAX_INBOUND, MAX_PODS, MAX_PREFIXES, MAX_RULES};
use agent_model::compile::CompileError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("the rules of the pod with network namespace cookie {netns} cannot be compiled")]
    Compile {
        netns: u64,
        #[source]
        source: CompileError,
    },
    #[error(
        "the change needs room for {needed} prefixes, counting those in force until it is done, \
         and a node holds {MAX_PREFIXES} (MAX_PREFIXES): merge neighbouring CIDRs, or let fewer \
         hosts reach a namespace with exportTo or a Sidecar's egress hosts"
    )]
    TooManyPrefixes { needed: usize },
    #[error(
        "the change needs room for {needed} port rules, counting those in force until it is done, \
         and a node holds {MAX_RULES} (MAX_RULES): name fewer ports on wide CIDRs, or let fewer \
         hosts reach a namespace with exportTo or a Sidecar's egress hosts"
    )]
    TooManyRules { needed: usize },
    #[error(
        "the change needs {needed} entries for pods, one in each of two slots, and a node holds \
         {MAX_PODS} (MAX_PODS): run fewer pods on this node"
    )]
    TooManyPods { needed: usize },
    #[error(
        "the change needs {needed} entries for ports that take mutual TLS alone or are probed, one in \
         each of two slots, and a node holds {MAX_INBOUND} (MAX_INBOUND): set STRICT for whole \
         workloads, and fewer ports apart by portLevelMtls"
    )]
    TooManyInbound { needed: usize },
    #[error(
        "the numbers for tables, sets or rules are spent: `sekisho uninstall`, then start again"
    )]
    NumbersSpent,
}
