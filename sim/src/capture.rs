//! What a host has seen on its cable, in the format of libpcap with nanoseconds.

use std::collections::VecDeque;
use std::rc::Rc;

use hayase::time::Instant;

/// The magic number of captures with nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;
/// The longest frame that there can be: a super-segment never crosses a cable.
const SNAP_LEN: u32 = 65_536 + 64;

/// The last frames that a host sent and received. Frames are shared with the network, not copied.
#[derive(Debug)]
pub(crate) struct Capture {
    frames: VecDeque<(Instant, Rc<[u8]>)>,
    len: usize,
    len_max: usize,
    /// Frames at the beginning that made room for later ones.
    forgotten: u64,
}

impl Capture {
    /// Keeps the last `len_max` bytes.
    pub(crate) fn new(len_max: usize) -> Capture {
        Capture { frames: VecDeque::new(), len: 0, len_max, forgotten: 0 }
    }

    pub(crate) fn add(&mut self, at: Instant, bytes: &Rc<[u8]>) {
        self.len += bytes.len();
        self.frames.push_back((at, Rc::clone(bytes)));
        while self.len > self.len_max
            && let Some((_, oldest)) = self.frames.pop_front()
        {
            self.len -= oldest.len();
            self.forgotten += 1;
        }
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The whole file. Times are those of the virtual clock, from 1970 on.
    pub(crate) fn to_pcap(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(24 + self.len + 16 * self.frames.len());
        file.extend(MAGIC.to_le_bytes());
        // Version 2.4; no time zone, no accuracy.
        file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(SNAP_LEN.to_le_bytes());
        file.extend(LINKTYPE_ETHERNET.to_le_bytes());
        for (at, bytes) in &self.frames {
            let (seconds, nanos) = (at.as_nanos() / 1_000_000_000, at.as_nanos() % 1_000_000_000);
            let len = bytes.len() as u32;
            for word in [seconds as u32, nanos as u32, len, len] {
                file.extend(word.to_le_bytes());
            }
            file.extend_from_slice(bytes);
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_libpcap_reads() {
        let mut capture = Capture::new(1000);
        capture.add(Instant::from_nanos(3_000_000_007), &Rc::from([0xaa; 3]));
        let file = capture.to_pcap();
        assert_eq!(file[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!((file[20], file.len()), (1, 24 + 16 + 3));
        assert_eq!(file[24..], [3, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 0xaa, 0xaa, 0xaa]);
    }

    #[test]
    fn the_oldest_frames_make_room() {
        let mut capture = Capture::new(100);
        (0..5).for_each(|at| capture.add(Instant::from_nanos(at), &Rc::from([at as u8; 40])));
        assert_eq!((capture.forgotten(), capture.frames.len(), capture.len), (3, 2, 80));
    }
}
