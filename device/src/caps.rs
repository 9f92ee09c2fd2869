//! What a device can do, as data.

use alloc::string::{String, ToString};
use core::fmt;
use core::ops::{BitAnd, BitOr, BitOrAssign, Not};
use core::str::FromStr;

/// A set of offloads.
///
/// Its text form is the one of the command line: `all`, `none`, or names joined by `+`
/// (`tx-checksum rx-checksum tso lro sg`).
///
/// ```
/// use hayase_device::Offloads;
/// let set: Offloads = "tx-checksum+tso".parse().unwrap();
/// assert!(set.contains(Offloads::TSO4) && !set.contains(Offloads::LRO));
/// assert_eq!(set.to_string(), "tx-checksum+tso");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Offloads(u16);

impl Offloads {
    /// Nothing is offloaded: software does everything.
    pub const NONE: Offloads = Offloads(0);
    /// TCP checksums are filled in by the device.
    pub const TX_CHECKSUM_TCP: Offloads = Offloads(1 << 0);
    /// UDP checksums are filled in by the device.
    pub const TX_CHECKSUM_UDP: Offloads = Offloads(1 << 1);
    /// Transport checksums are filled in by the device.
    pub const TX_CHECKSUM: Offloads = Offloads(Self::TX_CHECKSUM_TCP.0 | Self::TX_CHECKSUM_UDP.0);
    /// Received TCP checksums are verified by the device.
    pub const RX_CHECKSUM_TCP: Offloads = Offloads(1 << 2);
    /// Received UDP checksums are verified by the device.
    pub const RX_CHECKSUM_UDP: Offloads = Offloads(1 << 3);
    /// Received transport checksums are verified by the device.
    pub const RX_CHECKSUM: Offloads = Offloads(Self::RX_CHECKSUM_TCP.0 | Self::RX_CHECKSUM_UDP.0);
    /// TCP segmentation over IPv4.
    pub const TSO4: Offloads = Offloads(1 << 4);
    /// TCP segmentation over IPv6.
    pub const TSO6: Offloads = Offloads(1 << 5);
    /// TCP segmentation over both.
    pub const TSO: Offloads = Offloads(Self::TSO4.0 | Self::TSO6.0);
    /// Received TCP segments of one flow are handed over merged, as super-frames.
    pub const LRO: Offloads = Offloads(1 << 6);
    /// A frame may be a chain of fragments on the way out.
    pub const SG: Offloads = Offloads(1 << 7);
    /// Everything that this version knows.
    pub const ALL: Offloads =
        Offloads(Self::TX_CHECKSUM.0 | Self::RX_CHECKSUM.0 | Self::TSO.0 | Self::LRO.0 | Self::SG.0);

    /// The names of the command line, in its order.
    const NAMES: [(&'static str, Offloads); 5] = [
        ("tx-checksum", Self::TX_CHECKSUM),
        ("rx-checksum", Self::RX_CHECKSUM),
        ("tso", Self::TSO),
        ("lro", Self::LRO),
        ("sg", Self::SG),
    ];

    /// Whether every offload of `other` is in this set.
    #[inline]
    pub const fn contains(self, other: Offloads) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any offload of `other` is in this set.
    #[inline]
    pub const fn intersects(self, other: Offloads) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is offloaded.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// This set without the offloads that cannot work without another: cutting a segment means computing
    /// the checksum of each piece, so TSO needs the transmit checksum; merging segments drops the checksum
    /// of each, so LRO needs the receive checksum. (Linux holds its drivers to the same two rules.)
    #[must_use]
    pub fn consistent(self) -> Offloads {
        let without = |needed, dependent| if self.contains(needed) { Self::NONE } else { dependent };
        self & !(without(Self::TX_CHECKSUM_TCP, Self::TSO) | without(Self::RX_CHECKSUM_TCP, Self::LRO))
    }
}

impl BitOr for Offloads {
    type Output = Offloads;
    fn bitor(self, other: Offloads) -> Offloads {
        Offloads(self.0 | other.0)
    }
}

impl BitOrAssign for Offloads {
    fn bitor_assign(&mut self, other: Offloads) {
        self.0 |= other.0;
    }
}

impl BitAnd for Offloads {
    type Output = Offloads;
    fn bitand(self, other: Offloads) -> Offloads {
        Offloads(self.0 & other.0)
    }
}

impl Not for Offloads {
    type Output = Offloads;
    fn not(self) -> Offloads {
        Offloads(!self.0 & Self::ALL.0)
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for (name, set) in Self::NAMES {
            if self.intersects(set) {
                write!(f, "{separator}{name}")?;
                separator = "+";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offloads({self})")
    }
}

/// A word in an offload list that is none of the known names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseOffloadsError(String);

impl fmt::Display for ParseOffloadsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no offload: use `all`, `none`, or names joined by `+` of tx-checksum, rx-checksum, tso, lro, sg",
            self.0
        )
    }
}

