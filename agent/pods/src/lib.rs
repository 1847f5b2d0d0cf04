//! The pods of this node: their network namespaces, what the agent opens inside them, and what of
//! theirs is reset when a rule goes.
//!
//! ```text
//! sandboxes    which namespace is whose, as the container runtime told the CNI plugin
//! runtime      the sandboxes of this node, as the container runtime lists them
//! evidence     where a pod is, and who is believed about it
//! sockets      listeners and upstream sockets inside a namespace
//! veth         the host's ends of a namespace's links
//! link_watch   who hears that links have changed
//! revoke       which open sockets a change of rules resets
//! enrol        the pods of this node, each with what the agent has open in it
//! departed     what left the cluster's knowledge a moment ago: open connections to it go on
//! connections  what is open when rules change: learnt or reset
//! view         the pods as a publication left them, for their readers
//! canary       proof that the hooks judge a pod
//! ```
//!
//! It knows the kernel's side and the proxy that it gives its listeners to. It asks no API server, and
//! records nothing: it returns what it did.

pub mod canary;
pub mod connections;
pub mod departed;
pub mod enrol;
pub mod evidence;
pub mod link_watch;
pub mod revoke;
pub mod runtime;
pub mod sandboxes;
pub mod sockets;
pub mod veth;
pub mod view;
