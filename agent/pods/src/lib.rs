//! The pods of this node: their network namespaces, what the agent opens inside them, and what of
//! theirs is reset when a rule goes.
//!
//! ```text
//! canary    proof that the hooks judge a pod
//! connections  what is open when rules change: learnt or reset
//! enrol     the pods of this node, each with what the agent has open in it
//! sockets   listeners and upstream sockets inside a namespace
//! veth      the host's ends of a namespace's links
//! evidence  where a pod is, and who is believed about it
//! runtime   the sandboxes of this node, as the container runtime lists them
//! whereabouts  which namespace is whose, as the container runtime told the CNI plugin
//! revoke    which open sockets a change of rules resets
//! ```

pub(crate) mod canary;
pub(crate) mod connections;
pub(crate) mod enrol;
pub(crate) mod evidence;
pub(crate) mod revoke;
pub(crate) mod runtime;
pub(crate) mod sockets;
pub(crate) mod veth;
pub(crate) mod whereabouts;
