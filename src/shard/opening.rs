//! Opening listeners and connections: with their options, before anything of them is on its way.

use std::io;
use std::net::SocketAddr;

use hayase_device::Device;
use hayase_stack::{ListenerId, Stack, TcpId};

use super::{Core, Shard};
use crate::net::tcp::Options;

impl<D: Device> Shard<D> {
    pub(super) fn listen(
        &self,
        local: SocketAddr,
        backlog: usize,
        options: &Options,
    ) -> io::Result<ListenerId> {
        options.check_reuse()?;
        let id = self.call(|core, _| {
            let id = match &self.station {
                None => core.stack.tcp_listen(local, backlog),
                Some(station) => station.listen(&mut core.stack, local, backlog),
            }?;
            options.for_stack().map_or(Ok(()), |options| core.stack.listener_set_options(id, &options))?;
            Ok(id)
        });
        id.map_err(|error| options.explain(error))
    }

    pub(super) fn connect(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &Options,
    ) -> io::Result<TcpId> {
        local.map_or(Ok(()), |_| options.check_reuse())?;
        self.call(|core, now| {
            let id = match &self.station {
                None => core.stack.tcp_connect(now, remote, local),
                Some(station) => station.connect(now, &mut core.stack, remote, local),
            }?;
            // Its SYN leaves at the end of the turn.
            options.for_stack().map_or(Ok(()), |options| core.stack.tcp_set_options(now, id, &options))?;
            Ok(id)
        })
    }

    pub(super) fn connect_with(
        &self,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: &Options,
        bytes: &[u8],
    ) -> io::Result<(TcpId, usize)> {
        local.map_or(Ok(()), |_| options.check_reuse())?;
        self.call(|core, now| {
            let Core { stack, device, .. } = core;
            let mut open = |stack: &mut Stack<D::Frame>, is_good: &dyn Fn(SocketAddr) -> bool| {
                stack.tcp_connect_with(now, (remote, local), is_good, bytes, device)
            };
            let (id, len) = match &self.station {
                None => open(stack, &|_| true),
                Some(station) => station.connect_by(stack, remote, open),
            }?;
            options.for_stack().map_or(Ok(()), |options| stack.tcp_set_options(now, id, &options))?;
            Ok((id, len))
        })
    }
}
