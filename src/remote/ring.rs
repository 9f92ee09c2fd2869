//! Filling a ring, which costs as few transfers of cache lines between the CPUs as it can.

use std::collections::VecDeque;

use rtrb::Producer;
use rtrb::chunks::ChunkError;

/// Publishes what is in `outbox`, as far as there is room, at once. Returns how much that was.
///
/// It looks where the consumer is only if it has not seen enough room before: that line is in the consumer's cache, and
/// the consumer would have to fetch it back.
#[inline]
pub(super) fn publish<T>(ring: &mut Producer<T>, outbox: &mut VecDeque<T>) -> usize {
    if outbox.is_empty() {
        return 0;
    }
    let room = match ring.write_chunk_uninit(outbox.len()) {
        Ok(chunk) => return chunk.fill_from_iter(outbox.drain(..)),
        Err(ChunkError::TooFewSlots(room)) => room,
    };
    ring.write_chunk_uninit(room).map_or(0, |chunk| chunk.fill_from_iter(outbox.drain(..room)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrb::RingBuffer;

    #[test]
    fn as_much_is_published_as_there_is_room_for() {
        let (mut ring, mut consumer) = RingBuffer::new(4);
        let mut outbox: VecDeque<_> = (0..6).collect();
        assert_eq!((publish(&mut ring, &mut outbox), publish(&mut ring, &mut outbox)), (4, 0));
        let taken: Vec<_> = consumer.read_chunk(4).unwrap().into_iter().collect();
        assert_eq!((taken, publish(&mut ring, &mut outbox)), (vec![0, 1, 2, 3], 2));
        assert_eq!((consumer.pop(), consumer.pop(), outbox.len()), (Ok(4), Ok(5), 0));
        assert_eq!(publish(&mut ring, &mut outbox), 0);
    }
}
