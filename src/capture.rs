//! What goes in and out, for Wireshark and tcpdump: where the kernel is passed by, they see nothing by themselves.
//!
//! The file is a pcapng (draft-ietf-opsawg-pcapng), of one section with an interface for each device of each core.

mod device;
mod pcapng;

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

pub(crate) use device::{Captured, Tap};
use pcapng::Packet;

/// The longest that is kept of a frame where nobody has chosen, in bytes: longer than any super-segment.
const SNAP_LEN: u32 = 262_144;

/// A record of the frames that a runtime sends and receives, as tcpdump makes it of the kernel's.
///
/// It is chosen when the runtime is [built](crate::Builder::capture), and may be started and stopped from any thread while that
/// runs. Until it is started, a frame costs two instructions and a look at a flag more.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("hayase-doc-{}.pcapng", std::process::id()));
/// let capture = hayase::Capture::create(&path)?;
/// let runtime = hayase::Runtime::builder().device("wire".parse().unwrap()).capture(&capture).build()?;
/// runtime.block_on(async { /* a program */ });
/// capture.stop()?;
/// # std::fs::remove_file(&path)
/// # }
/// ```
///
/// What is seen is what the device is given and gives: with offloads in force, segments of 64 KiB and checksums that are still
/// to be filled in, as with tcpdump on Linux; `offloads=none` shows plain packets. On the in-memory wire each frame is seen
/// twice, by the host that sends it and by the one that receives it. Frames are marked as inbound or outbound, and told apart by
/// their interface: one for each device of each core, in the order in which they were attached.
///
/// A handle: clones are the same record.
#[derive(Clone)]
pub struct Capture {
    shared: Arc<Shared>,
}

struct Shared {
    /// Whether there is somewhere to write to: read for each frame, so it is beside the lock.
    is_on: AtomicBool,
    snap_len: AtomicU32,
    sink: Mutex<Sink>,
}

thread_local! {
    /// Whether a writer runs on this thread: what it sends itself is not recorded, nor may it start or stop a record.
    static IS_WRITING: Cell<bool> = const { Cell::new(false) };
}

/// The sink, as long as nobody else has it.
struct Held<'a>(MutexGuard<'a, Sink>);

#[derive(Default)]
struct Sink {
    out: Option<BufWriter<Box<dyn Write + Send>>>,
    /// Their link-layer addresses.
    interfaces: Vec<[u8; 6]>,
    /// Why nothing is written any more.
    error: Option<io::Error>,
    /// The block that is being made.
    block: Vec<u8>,
}

impl Capture {
    /// A record that was not started.
    #[must_use]
    pub fn new() -> Capture {
        let (is_on, snap_len) = (AtomicBool::new(false), AtomicU32::new(SNAP_LEN));
        Capture { shared: Arc::new(Shared { is_on, snap_len, sink: Mutex::default() }) }
    }

