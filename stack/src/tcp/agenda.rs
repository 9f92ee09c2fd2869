//! What is to be done: who has something to send, who has news, whose time comes when, how much all of them hold.
//!
//! Nothing walks over all connections. Whatever changes one enters it here, once, under its index.

use alloc::vec::Vec;
use core::num::{NonZeroU32, NonZeroU64};

use hayase_device::Frame;
use hayase_device::hint::{likely, unlikely};
use hayase_time::{Instant, Wheel};

use super::connection::Connection;
use crate::slab::Slab;
use crate::socket::{ListenerId, Ready};

/// So many entries of the list of work are not worth a look at whether they still count.
const WORK_LEN_MIN: usize = 64;

/// Whose time it is: an index, kept so that none at all takes no more room in the wheel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timed(NonZeroU32);

impl Timed {
    /// An index is less than 2^30: the slab's limit.
    #[inline]
    fn new(index: u32) -> Timed {
        Timed(NonZeroU32::MIN.saturating_add(index))
    }

    #[inline]
    pub(super) fn index(self) -> u32 {
        self.0.get() - 1
    }
}

#[derive(Debug)]
pub(super) struct Agenda {
    /// Connections that may have something to send.
    pub(super) work: Vec<u32>,
    /// Connections with news for the application.
    pub(super) ready: Vec<u32>,
    /// Readers who left their names, and whose text has come.
    pub(super) called: Vec<NonZeroU64>,
    /// Listeners with news for the application.
    pub(super) ready_listeners: Vec<ListenerId>,
    pub(super) wheel: Wheel<Timed>,
    /// No later than the earliest entry of the wheel.
    pub(super) wheel_at: Instant,
    /// Bytes of buffers that connections hold, and datagrams that wait.
    pub(super) memory_len: usize,
}

impl Agenda {
    pub(super) fn new(now: Instant) -> Agenda {
        Agenda {
            work: Vec::new(),
            ready: Vec::new(),
            called: Vec::new(),
            ready_listeners: Vec::new(),
            wheel: Wheel::new(now),
            wheel_at: Instant::MAX,
            memory_len: 0,
        }
    }

    /// Enters what any change of a living connection may entail.
    #[inline]
    pub(super) fn note<F: Frame>(&mut self, connection: &mut Connection<F>, index: u32) {
        self.enlist(connection, index);
        self.announce(connection, index);
        self.schedule(connection, index);
        self.charge(connection);
    }

    /// The connection may have something to send.
    #[inline(always)]
    pub(super) fn enlist<F>(&mut self, connection: &mut Connection<F>, index: u32) {
        if likely(!connection.listed.work) {
            connection.listed.work = true;
            self.work.push(index);
        }
    }

    /// Enters its news, if there are any.
    #[inline(always)]
    pub(super) fn announce<F>(&mut self, connection: &mut Connection<F>, index: u32) {
        if likely(!connection.events.is_empty()) && likely(!connection.listed.ready) {
            connection.listed.ready = true;
            self.ready.push(index);
        }
    }

    /// Enters the news that there is text: under the name of its reader, if there is no other news and nobody else to tell.
    #[inline(always)]
    pub(super) fn announce_text<F>(&mut self, connection: &mut Connection<F>, index: u32) {
        match connection.reader {
            Some(reader) if likely(connection.events.is_empty()) && likely(!connection.watched) => {
                connection.reader = None;
                self.called.push(reader);
            }
            _ => {
                connection.events |= Ready::READABLE;
                self.announce(connection, index);
            }
        }
    }

    /// Sees to it that its timer fires in time.
    #[inline(always)]
    pub(super) fn schedule<F: Frame>(&mut self, connection: &mut Connection<F>, index: u32) {
        if unlikely(connection.deadline() < connection.timer.at) {
            self.rearm(connection, index);
        }
    }

    /// Brings the account of buffers up to date with one connection.
    #[inline]
    pub(super) fn charge<F: Frame>(&mut self, connection: &mut Connection<F>) {
        let held = connection.memory_len();
        self.memory_len = self.memory_len + held - connection.charged_len;
        connection.charged_len = held;
    }

    /// Makes the timer fire no later than the earliest deadline. A deadline that moved back leaves the timer alone:
    /// it fires early, finds nothing due and goes to the new place. So an active connection touches the wheel a few
    /// times a second, whatever it sends.
    #[cold]
    pub(super) fn rearm<F: Frame>(&mut self, connection: &mut Connection<F>, index: u32) {
        let at = connection.deadline();
        connection.timer.at = at;
        if at == Instant::MAX {
            return;
        }
        match connection.timer.key {
            Some(key) if self.wheel.reset(key, at) => {}
            _ => connection.timer.key = Some(self.wheel.insert(at, Timed::new(index))),
        }
        self.wheel_at = self.wheel_at.min(at);
    }

