//! The turn of a shard that is one of several.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hayase_device::{Device, Interest};
use hayase_executor::Handle;
use hayase_stack::{Error, Migrant, Ready, Socket, Stack, TcpId};
use hayase_time::Instant;

use super::device::Steered;
use super::fabric::News;
use super::reply::{Arrived, Reply};
use super::station::Station;
use crate::door::{Handle as SocketHandle, ShardId};
use crate::error::io_error;
use crate::shard::Shard;
use crate::turn::Turn;

/// How often a shard looks whether its pinned connections still exist. Until then a pin costs a few bytes.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// A shard and its place among the others. Its turn is the shard's, with the exchange of frames and news around it.
pub(crate) struct Member<D: Device> {
    id: ShardId,
    shard: Rc<Shard<Steered<D>>>,
    station: Rc<Station>,
    sweep_at: Cell<Instant>,
}

impl<D: Device> Member<D> {
    pub(crate) fn new(id: ShardId, shard: Rc<Shard<Steered<D>>>, station: Rc<Station>) -> Member<D> {
        shard.with(|stack, _| stack.share_neighbors());
        Member { id, shard, station, sweep_at: Cell::new(Instant::ZERO) }
    }

    /// Does what the others told us. Returns how much that was.
    fn read_news(&self, now: Instant) -> usize {
        if !self.station.has_news() {
            return 0;
        }
        let news = self.station.news();
        let count = news.len();
        for news in news {
            let answer = self.shard.with(|stack, device| self.obey(now, news, stack, device));
            // It wakes whoever waits for it, and so is sent while nothing is borrowed.
            if let Some((reply, arrived)) = answer.flatten() {
                reply.send(arrived);
            }
        }
        count
    }

    /// Does what one of the others told us. Returns what is to be answered.
    fn obey(
        &self,
        now: Instant,
        news: News,
        stack: &mut Stack<D::Frame>,
        device: &mut Steered<D>,
    ) -> Option<(Reply, Arrived)> {
        match news {
            News::Heard(hearsay) => stack.hear(now, hearsay, device),
            // What is there already, or gone already, was told by two.
            News::Setting(setting) => drop(setting.apply(stack)),
            News::Adopt(migrant, reply) => return self.adopt(now, *migrant, reply, stack, device),
            news => self.station.learn(now, news, stack),
        }
        None
    }

    fn adopt(
        &self,
        now: Instant,
        migrant: Migrant,
        reply: Option<Reply>,
        stack: &mut Stack<D::Frame>,
        device: &mut Steered<D>,
    ) -> Option<(Reply, Arrived)> {
        // A connection that cannot be taken in is lost, and its pin goes with the next sweep.
        self.station.settle(migrant.local_addr(), migrant.peer_addr());
        let adopted = stack.tcp_import(now, migrant, device);
        match (adopted, reply) {
            (Ok(id), Some(reply)) => Some((reply, Ok(SocketHandle::new(self.id, id)))),
            (Err(error), Some(reply)) => Some((reply, Err(lost(error)))),
            (Ok(id), None) => {
                offer(now, id, stack);
                None
            }
            (Err(_), None) => None,
        }
    }

    /// Tells the others what this turn brought.
    fn tell(&self, now: Instant) {
        let heard = self.shard.with(|stack, _| {
            self.station.set_load(stack.tcp_count());
            self.station.go_on_making_way(now, stack);
            self.station.go_on_joining(now);
            if self.station.has_pins() && now >= self.sweep_at.get() {
                self.sweep_at.set(now + SWEEP_PERIOD);
                self.station.sweep(stack);
            }
            stack.take_heard()
        });
        for hearsay in heard.into_iter().flatten() {
            self.station.tell_all(|| News::Heard(hearsay));
        }
    }
}

impl<D: Device> Drop for Member<D> {
    /// Whoever waits for this core hears of its end.
    fn drop(&mut self) {
        self.station.leave();
    }
}

fn lost(error: Error) -> io::Error {
    let error = io_error(error);
    io::Error::new(error.kind(), format!("the connection was lost on its way to another core: {error}"))
}

/// For the listener; a connection that nobody will accept is reset.
fn offer<F: hayase_device::Frame>(now: Instant, id: TcpId, stack: &mut Stack<F>) {
    if stack.tcp_offer(id).is_err() {
        stack.tcp_abort(now, id);
    }
}

impl<D: Device> Turn for Member<D> {
    fn receive(&self, now: Instant) -> usize {
        let relayed = self.shard.with(|_, device| device.gather()).unwrap_or(0);
        let told = self.read_news(now);
        let received = self.shard.receive(now);
        self.tell(now);
        self.station.wake_joined();
        relayed + told + received + self.station.wake_others()
    }

    fn transmit(&self, now: Instant) -> usize {
        self.shard.transmit(now)
    }

    fn deadline(&self) -> Option<Instant> {
        let sweep = self.station.has_pins().then(|| self.sweep_at.get());
        [self.shard.deadline(), self.station.deadline(), sweep].into_iter().flatten().min()
    }

    fn pending(&self) -> bool {
        self.shard.pending() || self.station.has_news()
    }

    fn has_undelivered(&self) -> bool {
        self.shard.has_undelivered()
    }

    fn interests(&self, add: &mut dyn FnMut(Interest)) {
        self.shard.interests(add);
    }

    fn arm(&self) -> Option<Duration> {
        self.shard.arm()
    }

    fn disarm(&self) {
        self.shard.disarm();
    }

    fn wake_through(&self, handle: &Handle) {
        self.station.wake_through(handle);
        self.shard.wake_through(handle);
    }

    fn list_changes(&self) {
        self.shard.list_changes();
    }

    fn changed(&self, list: &mut Vec<(Socket, Ready)>) {
        self.shard.changed(list);
    }
}
