//! Delays that look like losses, and losses: F-RTO (RFC 5682) where timestamps are off, and the Eifel detection
//! (RFC 3522) where they tell at once.

use std::io;
use std::time::Duration;

use hayase::net::{Congestion, TcpStream};
use hayase::stack::Config;
use hayase::task::JoinHandle;
use hayase::time::sleep;
use hayase_sim::{Builder, Link, Sim};

use crate::common::{SEEDS, SERVER, count, listen, millis, receive, seconds};

/// Takes 1.3 s.
const LEN: u64 = 2_000_000;

const DELAY: Duration = Duration::from_millis(20);

/// What the peer lets out at a time, in bytes: 64 KB in 40 ms.
const WINDOW: usize = 64 * 1024;

const TIMEOUTS: &str = "TcpExtTCPTimeouts";
const SPURIOUS: &str = "TcpExtTCPSpuriousRTOs";

/// A path that holds more than the peer's window lets out: its queue stays empty, and nothing is lost by it.
fn world(sack: bool, timestamps: bool) -> Builder {
    let mut config = Config::default();
    (config.sack, config.timestamps) = (sack, timestamps);
    (config.receive_buffer_len, config.receive_buffer_len_max) = (WINDOW, WINDOW);
    let link = Link { queue_len: 8 << 20, ..Link::with_rate(100_000_000, DELAY) };
    Sim::builder().link(link).stack(config).seeds(SEEDS)
}

/// A transfer that has been going on for a while, and its two ends.
struct Transfer {
    sender: JoinHandle<io::Result<()>>,
    receiver: JoinHandle<io::Result<u64>>,
}

impl Transfer {
    async fn begin(sim: &Sim, sack: bool, timestamps: bool) -> Transfer {
        let (flow, mut random) = (sim.flow(), sim.random());
        let receiver = receive(sim, listen(sim).await, &flow);
        let mut stream = TcpStream::connect(SERVER).await.unwrap();
        stream.set_congestion(*random.pick(&[Congestion::NewReno, Congestion::Cubic])).unwrap();
        let info = stream.info().unwrap();
        assert_eq!((info.sack, info.timestamps), (sack, timestamps));
        let sender = sim.client().spawn(async move { flow.send(&mut stream, LEN).await });
        sleep(millis(300) + random.time(millis(600))).await;
        Transfer { sender, receiver }
    }

    /// The oracles of all simulations ask whether what arrives is what was sent.
    async fn end(self) {
        self.sender.await.unwrap().unwrap();
        assert_eq!(self.receiver.await.unwrap().unwrap(), LEN);
    }
}

fn window(sim: &Sim) -> u32 {
    sim.client().tcp_connections().unwrap().first().expect("the transfer goes on").2.snd_cwnd
}

/// For a round trip, all that sets out in one direction takes up to 0.85 s longer, so that the timer runs out once or
/// twice. That is found out to have been needless: the window is what it was, hardly anything goes twice, and the transfer is
/// over as soon as the path allows.
fn a_spike_of_delay(sack: bool, timestamps: bool, spike_min: Duration) {
    world(sack, timestamps).run(move |sim| async move {
        let transfer = Transfer::begin(&sim, sack, timestamps).await;
        let mut random = sim.random();
        let (spike, is_forth) = (spike_min + random.time(millis(850) - spike_min), random.chance(0.5));
        let take = |delay: Duration| {
            let change = |link: &mut Link| link.delay = delay;
            if is_forth { sim.cable(0).change_forth(change) } else { sim.cable(0).change_back(change) }
        };
        let (before, spiked_at) = (window(&sim), sim.elapsed());
        take(DELAY + spike);
        sleep(2 * DELAY).await;
        take(DELAY);
        sleep(spike + 3 * DELAY).await;
        assert!(count(sim.client(), TIMEOUTS) > 0, "{spike:?} is more than the timer waits");
        assert!(count(sim.client(), SPURIOUS) > 0, "the timeout was needless, and known to be");
        let after = window(&sim);
        assert!(after >= before, "the window was {before} and is {after}");
        transfer.end().await;
        let [forth, _] = sim.cable(0).stats();
        assert_eq!((forth.lost, forth.overflowed), (0, 0));
        let again = count(sim.client(), "TcpRetransSegs");
        assert!(again <= 4, "{again} segments went again, and none was lost");
        let took = sim.elapsed() - spiked_at;
        assert!(took < spike + millis(1900), "{took:?} from a spike of {spike:?} on");
    });
}

#[test]
fn a_spike_of_delay_is_seen_through_without_sack() {
    a_spike_of_delay(false, false, millis(350));
}

#[test]
fn a_spike_of_delay_is_seen_through_with_sack() {
    a_spike_of_delay(true, false, millis(350));
}

#[test]
fn a_spike_of_delay_is_told_by_timestamps() {
    // They make the timeout longer, since each segment is timed.
    a_spike_of_delay(false, true, millis(500));
    a_spike_of_delay(true, true, millis(500));
}

/// Nothing gets through for up to 1.5 s, neither data nor acknowledgements, and the timer runs out rightly: nobody takes that
/// for a delay.
#[test]
fn a_loss_is_not_taken_for_a_delay() {
    for sack in [false, true] {
        world(sack, false).run(move |sim| async move {
            let transfer = Transfer::begin(&sim, sack, false).await;
            let mut random = sim.random();
            let before = window(&sim);
            sim.cable(0).cut();
            sleep(millis(500) + random.time(seconds(1))).await;
            sim.cable(0).mend();
            transfer.end().await;
            assert!(count(sim.client(), TIMEOUTS) > 0 && before > 0);
            assert_eq!(count(sim.client(), SPURIOUS), 0, "what was sent first never arrived");
        });
    }
}