impl core::error::Error for ParseOffloadsError {}

impl FromStr for Offloads {
    type Err = ParseOffloadsError;

    fn from_str(text: &str) -> Result<Offloads, ParseOffloadsError> {
        match text {
            "all" => return Ok(Offloads::ALL),
            "none" => return Ok(Offloads::NONE),
            _ => {}
        }
        text.split('+').try_fold(Offloads::NONE, |set, word| {
            let (_, offload) = Self::NAMES
                .into_iter()
                .find(|(name, _)| *name == word)
                .ok_or_else(|| ParseOffloadsError(word.to_string()))?;
            Ok(set | offload)
        })
    }
}

/// What a device can do and how large its frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// The offloads now in force.
    pub offloads: Offloads,
    /// The largest IP packet that fits one frame on the link, in bytes.
    pub mtu: usize,
    /// The largest IP packet that may be handed over for TSO, in bytes. Not below `mtu`.
    pub tso_len_max: usize,
    /// The most fragments that a transmitted frame may consist of. 1 without scatter-gather.
    pub fragments_max: usize,
    /// The most bytes that a frame made by [`alloc`](crate::Device::alloc) can be filled with: what a buffer has room for,
    /// in as many fragments as there may be. `usize::MAX`: as many as a packet has.
    pub fill_len_max: usize,
    /// Which queue pair of its NIC this is, from 0.
    pub queue: u16,
    /// Queue pairs of that NIC that are in use.
    pub queues: u16,
    /// Bytes of buffers, as [`Frame::capacity`](crate::Frame::capacity) counts them, that may be held for as long as anybody
    /// likes, and the device still has some to receive into. `usize::MAX`: there is no such limit.
    pub held_len_max: usize,
}

impl Caps {
    /// A plain Ethernet NIC without any offload.
    pub const fn ethernet(mtu: usize) -> Caps {
        Caps {
            offloads: Offloads::NONE,
            mtu,
            tso_len_max: mtu,
            fragments_max: 1,
            fill_len_max: usize::MAX,
            queue: 0,
            queues: 1,
            held_len_max: usize::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip_and_strangers_are_named() {
        for text in ["none", "tx-checksum", "rx-checksum+lro", "tx-checksum+rx-checksum+tso+lro+sg"] {
            assert_eq!(text.parse::<Offloads>().unwrap().to_string(), text);
        }
        assert_eq!("all".parse::<Offloads>().unwrap(), Offloads::ALL);
        let error = "tso+gro".parse::<Offloads>().unwrap_err();
        assert!(error.to_string().contains("`gro`"), "{error}");
    }

    #[test]
    fn tso_and_lro_need_the_checksum() {
        assert_eq!(Offloads::TSO.consistent(), Offloads::NONE);
        assert_eq!(Offloads::LRO.consistent(), Offloads::NONE);
        let half = Offloads::TX_CHECKSUM | Offloads::TSO;
        assert_eq!((half | Offloads::LRO).consistent(), half);
        assert_eq!(Offloads::ALL.consistent(), Offloads::ALL);
    }
}
