//! Queueing disciplines and filters as rtnetlink speaks of them. Names and numbers are those of
//! `linux/rtnetlink.h`, `linux/pkt_sched.h` and `linux/pkt_cls.h`.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::netlink::{NetlinkError, Socket, attribute, attributes, u32_at};

/// The parent of the clsact and of the older ingress discipline alike (`TC_H_CLSACT`).
const CLSACT: u32 = 0xffff_fff1;
/// What both are called: one of them at a time can be on an interface.
const HANDLE: u32 = 0xffff_0000;
/// `ETH_P_ALL`, as a filter's protocol: in network order.
pub(super) const EVERY_PROTOCOL: u16 = 3_u16.to_be();

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
/// `TCA_BPF_FLAG_ACT_DIRECT`: what the program returns is what is done.
const ACT_DIRECT: u32 = 1;

/// Bytes of `struct tcmsg`.
const INFO: usize = 20;

/// A filter, or (with the handle 0) the point of one priority's filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) priority: u16,
    /// In network order.
    pub(super) protocol: u16,
    pub(super) handle: u32,
    pub(super) kind: String,
    pub(super) chain: u32,
    /// A BPF filter's, if its maker gave it one.
    pub(super) name: Option<String>,
}

/// Where a filter is attached.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilterPoint {
    pub(super) interface: u32,
    /// One of the two sides of a clsact discipline.
    pub(super) parent: u32,
}

/// What is put there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Put<'a> {
    pub(super) priority: u16,
    pub(super) handle: u32,
    pub(super) program: BorrowedFd<'a>,
    pub(super) name: &'a str,
}

/// Asks about the namespace of the thread that opened it.
pub(super) struct Tc(Socket);

impl Tc {
    pub(super) fn open() -> Result<Self, NetlinkError> {
        Socket::open(libc::NETLINK_ROUTE).map(Self)
    }

