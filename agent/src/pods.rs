//! The pods of this node: their network namespaces, what the agent opens inside them, and what of
//! theirs is reset when a rule goes.
//!
//! ```text
//! netns     a namespace as an open handle; the one thread that enters namespaces
//! sockets   listeners and upstream sockets inside a namespace
//! veth      the host's ends of a namespace's links
//! revoke    which open sockets a change of rules resets
//! ```

pub(crate) mod netns;
pub(crate) mod sockets;
pub(crate) mod veth;

#[cfg(test)]
mod testing;
