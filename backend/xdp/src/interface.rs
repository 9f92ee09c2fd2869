//! What there is to know about an interface before it is used.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::XdpError;
use crate::sys::{self, IfRequest, Ifreq};

/// An interface as it was when it was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mac: [u8; 6],
    /// The largest IP packet, in bytes.
    pub(crate) mtu: usize,
    /// Queues on which it receives.
    pub(crate) queue_count: u32,
    /// Queues to send by. The kernel takes nothing from a socket of a queue beyond these, and does not say so.
    pub(crate) send_queue_count: u32,
    /// The interfaces that it stands over, of a bond or a bridge for instance.
    pub(crate) lower: Vec<String>,
}

impl Interface {
    /// Looks at the interface of that name.
    pub(crate) fn look(name: &str) -> Result<Interface, XdpError> {
        if name.is_empty() || name.len() > sys::NAME_LEN_MAX {
            return Err(XdpError::BadName(name.into()));
        }
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
            .map_err(|error| XdpError::io("open a socket for interface requests", error))?;
        let ask = |request| ask(&socket, name, request);
        let index = ask(IfRequest::Index)?.as_i32() as u32;
        if i32::from(ask(IfRequest::Flags)?.as_i16()) & libc::IFF_UP == 0 {
            return Err(XdpError::Down(name.into()));
        }
        // Behind the address family come the bytes of the address.
        let mut mac = [0; 6];
        mac.copy_from_slice(&ask(IfRequest::Mac)?.data[2..8]);
        let mtu = ask(IfRequest::Mtu)?.as_i32().max(0) as usize;
        let folder = Folder::of(name, index);
        let (queue_count, send_queue_count) = queue_counts(&socket, name, folder.as_ref())?;
        let lower = folder.map(|folder| folder.lower()).unwrap_or_default();
        Ok(Interface { name: name.into(), index, mac, mtu, queue_count, send_queue_count, lower })
    }

    /// Looks again at how many queues it receives on: some drivers have others with a program than without.
    pub(crate) fn queue_count_now(&self) -> Result<u32, XdpError> {
        Interface::look(&self.name).map(|interface| interface.queue_count)
    }
}

/// What `/sys` has of an interface.
struct Folder(PathBuf);

impl Folder {
    /// `None` if there is no such folder, or it is that of another network namespace's interface.
    fn of(name: &str, index: u32) -> Option<Folder> {
        let folder = Path::new("/sys/class/net").join(name);
        let its_index = fs::read_to_string(folder.join("ifindex")).ok()?;
        (its_index.trim().parse() == Ok(index)).then_some(Folder(folder))
    }

    fn names(&self, below: &str) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(self.0.join(below)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    }

    fn lower(&self) -> Vec<String> {
        self.names("").filter_map(|name| name.strip_prefix("lower_").map(String::from)).collect()
    }

    /// Queues to receive by and to send by, if it shows any.
    fn queue_counts(&self) -> Option<(u32, u32)> {
        let count = |kind| self.names("queues").filter(|queue| queue.starts_with(kind)).count() as u32;
        let (receive, send) = (count("rx-"), count("tx-"));
        (receive > 0 && send > 0).then_some((receive, send))
    }
}

fn ask(socket: &OwnedFd, name: &str, request: IfRequest) -> Result<Ifreq, XdpError> {
    let mut ifreq = Ifreq::new(name);
    sys::interface(socket.as_fd(), request, &mut ifreq).map_err(|error| of_request(name, error))?;
    Ok(ifreq)
}

/// Of queues to receive by, and of those to send by.
fn queue_counts(socket: &OwnedFd, name: &str, folder: Option<&Folder>) -> Result<(u32, u32), XdpError> {
    match sys::channel_counts(socket.as_fd(), name) {
        Ok((receive, send)) => Ok((receive.max(1), send.max(1))),
        // A driver that says nothing of channels may have several all the same.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Ok(folder.and_then(Folder::queue_counts).unwrap_or((1, 1)))
        }
        Err(error) => Err(of_request(name, error)),
    }
}

fn of_request(name: &str, error: io::Error) -> XdpError {
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => XdpError::NoInterface(name.into()),
        _ => XdpError::io(format!("ask about interface {name}"), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_queues_and_lower_interfaces() {
        let root = std::env::temp_dir().join(format!("hayase-xdp-interface-{}", std::process::id()));
        for name in ["queues/rx-0", "queues/rx-1", "queues/tx-0", "lower_eth1", "lower_eth2", "upper_br0"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let folder = Folder(root.clone());
        let mut lower = folder.lower();
        lower.sort();
        assert_eq!((folder.queue_counts(), lower), (Some((2, 1)), vec!["eth1".to_owned(), "eth2".into()]));
        fs::remove_dir_all(root.join("queues")).unwrap();
        assert_eq!(folder.queue_counts(), None, "nothing is known");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_folder_of_another_interface_is_not_looked_at() {
        let index = Interface::look("lo").unwrap().index;
        assert!(Folder::of("lo", index + 1).is_none());
    }

    #[test]
    fn names_that_cannot_be_are_told() {
        for name in ["", "sixteen-bytes-xx"] {
            assert!(matches!(Interface::look(name), Err(XdpError::BadName(_))));
        }
        let error = Interface::look("hayase-nowhere").unwrap_err();
        assert!(matches!(error, XdpError::NoInterface(_)), "{error}");
        assert!(error.to_string().contains("ip link"));
    }
}
