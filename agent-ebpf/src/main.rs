//! The kernel programs of Sekisho.
//!
//! Each hook reads its context into a [`agent_abi::Flow`] or a packet, asks [`agent_abi::decide`]
//! and writes the answer back; a verdict is returned, never dropped.
//!
//! ```text
//! socket.rs     layer 1: connect, sendmsg, bind, getpeername, getsockname   errno, redirect
//! stream.rs     sock_ops: original destinations, marks, what a flow carried
//! packet.rs     layer 2: cgroup_skb/egress   raw and ping sockets, connections older than a rule
//! link_hook.rs  layer 3: tcx or clsact on the host's end of a pod's link   packet, foreign sockets
//! inbound.rs    sk_lookup: what a pod with a strict port lets in                 ECONNREFUSED
//! traffic.rs    what layers 2 and 3 make of one packet
//! flows.rs      who opened a flow
//! headers.rs    IPv4, IPv6 and what they carry, into one Packet
//! context.rs    where the two families are told apart at the socket hooks
//! ```
//!
//! Kernel floor 5.15. Programs that a kernel refuses are named by the loader, with what their
//! absence costs. When the agent dies the pinned links keep every program judging by the last
//! generation; only `sekisho uninstall` detaches them.
#![no_std]
#![no_main]
#![expect(
    clippy::cast_possible_truncation,
    reason = "contexts hold ports and protocols in whole words, and there is no panic to fall back on"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the macros that make a program of a function hand it its context by value"
)]
#![expect(
    clippy::inline_always,
    reason = "a program is one function to the verifier, which follows no reference out of it"
)]
#![expect(
    unsafe_code,
    reason = "contexts and maps are raw kernel memory; each access names the fact it relies on"
)]

mod context;
mod flows;
mod headers;
mod inbound;
mod link_hook;
mod maps;
mod packet;
mod report;
mod socket;
mod stream;
mod traffic;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
