//! Whether there is a module to talk to, without binding anything.

use std::fs::{File, OpenOptions};

use netmap_sys::{API, DEVICE, NmreqHeader, NmreqPortInfoGet, PORT_NAME_LEN, REQ_PORT_INFO_GET};

use crate::{NetmapError, sys};

/// Opens netmap's device and asks it about no port in particular: whether this process may use it, and whether it speaks our
/// version of the interface. Nothing is bound, and nothing is changed.
///
/// # Errors
/// [`NetmapError::Version`] if the loaded module refuses even that; else as [`open`](crate::open) has them.
pub fn probe() -> Result<(), NetmapError> {
    let opened = OpenOptions::new().read(true).write(true).open(DEVICE);
    ask(&opened.map_err(NetmapError::of_open)?)
}

fn ask(netmap: &File) -> Result<(), NetmapError> {
    let mut header = question();
    let answer = sys::ask(netmap, &mut header, &mut NmreqPortInfoGet::default());
    answer.map_err(|error| NetmapError::of_bind("no port", error))
}

/// Without a port's name, it is about the memory that all ports share.
fn question() -> NmreqHeader {
    let name = [0; PORT_NAME_LEN];
    NmreqHeader { version: API, reqtype: REQ_PORT_INFO_GET, reserved: 0, name, options: 0, body: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is no netmap refuses the question, and is told from a module of another version.
    #[test]
    fn what_is_no_netmap_says_so() {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        let error = ask(&null).unwrap_err();
        assert!(!matches!(error, NetmapError::Version(_)), "{error}");
        if !std::path::Path::new(DEVICE).exists() {
            let words = probe().unwrap_err().to_string();
            assert!(words.contains(DEVICE), "{words}");
        }
    }
}
