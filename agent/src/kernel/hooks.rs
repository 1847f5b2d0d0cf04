//! Where each program hangs. One list: attaching, `status` and uninstalling all read it.

use aya_obj::generated::bpf_attach_type::{
    BPF_CGROUP_INET_EGRESS, BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET4_CONNECT,
    BPF_CGROUP_INET4_GETPEERNAME, BPF_CGROUP_INET4_GETSOCKNAME, BPF_CGROUP_INET6_BIND,
    BPF_CGROUP_INET6_CONNECT, BPF_CGROUP_INET6_GETPEERNAME, BPF_CGROUP_INET6_GETSOCKNAME,
    BPF_CGROUP_SOCK_OPS, BPF_CGROUP_UDP4_SENDMSG, BPF_CGROUP_UDP6_SENDMSG, BPF_TCX_EGRESS,
    BPF_TCX_INGRESS,
};

/// A program and its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    /// The name that users see, and that the link is pinned under.
    pub(crate) name: &'static str,
    /// The program's name in the object.
    pub(crate) program: &'static str,
    /// The kernel's number for the hook.
    pub(crate) attach_type: u32,
    /// 1 socket calls, 2 packets, 3 frames.
    pub(crate) layer: u8,
    /// What its absence costs, where the agent can do without it; `None` where it cannot.
    pub(crate) optional: Option<&'static str>,
}

const fn hook(
    name: &'static str,
    program: &'static str,
    attach_type: aya_obj::generated::bpf_attach_type,
    layer: u8,
) -> Hook {
    Hook { name, program, attach_type: attach_type as u32, layer, optional: None }
}

/// At the cgroup, in the order in which they are attached: what remembers comes before what sends
/// something to be remembered.
pub(crate) const CGROUP: [Hook; 12] = [
    hook("sock_ops", "tcp_events", BPF_CGROUP_SOCK_OPS, 1),
    hook("getpeername4", "sk_getpeername4", BPF_CGROUP_INET4_GETPEERNAME, 1),
    hook("getpeername6", "sk_getpeername6", BPF_CGROUP_INET6_GETPEERNAME, 1),
    hook("getsockname4", "sk_getsockname4", BPF_CGROUP_INET4_GETSOCKNAME, 1),
    hook("getsockname6", "sk_getsockname6", BPF_CGROUP_INET6_GETSOCKNAME, 1),
    hook("bind4", "sk_bind4", BPF_CGROUP_INET4_BIND, 1),
    hook("bind6", "sk_bind6", BPF_CGROUP_INET6_BIND, 1),
    hook("sendmsg4", "sk_sendmsg4", BPF_CGROUP_UDP4_SENDMSG, 1),
    hook("sendmsg6", "sk_sendmsg6", BPF_CGROUP_UDP6_SENDMSG, 1),
    hook("connect4", "sk_connect4", BPF_CGROUP_INET4_CONNECT, 1),
    hook("connect6", "sk_connect6", BPF_CGROUP_INET6_CONNECT, 1),
    Hook {
        optional: Some(
            "raw and ping sockets get no errno, only silence from layer 3; \
             the kernel offers bpf_get_netns_cookie here since 6.11",
        ),
        ..hook("skb_egress", "skb_egress", BPF_CGROUP_INET_EGRESS, 2)
    },
];

/// On the host's end of an enrolled pod's link. What learns comes before what judges.
pub(crate) const WIRE: [Hook; 2] = [
    hook("tcx_egress", "wire_to_pod", BPF_TCX_EGRESS, 3),
    hook("tcx_ingress", "wire_from_pod", BPF_TCX_INGRESS, 3),
];
