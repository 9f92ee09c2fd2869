//! A slab with generations: where sockets live.
//!
//! It grows by chunks, so that growing never moves what is already there: a million connections do not pause
//! for a copy of half a million.

use alloc::boxed::Box;
use alloc::vec::Vec;
use hayase_device::hint::{likely, usually};

const CHUNK_LEN: usize = 128;

#[derive(Debug)]
struct Slot<T> {
    /// Counts the tenants of this slot: a handle of a former tenant does not match.
    generation: u32,
    value: Option<T>,
}

#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Box<[Slot<T>; CHUNK_LEN]>>,
    free: Vec<u32>,
    len: usize,
    count_max: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new(count_max: usize) -> Slab<T> {
        Slab { chunks: Vec::new(), free: Vec::new(), len: 0, count_max: count_max.min(1 << 30) }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Values that there is memory for, present or not: every index is less.
    pub(crate) fn slot_count(&self) -> u32 {
        (self.chunks.len() * CHUNK_LEN) as u32
    }

    /// Whether `insert` would be refused.
    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.count_max
    }

    /// Index and generation of the new value, or the value back if the slab is full.
    pub(crate) fn insert(&mut self, value: T) -> Result<(u32, u32), T> {
        if self.is_full() {
            return Err(value);
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.grow(),
        };
        let slot = &mut self.chunks[index as usize / CHUNK_LEN][index as usize % CHUNK_LEN];
        slot.value = Some(value);
        self.len += 1;
        Ok((index, slot.generation))
    }

    fn grow(&mut self) -> u32 {
        let first = self.chunks.len() * CHUNK_LEN;
        let chunk: Vec<_> = (0..CHUNK_LEN).map(|_| Slot { generation: 0, value: None }).collect();
        self.chunks.extend(chunk.try_into().ok());
        self.free.extend((first as u32 + 1..(first + CHUNK_LEN) as u32).rev());
        first as u32
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slot_mut(index)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.len -= 1;
        Some(value)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.slot(index)?.value.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        usually(self.slot_mut(index)?.value.as_mut())
    }

    /// The value, if it is still the tenant that `generation` names.
    #[inline]
    pub(crate) fn get_generation(&self, index: u32, generation: u32) -> Option<&T> {
        let slot = self.slot(index)?;
        if slot.generation == generation { slot.value.as_ref() } else { None }
    }

    /// The value, if it is still the tenant that `generation` names.
    #[inline]
    pub(crate) fn get_generation_mut(&mut self, index: u32, generation: u32) -> Option<&mut T> {
        let slot = self.slot_mut(index)?;
        if likely(slot.generation == generation) { usually(slot.value.as_mut()) } else { None }
    }

    /// The value, and which tenant it is.
    #[inline]
    pub(crate) fn get_mut_with_generation(&mut self, index: u32) -> Option<(&mut T, u32)> {
        let slot = self.slot_mut(index)?;
        let generation = slot.generation;
        usually(slot.value.as_mut()).map(|value| (value, generation))
    }

    /// The generation of the present tenant.
    pub(crate) fn generation(&self, index: u32) -> u32 {
        self.slot(index).map_or(0, |slot| slot.generation)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.iter())
            .enumerate()
            .filter_map(|(i, slot)| Some((i as u32, slot.value.as_ref()?)))
    }

    #[inline]
    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        Some(&self.chunks.get(index as usize / CHUNK_LEN)?[index as usize % CHUNK_LEN])
    }

    #[inline]
    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        Some(&mut usually(self.chunks.get_mut(index as usize / CHUNK_LEN))?[index as usize % CHUNK_LEN])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_tenant_does_not_answer_to_the_old_name() {
        let mut slab = Slab::new(1000);
        let (index, generation) = slab.insert("a").unwrap();
        assert_eq!(slab.get_generation(index, generation), Some(&"a"));
        assert_eq!(slab.remove(index), Some("a"));
        assert_eq!(slab.remove(index), None);
        let (again, newer) = slab.insert("b").unwrap();
        assert_eq!(again, index);
        assert_eq!(slab.get_generation(index, generation), None);
        assert_eq!(slab.get_generation(index, newer), Some(&"b"));
    }

    #[test]
    fn grows_chunk_by_chunk_up_to_its_limit() {
        let mut slab = Slab::new(300);
        let indices: Vec<u32> = (0..300).map(|i| slab.insert(i).unwrap().0).collect();
        assert_eq!(slab.insert(300), Err(300));
        assert_eq!(slab.len(), 300);
        assert!(indices.iter().enumerate().all(|(i, index)| slab.get(*index) == Some(&i)));
        assert_eq!(slab.iter().count(), 300);
        assert!(slab.get(100_000).is_none());
    }
}