    /// The same where it is known what came and what went.
    #[inline(always)]
    pub(super) fn book<F: Frame>(&mut self, connection: &mut Connection<F>, came: usize, went: usize) {
        let change = came.wrapping_sub(went);
        self.memory_len = self.memory_len.wrapping_add(change);
        connection.charged_len = connection.charged_len.wrapping_add(change);
        debug_assert_eq!(connection.charged_len, connection.memory_len());
    }

    /// A connection that goes leaves its entry in the list of work, and the next tenant of its slot makes another. As long as
    /// the device takes nothing, nobody goes through the list: so it is tidied before it is much longer than connections are
    /// many.
    #[inline]
    pub(super) fn tidy_work_if_needed<F>(&mut self, connections: &mut Slab<Connection<F>>) {
        if unlikely(self.work.len() >= WORK_LEN_MIN.max(2 * connections.len())) {
            self.tidy_work(connections);
        }
    }

    /// Leaves one entry of each connection that is listed, where its first one is.
    #[cold]
    fn tidy_work<F>(&mut self, connections: &mut Slab<Connection<F>>) {
        let take = |connection: &mut Connection<F>| core::mem::take(&mut connection.listed.work);
        self.work.retain(|index| connections.get_mut(*index).is_some_and(take));
        for index in &self.work {
            if let Some(connection) = connections.get_mut(*index) {
                connection.listed.work = true;
            }
        }
    }

    /// A connection goes, with its timer and what it was charged for.
    pub(super) fn strike<F>(&mut self, connection: &mut Connection<F>) {
        if let Some(key) = connection.timer.key.take() {
            self.wheel.remove(key);
        }
        self.memory_len -= core::mem::take(&mut connection.charged_len);
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;

    use hayase_device::Caps;
    use hayase_device::heap::{HeapFrame, Pool, PoolConfig};
    use hayase_time::Instant;

    use crate::config::Config;
    use crate::counters::Counters;
    use crate::random::Random;
    use crate::seq::Seq;
    use crate::tcp::flow::Tuple;
    use crate::tcp::{Tcp, Turn};
    use crate::wire::tcp::{Flags, Options, TcpHeader};

    /// A stack whose device takes nothing, and what its peers may do meanwhile.
    struct Stuck {
        tcp: Tcp<HeapFrame>,
        config: Config,
        counters: Counters,
        random: Random,
        pool: Pool,
    }

    impl Stuck {
        fn receive(&mut self, port: u16, flags: Flags, seq: u32) {
            let tuple = Tuple::new(local(), ([10, 0, 0, 2], port).into());
            let header = TcpHeader {
                src_port: port,
                dst_port: 80,
                seq: Seq(seq),
                ack: Seq(0),
                flags,
                window: 1000,
                urgent: 0,
                options: Options::default(),
            };
            let mut turn = Turn {
                now: Instant::ZERO,
                config: &self.config,
                counters: &mut self.counters,
                random: &self.random,
                mtu: 1500,
                is_marked: false,
            };
            let empty = self.pool.alloc(0).unwrap();
            if let Err(empty) = self.tcp.receive(&tuple, &header, empty, &mut turn) {
                self.tcp.receive_stranger(&tuple, &header, empty, &mut turn).unwrap();
            }
        }
    }

    fn local() -> SocketAddr {
        ([10, 0, 0, 1], 80).into()
    }

    #[test]
    fn connections_that_come_and_go_while_nothing_is_sent_leave_nothing_behind() {
        let (config, mut random) = (Config::default(), Random::new([1; 32]));
        let mut tcp = Tcp::new(&config, &Caps::ethernet(1500), &random, Instant::ZERO);
        tcp.listen(local(), 16, &mut random, &config).unwrap();
        let pool = Pool::new(PoolConfig::default());
        let mut stuck = Stuck { tcp, config, counters: Counters::default(), random, pool };
        stuck.receive(4000, Flags::SYN, 77);
        for n in 0..100_000 {
            stuck.receive(5000, Flags::SYN, n);
            stuck.receive(5000, Flags::RST, n + 1);
            let len = stuck.tcp.agenda.work.len();
            assert!(len <= 64, "{len} entries of {} connections", stuck.tcp.count());
        }
        assert!(stuck.tcp.agenda.work.contains(&0) && stuck.tcp.count() == 1, "the first one waits");
    }
}
