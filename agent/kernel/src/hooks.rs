//! Where each program is attached. One list: attaching, `status` and uninstalling all read it.

use aya_obj::generated::bpf_attach_type::{
    BPF_CGROUP_INET_EGRESS, BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET4_CONNECT,
    BPF_CGROUP_INET4_GETPEERNAME, BPF_CGROUP_INET4_GETSOCKNAME, BPF_CGROUP_INET6_BIND,
    BPF_CGROUP_INET6_CONNECT, BPF_CGROUP_INET6_GETPEERNAME, BPF_CGROUP_INET6_GETSOCKNAME,
    BPF_CGROUP_SOCK_OPS, BPF_CGROUP_UDP4_SENDMSG, BPF_CGROUP_UDP6_SENDMSG, BPF_SK_LOOKUP,
    BPF_TCX_EGRESS, BPF_TCX_INGRESS,
};

/// A program and its place.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// The name that users see, and that the link is pinned under.
    pub name: &'static str,
    /// The program's name in the object.
    pub program: &'static str,
    /// The kernel's number for the hook: a `bpf_attach_type`, or the parent of a clsact filter.
    pub number: u32,
    /// 1 socket calls, 2 packets, 3 frames.
    pub layer: u8,
    /// What its absence costs, where the agent can do without it; `None` where it cannot.
    pub optional: Option<&'static str>,
}

const fn hook(
    name: &'static str,
    program: &'static str,
    attach_type: aya_obj::generated::bpf_attach_type,
    layer: u8,
) -> Hook {
    Hook { name, program, number: attach_type as u32, layer, optional: None }
}

/// At the cgroup, in the order in which they are attached: what remembers comes before what sends
/// something to be remembered.
pub const CGROUP: [Hook; 12] = [
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

/// In the network namespace of a pod with a strict port.
pub(crate) const SK_LOOKUP: Hook = hook("sk_lookup", "sk_inbound", BPF_SK_LOOKUP, 1);

/// On the host's end of an enrolled pod's link, by links of the kernel's. What learns comes before
/// what judges.
pub(crate) const TCX: [Hook; 2] = [
    hook("tcx_egress", "link_to_pod", BPF_TCX_EGRESS, 3),
    hook("tcx_ingress", "link_from_pod", BPF_TCX_INGRESS, 3),
];

/// The same two programs as filters of a clsact queueing discipline, for kernels without tcx. What
/// they return means the same: `TC_ACT_UNSPEC` is `TCX_NEXT`, `TC_ACT_SHOT` is `TCX_DROP`.
pub(crate) const CLSACT: [Hook; 2] = [
    Hook { number: CLSACT_EGRESS, ..hook("clsact_egress", "link_to_pod", BPF_TCX_EGRESS, 3) },
    Hook { number: CLSACT_INGRESS, ..hook("clsact_ingress", "link_from_pod", BPF_TCX_INGRESS, 3) },
];

/// Parents of filters: `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)` of `linux/pkt_sched.h`, and its twin.
const CLSACT_EGRESS: u32 = 0xffff_fff3;
const CLSACT_INGRESS: u32 = 0xffff_fff2;

/// How layer 3 is attached to a pod's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// By tcx links.
    Tcx,
    /// By clsact filters.
    Clsact,
}

impl AttachMode {
    /// The hooks, in the order in which they are attached.
    pub const fn hooks(self) -> &'static [Hook; 2] {
        match self {
            Self::Tcx => &TCX,
            Self::Clsact => &CLSACT,
        }
    }

    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}
