//! The in-memory wire: both ends in one thread. Each core has a wire of its own.

use std::io;

use hayase_stack::Config;
use hayase_wire::{EndConfig, Wire, WireConfig};

use super::Queue;
use crate::door;
use crate::host::Host;
use crate::reactor::Reactor;
use crate::runtime::spec::WireSpec;
use crate::time;

/// The addresses on a wire: first our end's, then the other's.
const WIRE_ADDRESSES: [[&str; 2]; 2] = [["10.7.0.2/24", "fd00:7::2/64"], ["10.7.0.1/24", "fd00:7::1/64"]];

pub(super) fn open(spec: &WireSpec, cores: usize) -> Vec<Queue> {
    let queue = |_| {
        let spec = spec.clone();
        Box::new(move |reactor: &mut Reactor, config: &Config| attach(reactor, &spec, config)) as Queue
    };
    (0..cores).map(queue).collect()
}

fn attach(reactor: &mut Reactor, spec: &WireSpec, config: &Config) -> io::Result<Vec<Host>> {
    let mut wire = WireConfig { mtu: spec.mtu, ..WireConfig::default() };
    wire.a = EndConfig { offloads: spec.offloads, ..wire.a };
    wire.b = EndConfig { offloads: spec.offloads, ..wire.b };
    let (ours, other) = Wire::pair(wire);
    let now = time::now();
    let hosts = vec![reactor.attach(ours, config.clone(), now)?, reactor.attach(other, config.clone(), now)?];
    for (host, addresses) in hosts.iter().zip(WIRE_ADDRESSES) {
        for address in addresses {
            host.add_address(address.parse().expect("a constant"))?;
        }
    }
    door::join(hosts[0].shard(), hosts[1].shard())?;
    Ok(hosts)
}
