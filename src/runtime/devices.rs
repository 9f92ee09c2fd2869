//! Several devices: on each core a stack on each, and one host of them all.

use std::io;

use super::device::Queue;
use super::spec::DeviceSpec;
use crate::host::Host;

/// Whether these devices can be used together.
///
/// # Errors
/// If they cannot: the text says what can.
pub(super) fn check(specs: &[DeviceSpec]) -> io::Result<()> {
    let refused = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if specs.len() < 2 {
        return Ok(());
    }
    if specs.iter().any(|spec| matches!(spec, DeviceSpec::Wire(_))) {
        return refused(
            "the in-memory wire cannot be one device of several: it is two hosts in this process, and leads nowhere \
             else; leave it out, or name nothing else",
        );
    }
    if specs.iter().filter(|spec| matches!(spec, DeviceSpec::Kernel)).count() > 1 {
        return refused("the device `kernel` stands for all interfaces of the machine: name it once");
    }
    Ok(())
}

/// From the queues of each device to those of each core.
pub(super) fn deal(devices: Vec<Vec<Queue>>) -> Vec<Vec<Queue>> {
    let mut devices: Vec<_> = devices.into_iter().map(Vec::into_iter).collect();
    let deal = || devices.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>();
    std::iter::repeat_with(deal).take_while(|queues| !queues.is_empty()).collect()
}

/// Attaches the queues of a core: first come the hosts of the devices, then whoever else is at the ends of their links.
pub(super) fn together(mut queues: Vec<Queue>) -> Queue {
    if queues.len() == 1 {
        return queues.remove(0);
    }
    Box::new(move |reactor, config| {
        let (mut hosts, mut others) = (Vec::new(), Vec::new());
        for queue in queues {
            let mut attached = queue(reactor, config)?.into_iter();
            hosts.extend(attached.next());
            others.extend(attached);
        }
        hosts.extend(others);
        Ok(hosts)
    })
}

/// Makes one host of the first `count` that a queue brings, if they are several, and puts it before them.
pub(super) fn as_one(queue: Queue, count: usize) -> Queue {
    if count == 1 {
        return queue;
    }
    Box::new(move |reactor, config| {
        let mut hosts: Vec<Host> = queue(reactor, config)?;
        let host = reactor.unite(&hosts[..count])?;
        hosts.insert(0, host);
        Ok(hosts)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_together_is_said() {
        for (specs, part) in [
            ("wire;wire", "wire"),
            ("tap:name=a,addr=10.7.0.2/24;wire", "leave it out"),
            ("kernel;tap:name=a,addr=10.7.0.2/24;kernel", "name it once"),
        ] {
            let error = check(&DeviceSpec::list(specs).unwrap()).unwrap_err();
            assert!(
                error.kind() == io::ErrorKind::InvalidInput && error.to_string().contains(part),
                "{error}"
            );
        }
        for specs in ["wire", "kernel;tap:name=a,addr=10.7.0.2/24;tap:name=b,addr=10.8.0.2/24"] {
            check(&DeviceSpec::list(specs).unwrap()).unwrap();
        }
    }
}
