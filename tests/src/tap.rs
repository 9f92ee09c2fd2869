//! The far end of a TAP interface of the kernel's: whatever frames a test wants to see and send.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::Namespace;

/// Frames that the kernel keeps for us while we do not look: a test's thread may have to wait for a processor.
pub(crate) const QUEUE_LEN: &str = "20000";

/// A TAP interface, which goes when this does.
pub struct Tap(SyncDevice);

impl Tap {
    /// Makes an interface in a namespace, and brings it up. The kernel speaks no IPv6 there unless it is given an
    /// address.
    ///
    /// # Panics
    /// If the rights are missing, or there is one of that name.
    pub fn new(namespace: &Namespace, name: &str) -> Tap {
        let open = || {
            let builder = DeviceBuilder::new().name(name).layer(Layer::L2).enable(false);
            let device = builder.build_sync()?;
            rustix::io::ioctl_fionbio(&device, true)?;
            Ok::<_, io::Error>(device)
        };
        let device = namespace.enter(open).unwrap_or_else(|error| panic!("a TAP interface {name}: {error}"));
        namespace.ip(&["link", "set", name, "addrgenmode", "none", "txqueuelen", QUEUE_LEN, "up"]);
        Tap(device)
    }

    /// Takes the next frame that the kernel sends, if there is one; its length.
    ///
    /// # Panics
    /// If the interface is gone.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        match self.0.recv(buffer) {
            Ok(len) => Some(len),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("receiving from a TAP interface: {error}"),
        }
    }

    /// Gives the kernel a frame. What it does not take is lost, as on a cable.
    pub fn send(&self, frame: &[u8]) {
        let _ = self.0.send(frame);
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}

/// Sleeps until one of these has a frame, or for so many nanoseconds.
///
/// # Panics
/// If the system cannot.
pub fn wait(taps: &[&Tap], limit_ns: u64) {
    let mut polled: Vec<_> = taps.iter().map(|tap| PollFd::new(*tap, PollFlags::IN)).collect();
    let (seconds, nanos) = (limit_ns / 1_000_000_000, limit_ns % 1_000_000_000);
    let limit = Timespec { tv_sec: seconds as i64, tv_nsec: nanos as i64 };
    match poll(&mut polled, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => panic!("waiting for frames: {error}"),
    }
}
