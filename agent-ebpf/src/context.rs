//! Socket-address contexts, read and written. This is where the two families are told apart: from
//! here on an address is an [`Addr`].
//!
//! The verifier allows only constant offsets into a context and whole words, so each word is read
//! by itself, volatile lest the compiler merge them.

use core::ptr::{read_volatile, write_volatile};

use agent_abi::{Addr, FAMILY_V4, canary::hook};
use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    programs::{SockAddrContext, SockOpsContext},
};

/// Loopback, where the proxy listens.
const LOOPBACK4_BE: u32 = 0x7f00_0001_u32.to_be();
const LOOPBACK6_BE: [u32; 4] = [0, 0, 0, 1_u32.to_be()];
/// The third word of an IPv4-mapped address.
const MAPPED_BE: u32 = 0xffff_u32.to_be();

/// The family of the system call, as the program's attach type fixes it. An IPv6 call may still
/// carry an IPv4-mapped address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    V4,
    V6,
}

/// The context of a socket-address hook.
pub(crate) struct Sock<'a> {
    ctx: &'a SockAddrContext,
    call: Call,
}

impl<'a> Sock<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a SockAddrContext, call: Call) -> Self {
        Self { ctx, call }
    }

    #[inline(always)]
    fn raw(&self) -> *mut bpf_sock_addr {
        self.ctx.sock_addr
    }

    /// How a canary's proof names `connect()`.
    #[inline(always)]
    pub(crate) fn connect_hook(&self) -> u32 {
        if self.call == Call::V4 { hook::CONNECT4 } else { hook::CONNECT6 }
    }

    /// How a canary's proof names a datagram to an address of its own.
    #[inline(always)]
    pub(crate) fn send_hook(&self) -> u32 {
        if self.call == Call::V4 { hook::SEND4 } else { hook::SEND6 }
    }

    /// The context as the log wants it.
    #[inline(always)]
    pub(crate) fn log_context(&self) -> &'a SockAddrContext {
        self.ctx
    }

    /// The context as the helpers want it.
    #[inline(always)]
    pub(crate) fn context(&self) -> *mut core::ffi::c_void {
        self.raw().cast()
    }

    /// The socket, never null in these hooks.
    #[inline(always)]
    pub(crate) fn socket(&self) -> *mut bpf_sock {
        // SAFETY: a word of the context.
        unsafe { (*self.raw()).__bindgen_anon_1.sk }
    }

    /// The address that the call names.
    #[inline(always)]
    pub(crate) fn addr(&self) -> Addr {
        let raw = self.raw();
        match self.call {
            // SAFETY: words of the context.
            Call::V4 => Addr::v4(unsafe { read_volatile(&raw const (*raw).user_ip4) }),
            Call::V6 => {
                // SAFETY: as above.
                let words = unsafe {
                    [
                        read_volatile(&raw const (*raw).user_ip6[0]),
                        read_volatile(&raw const (*raw).user_ip6[1]),
                        read_volatile(&raw const (*raw).user_ip6[2]),
                        read_volatile(&raw const (*raw).user_ip6[3]),
                    ]
                };
                Addr::v6(words)
            }
        }
    }

    /// The port that the call names.
    #[inline(always)]
    pub(crate) fn port(&self) -> u16 {
        let raw = self.raw();
        // SAFETY: a word of the context; the port is in its first two bytes, in network order.
        u16::from_be(unsafe { read_volatile(&raw const (*raw).user_port) } as u16)
    }

    /// The socket's protocol number. MPTCP's (262) has TCP's in its low byte, and is judged as TCP.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u8 {
        let raw = self.raw();
        // SAFETY: a word of the context.
        (unsafe { read_volatile(&raw const (*raw).protocol) }) as u8
    }

    /// Puts another address and port in the call.
    #[inline(always)]
    pub(crate) fn rewrite(&self, addr: &Addr, port: u16) {
        let [a, b, c, d] = addr.words_be;
        let raw = self.raw();
        // SAFETY: words of the context that these hooks may write.
        unsafe {
            match self.call {
                Call::V4 => write_volatile(&raw mut (*raw).user_ip4, a),
                Call::V6 => {
                    let mapped = addr.family == FAMILY_V4;
                    let words = if mapped { [0, 0, MAPPED_BE, a] } else { [a, b, c, d] };
                    write_volatile(&raw mut (*raw).user_ip6[0], words[0]);
                    write_volatile(&raw mut (*raw).user_ip6[1], words[1]);
                    write_volatile(&raw mut (*raw).user_ip6[2], words[2]);
                    write_volatile(&raw mut (*raw).user_ip6[3], words[3]);
                }
            }
            write_volatile(&raw mut (*raw).user_port, u32::from(port.to_be()));
        }
    }
}

/// Loopback of the family of `dst`: where a connection to it meets the proxy.
#[inline(always)]
pub(crate) fn loopback(dst: &Addr) -> Addr {
    if dst.family == FAMILY_V4 { Addr::v4(LOOPBACK4_BE) } else { Addr::v6(LOOPBACK6_BE) }
}

const AF_INET: u32 = 2;

/// The far end of a TCP socket.
#[inline(always)]
pub(crate) fn remote(ctx: &SockOpsContext) -> (Addr, u16) {
    let ops = ctx.ops;
    // SAFETY: words of the context.
    let addr = unsafe {
        if read_volatile(&raw const (*ops).family) == AF_INET {
            Addr::v4(read_volatile(&raw const (*ops).remote_ip4))
        } else {
            Addr::v6([
                read_volatile(&raw const (*ops).remote_ip6[0]),
                read_volatile(&raw const (*ops).remote_ip6[1]),
                read_volatile(&raw const (*ops).remote_ip6[2]),
                read_volatile(&raw const (*ops).remote_ip6[3]),
            ])
        }
    };
    // SAFETY: as above; the port is in the word's last two bytes, in network order.
    let port = u32::from_be(unsafe { read_volatile(&raw const (*ops).remote_port) }) as u16;
    (addr, port)
}

/// The own end of a TCP socket.
#[inline(always)]
pub(crate) fn local(ctx: &SockOpsContext) -> (Addr, u16) {
    let ops = ctx.ops;
    // SAFETY: words of the context.
    let addr = unsafe {
        if read_volatile(&raw const (*ops).family) == AF_INET {
            Addr::v4(read_volatile(&raw const (*ops).local_ip4))
        } else {
            Addr::v6([
                read_volatile(&raw const (*ops).local_ip6[0]),
                read_volatile(&raw const (*ops).local_ip6[1]),
                read_volatile(&raw const (*ops).local_ip6[2]),
                read_volatile(&raw const (*ops).local_ip6[3]),
            ])
        }
    };
    (addr, ctx.local_port() as u16)
}