    /// A record that is written to a new file; one that is there is overwritten.
    ///
    /// # Errors
    /// If the file cannot be made or written to.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Capture> {
        let capture = Capture::new();
        capture.start(File::create(path)?)?;
        Ok(capture)
    }

    /// Begins a record, and ends the one before. `to` gets a whole pcapng, in pieces of 8 KiB at least where much is going on,
    /// and up to the last frame whenever a core goes to sleep: a file, or the input of `wireshark -k -i -`. It is written to by
    /// the threads of the stacks, and what it takes of their time, they lose: while a reader of a pipe pauses, so does the
    /// network, and [`stop`](Self::stop) waits as well. What it sends by itself, through a socket of a recorded host, is not
    /// recorded.
    ///
    /// # Errors
    /// If it cannot be written to: then nothing is recorded. [`io::ErrorKind::ResourceBusy`] inside of such a writer.
    pub fn start(&self, to: impl Write + Send + 'static) -> io::Result<()> {
        let mut sink = self.sink().ok_or_else(busy)?;
        // What became of the record before, `stop` tells.
        let _ = self.end(&mut sink);
        sink.begin(Box::new(to))?;
        self.shared.is_on.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the record. Without effect if there is none.
    ///
    /// # Errors
    /// If something could not be written, now or before: nothing followed it. [`io::ErrorKind::ResourceBusy`] inside of the
    /// record's own writer.
    pub fn stop(&self) -> io::Result<()> {
        let mut sink = self.sink().ok_or_else(busy)?;
        self.end(&mut sink)
    }

    /// How much is kept of each frame from now on, in bytes; 262,144 by default and at most, which is all of it. Headers are in
    /// the first 128.
    pub fn set_snap_len(&self, len: u32) {
        self.shared.snap_len.store(len.min(SNAP_LEN), Ordering::Relaxed);
    }

    /// Whether frames are recorded: it was started, not stopped, and has found nothing that cannot be written.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.is_on.load(Ordering::Relaxed)
    }

    /// A device more, by its link-layer address: its number. `None` inside of a writer.
    pub(crate) fn register(&self, mac: [u8; 6]) -> Option<u32> {
        let mut sink = self.sink()?;
        sink.interfaces.push(mac);
        let number = sink.interfaces.len() as u32 - 1;
        self.write(&mut sink, |sink| sink.put_interface(number));
        Some(number)
    }

    /// Frames that came or go, all at this moment.
    fn note<'a, I: Iterator<Item = &'a [u8]>>(
        &self,
        interface: u32,
        is_inbound: bool,
        frames: impl Iterator<Item = I>,
    ) {
        let Some(mut sink) = self.sink() else { return };
        let (time, snap_len) = (SystemTime::now(), self.shared.snap_len.load(Ordering::Relaxed));
        let packet = Packet { interface, time, is_inbound, snap_len };
        for frame in frames {
            self.write(&mut sink, |sink| sink.put(|block| packet.put(frame, block)));
        }
    }

    fn flush(&self) {
        if let Some(mut sink) = self.sink() {
            self.write(&mut sink, |sink| sink.out.as_mut().map_or(Ok(()), Write::flush));
        }
    }

    /// Writes, if anything is to be written, for the last time if that fails.
    fn write(&self, sink: &mut Sink, write: impl FnOnce(&mut Sink) -> io::Result<()>) {
        if sink.out.is_some()
            && let Err(error) = write(sink)
        {
            self.shared.is_on.store(false, Ordering::Relaxed);
            sink.give_up(error);
        }
    }

    fn end(&self, sink: &mut Sink) -> io::Result<()> {
        self.shared.is_on.store(false, Ordering::Relaxed);
        let flushed = sink.out.as_mut().map_or(Ok(()), Write::flush);
        sink.drop_out();
        sink.error.take().map_or(flushed, Err)
    }

    /// `None` where it is this thread that has it: inside of a writer.
    fn sink(&self) -> Option<Held<'_>> {
        if IS_WRITING.replace(true) {
            return None;
        }
        let sink = self.shared.sink.lock().unwrap_or_else(|poisoned| {
            self.shared.is_on.store(false, Ordering::Relaxed);
            self.shared.sink.clear_poison();
            let mut sink = poisoned.into_inner();
            sink.give_up(io::Error::other("what it is written to has panicked"));
            sink
        });
        Some(Held(sink))
    }
}

fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "a record is not started or stopped by what it is written to")
}

impl Deref for Held<'_> {
    type Target = Sink;

    fn deref(&self) -> &Sink {
        &self.0
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Sink {
        &mut self.0
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        IS_WRITING.set(false);
    }
}

impl Sink {
    fn begin(&mut self, to: Box<dyn Write + Send>) -> io::Result<()> {
        self.out = Some(BufWriter::new(to));
        let begun = self.put(pcapng::put_section).and_then(|()| {
            (0..self.interfaces.len() as u32).try_for_each(|number| self.put_interface(number))
        });
        // So that a file that cannot be written to is an error of this call.
        let begun = begun.and_then(|()| self.out.as_mut().map_or(Ok(()), Write::flush));
        if begun.is_err() {
            self.drop_out();
        }
        begun
    }

    fn put_interface(&mut self, number: u32) -> io::Result<()> {
        let mac = self.interfaces[number as usize];
        // One for the whole file, as libpcap wants it.
        self.put(|block| pcapng::put_interface(number, mac, SNAP_LEN, block))
    }

    /// Writes a block.
    fn put(&mut self, make: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.block.clear();
        make(&mut self.block);
        self.out.as_mut().map_or(Ok(()), |out| out.write_all(&self.block))
    }

    fn give_up(&mut self, error: io::Error) {
        self.error = Some(error);
        self.drop_out();
    }

    /// What it has not written yet, it does not try again.
    fn drop_out(&mut self) {
        drop(self.out.take().map(BufWriter::into_parts));
    }
}

impl Default for Capture {
    fn default() -> Capture {
        Capture::new()
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").field("is_on", &self.is_on()).finish_non_exhaustive()
    }
}
