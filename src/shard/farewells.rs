//! What is left to do for sockets whose handles are gone.

use std::time::Duration;

use hayase_device::Device;
use hayase_stack::Socket;

use super::{Core, Shard};
use crate::door::Farewell;
use crate::drained;

impl<D: Device> Shard<D> {
    /// Does what could not be done when a handle was dropped.
    #[inline]
    pub(super) fn bid_deferred(&self) {
        if self.deferred.get() || !self.mailbox.is_empty() {
            self.bid_deferred_now();
        }
    }

    #[cold]
    fn bid_deferred_now(&self) {
        self.deferred.set(false);
        let farewells = self.farewells.take().into_iter().chain(self.mailbox.take());
        farewells.for_each(|farewell| self.see_off(farewell, true));
    }

    /// Does what is left to do for a socket whose handle is gone, now or at the beginning of the next turn.
    pub(super) fn bid(&self, farewell: Farewell) {
        self.see_off(farewell, false);
    }

    /// `is_fresh`: the time is that of a clock read just now.
    fn see_off(&self, farewell: Farewell, is_fresh: bool) {
        if let Farewell::Forget(socket, side, ticket) = farewell {
            return drop(self.wakers.borrow_mut().forget(socket, side, ticket));
        }
        drained::forget();
        let now = self.now.get();
        let core = self.core.try_borrow_mut();
        // Lingering counts from here on, while the time is that of the turn's beginning: whoever has computed since then
        // would have nothing left of it.
        let Ok(mut core) = core.map_err(drop).and_then(|core| match farewell {
            Farewell::Close(socket) if !is_fresh && core.lingers(socket) => Err(()),
            _ => Ok(core),
        }) else {
            self.farewells.borrow_mut().push(farewell);
            self.deferred.set(true);
            return;
        };
        let socket = match farewell {
            Farewell::Shutdown(id) => {
                // One that is not connected any more needs none.
                let _ = core.stack.tcp_shutdown(now, id);
                return;
            }
            Farewell::Abort(id) => {
                core.stack.tcp_abort(now, id);
                // One in TIME-WAIT goes on with that.
                core.stack.tcp_close(now, id);
                Socket::Tcp(id)
            }
            Farewell::Close(socket) => {
                core.close(now, socket, self.station.as_deref());
                socket
            }
            Farewell::Forget(..) => return,
        };
        drop(core);
        let removed = self.wakers.borrow_mut().close(socket);
        drop(removed);
    }
}

impl<D: Device> Core<D> {
    /// Whether a connection, once closed, is given a time to deliver what it was given.
    fn lingers(&self, socket: Socket) -> bool {
        match socket {
            Socket::Tcp(id) => self.stack.tcp_linger(id).is_ok_and(|linger| linger > Some(Duration::ZERO)),
            _ => false,
        }
    }
}
