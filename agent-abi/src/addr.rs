//! An address of either family. The family follows from the address and never from the hook that
//! saw it: a v6 socket that dials `::ffff:a.b.c.d` speaks IPv4.

/// The family word of an IPv4 address.
pub const FAMILY_V4: u32 = 4;
/// The family word of an IPv6 address.
pub const FAMILY_V6: u32 = 6;

/// An IPv4 or IPv6 address. IPv4 fills the first word and leaves the other three zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr {
    /// [`FAMILY_V4`] or [`FAMILY_V6`]; zero for "no address".
    pub family: u32,
    /// The address, in network order, word by word.
    pub words_be: [u32; 4],
}

impl Addr {
    /// No address at all: equal to no destination.
    pub const NONE: Self = Self { family: 0, words_be: [0; 4] };

    /// An IPv4 address from its word in network order.
    #[inline(always)]
    pub const fn v4(word_be: u32) -> Self {
        Self { family: FAMILY_V4, words_be: [word_be, 0, 0, 0] }
    }

    /// An IPv6 address from its words in network order; an IPv4-mapped one becomes the IPv4
    /// address that it stands for (RFC 4291, 2.5.5.2).
    #[inline(always)]
    pub const fn v6(words_be: [u32; 4]) -> Self {
        if words_be[0] == 0 && words_be[1] == 0 && words_be[2] == 0xffff_u32.to_be() {
            return Self::v4(words_be[3]);
        }
        Self { family: FAMILY_V6, words_be }
    }

    /// Bits in an address of this family: 32 or 128.
    #[inline(always)]
    pub const fn bits(&self) -> u32 {
        if self.family == FAMILY_V4 { 32 } else { 128 }
    }

    /// True for 127.0.0.0/8 and `::1`, and for the unspecified address, which the kernel takes to
    /// mean "this host" when it is dialled.
    #[inline(always)]
    pub const fn is_local(&self) -> bool {
        let [a, b, c, d] = self.words_be;
        if self.family == FAMILY_V4 {
            return a == 0 || u32::from_be(a) >> 24 == 127;
        }
        a == 0 && b == 0 && c == 0 && (d == 0 || d == 1_u32.to_be())
    }
}
