//! The way out: one `writev` a frame, and a short queue for when the kernel takes no more.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use hayase_device::Frame;
use hayase_device::heap::HeapFrame;

use crate::vnet::VNET_LEN;

/// The most fragments of a frame: more than a super-segment in small buffers needs.
pub(crate) const FRAGMENTS_MAX: usize = 64;

/// The most frames that wait for the kernel.
const QUEUE_FRAMES_MAX: usize = 256;

/// What frames wait for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lack {
    /// There are none.
    #[default]
    Nothing,
    /// Room in the kernel's queue: its descriptor becomes writable with it.
    Room,
    /// Memory of the kernel's: its descriptor is writable all the time.
    Memory,
}

type VnetBytes = [u8; VNET_LEN];

/// Writes frames, in order.
#[derive(Debug, Default)]
pub(crate) struct Transmitter {
    /// Frames that the kernel had no room for when they were first written.
    waiting: VecDeque<(HeapFrame, VnetBytes)>,
    /// What the first of them was refused for.
    lack: Lack,
    /// Frames given beyond our room.
    pub(crate) dropped: u64,
    /// Frames that the kernel, or a look at them, refused.
    pub(crate) errors: u64,
}

impl Transmitter {
    /// How many frames are sure to be taken.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        // While some wait, more would only wait behind them.
        if self.waiting.is_empty() { QUEUE_FRAMES_MAX } else { 0 }
    }

    /// What frames wait for.
    #[inline]
    pub(crate) fn lack(&self) -> Lack {
        self.lack
    }

    /// Writes a frame, or has it wait.
    #[inline]
    pub(crate) fn send(&mut self, tun: impl Write, frame: HeapFrame, header: VnetBytes) {
        if self.waiting.len() >= QUEUE_FRAMES_MAX {
            self.dropped += 1;
        } else if !self.waiting.is_empty() || !self.write(tun, &frame, &header) {
            self.waiting.push_back((frame, header));
        }
    }

    /// Writes what waits, as far as the kernel takes it.
    pub(crate) fn flush(&mut self, mut tun: impl Write) {
        while let Some((frame, header)) = self.waiting.pop_front() {
            if !self.write(&mut tun, &frame, &header) {
                self.waiting.push_front((frame, header));
                break;
            }
        }
    }

    /// Writes a frame. Whether it is over, by the kernel's book or ours; if not, there is a lack of something.
    fn write(&mut self, mut tun: impl Write, frame: &HeapFrame, header: &VnetBytes) -> bool {
        self.lack = loop {
            match write_frame(&mut tun, frame, header) {
                Ok(_) => break Lack::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let lack = lack(&error);
                    self.errors += u64::from(lack == Lack::Nothing);
                    break lack;
                }
            }
        };
        self.lack == Lack::Nothing
    }
}

fn write_frame(tun: &mut impl Write, frame: &HeapFrame, header: &VnetBytes) -> io::Result<usize> {
    if frame.next().is_none() {
        return tun.write_vectored(&[IoSlice::new(header), IoSlice::new(frame.bytes())]);
    }
    let mut slices = [IoSlice::new(header); 1 + FRAGMENTS_MAX];
    let mut count = 1;
    for (slice, bytes) in slices[1..].iter_mut().zip(frame.fragments()) {
        *slice = IoSlice::new(bytes);
        count += 1;
    }
    tun.write_vectored(&slices[..count])
}

/// With what the kernel would take the frame. Nothing makes it take one that it finds fault with.
fn lack(error: &io::Error) -> Lack {
    match error.raw_os_error() {
        Some(libc::ENOBUFS | libc::ENOMEM) => Lack::Memory,
        _ if error.kind() == io::ErrorKind::WouldBlock => Lack::Room,
        _ => Lack::Nothing,
    }
}

#[cfg(test)]
pub(crate) mod unit {
    use hayase_device::heap::{Pool, PoolConfig};

    use super::*;

    /// A kernel that takes as many frames as it is told to, then is short of room or refuses.
    pub(crate) struct Kernel {
        pub(crate) takes: usize,
        pub(crate) then: i32,
        pub(crate) taken: Vec<u8>,
    }

    impl Write for &mut Kernel {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let Some(takes) = self.takes.checked_sub(1) else {
                return Err(io::Error::from_raw_os_error(self.then));
            };
            self.takes = takes;
            self.taken.push(slices[1][0]);
            Ok(slices.iter().map(|slice| slice.len()).sum())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn frame(pool: &Pool, byte: u8) -> HeapFrame {
        let mut frame = pool.alloc(60).unwrap();
        frame.extend(60).unwrap().fill(byte);
        frame
    }

    #[test]
    fn what_the_kernel_has_no_room_for_waits_in_order() {
        for (errno, lack) in
            [(libc::EAGAIN, Lack::Room), (libc::ENOBUFS, Lack::Memory), (libc::ENOMEM, Lack::Memory)]
        {
            let pool = Pool::new(PoolConfig::default());
            let mut kernel = Kernel { takes: 1, then: errno, taken: vec![] };
            let mut transmitter = Transmitter::default();
            for byte in 0..3 {
                transmitter.send(&mut kernel, frame(&pool, byte), [0; VNET_LEN]);
            }
            assert_eq!((transmitter.room(), transmitter.lack(), pool.in_use()), (0, lack, 2));
            kernel.takes = 1;
            transmitter.flush(&mut kernel);
            assert_eq!(transmitter.lack(), lack);
            kernel.takes = 9;
            transmitter.flush(&mut kernel);
            assert_eq!((&kernel.taken[..], pool.in_use()), (&[0, 1, 2][..], 0));
            assert_eq!((transmitter.room(), transmitter.lack()), (QUEUE_FRAMES_MAX, Lack::Nothing));
            assert_eq!((transmitter.dropped, transmitter.errors), (0, 0));
        }
    }

    #[test]
    fn the_promised_room_is_kept_and_no_more() {
        let pool = Pool::new(PoolConfig::default());
        let mut kernel = Kernel { takes: 0, then: libc::EAGAIN, taken: vec![] };
        let mut transmitter = Transmitter::default();
        for _ in 0..transmitter.room() {
            transmitter.send(&mut kernel, frame(&pool, 0), [0; VNET_LEN]);
        }
        assert_eq!((transmitter.dropped, pool.in_use()), (0, QUEUE_FRAMES_MAX));
        transmitter.send(&mut kernel, frame(&pool, 0), [0; VNET_LEN]);
        assert_eq!((transmitter.dropped, pool.in_use()), (1, QUEUE_FRAMES_MAX));
    }

    #[test]
    fn what_the_kernel_refuses_is_counted_and_over() {
        let pool = Pool::new(PoolConfig::default());
        let mut kernel = Kernel { takes: 0, then: libc::EIO, taken: vec![] };
        let mut transmitter = Transmitter::default();
        transmitter.send(&mut kernel, frame(&pool, 0), [0; VNET_LEN]);
        assert_eq!((transmitter.errors, transmitter.lack(), pool.in_use()), (1, Lack::Nothing, 0));
    }
}
