//! bpf(2): a map of sockets, a program, a link of that program to an interface.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;

const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
/// Both as the program's expected way to be attached and as the link's.
const ATTACH_XDP: u32 = 37;
/// The program copes with packets in several fragments.
const PROG_XDP_HAS_FRAGS: u32 = 1 << 5;

/// What the verifier may say.
const LOG_LEN: usize = 16 * 1024;

const LICENSE: &CStr = c"Dual MIT/GPL";

/// The kernel's `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// Destination in the low half, source in the high one (on little-endian machines; else the other way round).
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

/// Makes a request. The kernel takes a structure as long as it was when the program was written, and takes the rest
/// of its own for zero.
///
/// # Safety
/// `attributes` is what the request wants, and the pointers in it lead to as much memory as it says.
unsafe fn bpf<T>(request: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    let (attributes, len) = (std::ptr::from_mut(attributes), size_of::<T>());
    // SAFETY: the structure lives through the call, and `len` is its size; for what it holds, see above.
    let result = unsafe { libc::syscall(libc::SYS_bpf, request, attributes, len) } as i32;
    check(result)?;
    Ok(result)
}

/// As [`bpf`], for the requests that return a descriptor.
///
/// # Safety
/// As [`bpf`].
unsafe fn bpf_fd<T>(request: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises; the descriptor was opened just now and nobody else knows it.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(request, attributes)?)) }
}

/// A map from queues to AF_XDP sockets.
#[derive(Debug)]
pub(crate) struct Map(OwnedFd);

impl Map {
    /// An empty map for queues below `count`.
    pub(crate) fn new(count: u32) -> io::Result<Map> {
        #[repr(C)]
        struct Attributes {
            map_type: u32,
            key_len: u32,
            value_len: u32,
            entries_max: u32,
        }
        let mut attributes =
            Attributes { map_type: MAP_TYPE_XSKMAP, key_len: 4, value_len: 4, entries_max: count };
        // SAFETY: these are the attributes of a map, without any pointer.
        unsafe { bpf_fd(MAP_CREATE, &mut attributes).map(Map) }
    }

    /// From now on, packets of `queue` may be redirected to `socket`.
    pub(crate) fn insert(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        #[repr(C, align(8))]
        struct Attributes {
            map: u32,
            padding: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let socket = socket.as_raw_fd() as u32;
        let mut attributes = Attributes {
            map: self.0.as_raw_fd() as u32,
            padding: 0,
            key: std::ptr::from_ref(&queue) as u64,
            value: std::ptr::from_ref(&socket) as u64,
            flags: 0,
        };
        // SAFETY: key and value are four bytes each, as the map was made for, and live through the call.
        unsafe { bpf(MAP_UPDATE_ELEM, &mut attributes).map(drop) }
    }

    pub(crate) fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// A loaded program.
#[derive(Debug)]
pub(crate) struct Program(OwnedFd);

/// Loads a program. With the error comes what the verifier said.
pub(crate) fn load(code: &[Instruction], fragments: bool) -> Result<Program, (io::Error, String)> {
    #[repr(C, align(8))]
    struct Attributes {
        program_type: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_len: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface_index: u32,
        expected_attach_type: u32,
    }
    let mut log = vec![0_u8; LOG_LEN];
    let mut name = [0; 16];
    name[..6].copy_from_slice(b"hayase");
    let mut attributes = Attributes {
        program_type: PROG_TYPE_XDP,
        instruction_count: code.len() as u32,
        instructions: code.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 1,
        log_len: LOG_LEN as u32,
        log: log.as_mut_ptr() as u64,
        kernel_version: 0,
        flags: if fragments { PROG_XDP_HAS_FRAGS } else { 0 },
        name,
        interface_index: 0,
        expected_attach_type: ATTACH_XDP,
    };
    // SAFETY: instructions, license (terminated by zero) and log live through the call, and are as long as is said.
    let loaded = unsafe { bpf_fd(PROG_LOAD, &mut attributes) };
    loaded.map(Program).map_err(|error| (error, text_of(&log)))
}

/// What the verifier said last: the reason.
fn text_of(log: &[u8]) -> String {
    let len = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..len]);
    text.trim().lines().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// An attached program. It is taken off when this is dropped, also when the process dies.
#[derive(Debug)]
pub(crate) struct Link {
    _fd: OwnedFd,
}

/// Attaches a program to an interface; `flags` are `XDP_FLAGS_*` of the mode.
pub(crate) fn attach(program: &Program, interface_index: u32, flags: u32) -> io::Result<Link> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        interface_index: u32,
        attach_type: u32,
        flags: u32,
    }
    let program = program.0.as_fd().as_raw_fd() as u32;
    let mut attributes = Attributes { program, interface_index, attach_type: ATTACH_XDP, flags };
    // SAFETY: these are the attributes of a link, without any pointer.
    unsafe { bpf_fd(LINK_CREATE, &mut attributes).map(|fd| Link { _fd: fd }) }
}
