//! Datagrams, and echo requests.

use std::collections::VecDeque;
use std::io;
use std::task::Poll;

use hayase_stack::{EchoId, UdpId};

use super::Sockets;
use crate::door::Door;
use crate::remote::DATAGRAMS_MAX;
use crate::remote::message::{Completion, Datagram, Unsent};
use crate::wakers::Notify;

#[derive(Debug)]
pub(super) struct Udp {
    pub(super) client: usize,
    /// Datagrams that were taken from the stack and not received by anybody.
    waiting: usize,
    /// The client was passed an ICMP error, and has told nobody. Until then all others are one with it.
    has_failed: bool,
    /// Those that the device had no room for. At most [`DATAGRAMS_MAX`].
    unsent: VecDeque<Datagram>,
}

#[derive(Debug)]
pub(super) struct Echo {
    pub(super) client: usize,
    /// Answers that were taken from the stack and not received by anybody.
    waiting: usize,
}

impl Sockets {
    pub(in crate::remote) fn serve_udp(&mut self, id: UdpId, client: usize) {
        self.udp.insert(id, Udp { client, waiting: 0, has_failed: false, unsent: VecDeque::new() });
    }

    pub(in crate::remote) fn serve_echo(&mut self, id: EchoId, client: usize) {
        self.echo.insert(id, Echo { client, waiting: 0 });
    }

    /// A datagram to send, behind those that wait.
    pub(in crate::remote) fn send(&mut self, door: &dyn Door, datagram: Datagram) {
        let id = datagram.id;
        if let Some(udp) = self.udp.get_mut(id) {
            udp.unsent.push_back(datagram);
            self.send_waiting(door, id);
        }
    }

    fn send_waiting(&mut self, door: &dyn Door, id: UdpId) {
        let Some(udp) = self.udp.get_mut(id) else { return };
        let (mut count, mut earlier, mut unsent) = (0, None, None);
        while let Some(Datagram { peer, bytes, .. }) = udp.unsent.front() {
            let mut sent = door.udp_send(id, Notify::NEVER, bytes, *peer);
            // It may be about an earlier one, and this one not even tried.
            if let Poll::Ready(Err(error)) = sent {
                sent = door.udp_send(id, Notify::NEVER, bytes, *peer);
                earlier = (!matches!(sent, Poll::Ready(Err(_)))).then_some(error).or(earlier);
            }
            match sent {
                Poll::Pending => break,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => unsent = Some(Unsent { to: *peer, error }),
            }
            udp.unsent.pop_front();
            count += 1;
        }
        let client = udp.client;
        if let Some(error) = earlier {
            self.fail_udp(id, error);
        }
        if let Some(unsent) = unsent {
            self.tell(client, Completion::Unsent { id, unsent });
        }
        if count > 0 {
            self.tell(client, Completion::Sent { id, count });
        }
    }

    pub(super) fn udp_changed(&mut self, door: &dyn Door, id: UdpId) {
        self.send_waiting(door, id);
        while let Some(udp) = self.udp.get_mut(id)
            && udp.waiting < DATAGRAMS_MAX
        {
            match door.udp_recv(id, Notify::NEVER, &mut self.datagram) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => {
                    if !self.fail_udp(id, error) {
                        return;
                    }
                }
                Poll::Ready(Ok((len, peer))) => {
                    udp.waiting += 1;
                    let (client, bytes) = (udp.client, self.datagram[..len].to_vec());
                    self.tell(
                        client,
                        Completion::Datagram(Box::new(Datagram { id, peer: Some(peer), bytes })),
                    );
                }
            }
        }
    }

    /// Passes an ICMP error on, unless one is under way. Returns whether it did.
    fn fail_udp(&mut self, id: UdpId, error: io::Error) -> bool {
        let Some(udp) = self.udp.get_mut(id).filter(|udp| !udp.has_failed) else { return false };
        udp.has_failed = true;
        let client = udp.client;
        self.tell(client, Completion::UdpFailed { id, error });
        true
    }

    /// Somebody was told of an ICMP error.
    pub(in crate::remote) fn heard_failure(&mut self, door: &dyn Door, id: UdpId) {
        if let Some(udp) = self.udp.get_mut(id) {
            udp.has_failed = false;
            self.udp_changed(door, id);
        }
    }

    /// Somebody received one.
    pub(in crate::remote) fn received(&mut self, door: &dyn Door, id: UdpId) {
        if let Some(udp) = self.udp.get_mut(id) {
            udp.waiting -= 1;
            self.udp_changed(door, id);
        }
    }

    pub(super) fn echo_changed(&mut self, door: &dyn Door, id: EchoId) {
        while let Some(echo) = self.echo.get_mut(id)
            && echo.waiting < DATAGRAMS_MAX
            && let Poll::Ready(reply) = door.echo_recv(id, Notify::NEVER)
        {
            echo.waiting += 1;
            let client = echo.client;
            self.tell(client, Completion::Echo { id, reply: reply.map(Box::new) });
        }
    }

    /// Somebody received an answer, or an error.
    pub(in crate::remote) fn echo_received(&mut self, door: &dyn Door, id: EchoId) {
        if let Some(echo) = self.echo.get_mut(id) {
            echo.waiting -= 1;
            self.echo_changed(door, id);
        }
    }
}