    /// Interfaces with a discipline where a clsact one would be, and its kind.
    ///
    /// Of one interface alone the kernel tells only with `NLM_F_ECHO`, and then everybody.
    pub(super) fn qdiscs(&mut self) -> Result<Vec<(u32, String)>, NetlinkError> {
        let mut found = Vec::new();
        self.0.dump(libc::RTM_GETQDISC, &header(0, 0, 0, 0), |message| {
            found.extend(parse_qdisc(message)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Fails with `EEXIST` where there is one, also of the older kind.
    pub(super) fn add_qdisc(&mut self, interface: u32) -> Result<(), NetlinkError> {
        let mut body = header(interface, HANDLE, CLSACT, 0);
        body.extend(attribute(TCA_KIND, b"clsact\0"));
        self.0.change(libc::RTM_NEWQDISC, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body)
    }

    pub(super) fn remove_qdisc(&mut self, interface: u32) -> Result<(), NetlinkError> {
        self.0.change(libc::RTM_DELQDISC, 0, &header(interface, HANDLE, CLSACT, 0))
    }

    /// Filters in the order in which they run; none where there is no discipline or interface.
    pub(super) fn filters(&mut self, point: FilterPoint) -> Result<Vec<Filter>, NetlinkError> {
        let mut found = Vec::new();
        let body = header(point.interface, 0, point.parent, 0);
        let listed = self.0.dump(libc::RTM_GETTFILTER, &body, |message| {
            found.push(parse_filter(message)?);
            Ok(())
        });
        match listed {
            // Older kernels list nothing for an interface that has gone.
            Err(error) if !error.is(libc::ENODEV) => Err(error),
            _ => Ok(found),
        }
    }

    /// Fails with `EEXIST` where the handle is taken.
    pub(super) fn add(&mut self, point: FilterPoint, put: Put<'_>) -> Result<(), NetlinkError> {
        self.put(libc::NLM_F_CREATE | libc::NLM_F_EXCL, point, put)
    }

    /// Fails with `ENOENT` where there is nothing to replace. The kernel swaps the programs between
    /// two frames (`list_replace_rcu` in `net/sched/cls_bpf.c`).
    pub(super) fn replace(&mut self, point: FilterPoint, put: Put<'_>) -> Result<(), NetlinkError> {
        self.put(libc::NLM_F_REPLACE, point, put)
    }

    fn put(&mut self, flags: i32, point: FilterPoint, put: Put<'_>) -> Result<(), NetlinkError> {
        let name: Vec<u8> = put.name.bytes().chain([0]).collect();
        let options = [
            attribute(TCA_BPF_FD, &put.program.as_raw_fd().to_ne_bytes()),
            attribute(TCA_BPF_NAME, &name),
            attribute(TCA_BPF_FLAGS, &ACT_DIRECT.to_ne_bytes()),
        ];
        let info = info(put.priority, EVERY_PROTOCOL);
        let mut body = header(point.interface, put.handle, point.parent, info);
        body.extend(attribute(TCA_KIND, b"bpf\0"));
        body.extend(attribute(TCA_OPTIONS, &options.concat()));
        self.0.change(libc::RTM_NEWTFILTER, flags, &body)
    }

    /// Removes one filter; fine when it has gone.
    pub(super) fn remove(
        &mut self,
        point: FilterPoint,
        filter: &Filter,
    ) -> Result<(), NetlinkError> {
        // A removal without a handle is one of every filter of the priority.
        assert_ne!(filter.handle, 0, "a point of filters is not a filter");
        let info = info(filter.priority, filter.protocol);
        let mut body = header(point.interface, filter.handle, point.parent, info);
        body.extend(attribute(TCA_KIND, b"bpf\0"));
        match self.0.change(libc::RTM_DELTFILTER, 0, &body) {
            Err(error) if error.is(libc::ENOENT) => Ok(()),
            answer => answer,
        }
    }
}

/// `struct tcmsg`.
fn header(interface: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    // The family and its padding are zero.
    [0, interface, handle, parent, info].map(u32::to_ne_bytes).concat()
}

const fn info(priority: u16, protocol: u16) -> u32 {
    (priority as u32) << 16 | protocol as u32
}

/// The interface and the kind of a discipline where a clsact one would be.
fn parse_qdisc(message: &[u8]) -> Result<Option<(u32, String)>, NetlinkError> {
    let (interface, parent) = (u32_at(message, 4)?, u32_at(message, 12)?);
    if parent != CLSACT {
        return Ok(None);
    }
    for item in attributes(message.get(INFO..).ok_or(NetlinkError::Malformed)?) {
        if let (TCA_KIND, value) = item? {
            return Ok(Some((interface, text(value))));
        }
    }
    Err(NetlinkError::Malformed)
}

fn parse_filter(message: &[u8]) -> Result<Filter, NetlinkError> {
    let [a, b, c, d] = u32_at(message, 16)?.to_be_bytes();
    let mut filter = Filter {
        priority: u16::from_be_bytes([a, b]),
        protocol: u16::from_be_bytes([c, d]),
        handle: u32_at(message, 8)?,
        ..Filter::default()
    };
    for item in attributes(message.get(INFO..).ok_or(NetlinkError::Malformed)?) {
        match item? {
            (TCA_KIND, value) => filter.kind = text(value),
            (TCA_CHAIN, value) => filter.chain = u32_at(value, 0)?,
            // Options are another thing with each kind, and the kind comes before them.
            (TCA_OPTIONS, value) if filter.kind == "bpf" => filter.name = name(value)?,
            _ => {}
        }
    }
    Ok(filter)
}

fn name(options: &[u8]) -> Result<Option<String>, NetlinkError> {
    for item in attributes(options) {
        if let (TCA_BPF_NAME, value) = item? {
            return Ok(Some(text(value)));
        }
    }
    Ok(None)
}

/// A C string, in whatever encoding its maker chose.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}
