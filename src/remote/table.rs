//! Something about each socket of one kind, by its name.

use hayase_stack::{EchoId, ListenerId, TcpId, UdpId};

/// A name of a socket: a slot, and which tenant of the slot.
pub(super) trait Name: Copy {
    fn parts(self) -> (usize, u32);
}

macro_rules! names {
    ($($id:ty),*) => {
        $(impl Name for $id {
            #[inline]
            fn parts(self) -> (usize, u32) {
                (self.index as usize, self.generation)
            }
        })*
    };
}

names!(TcpId, ListenerId, UdpId, EchoId);

/// As the stack's own table: a slot has one tenant at a time, and a stale name finds nothing.
#[derive(Debug)]
pub(super) struct Table<I, T> {
    slots: Vec<Option<(I, T)>>,
}

impl<I, T> Default for Table<I, T> {
    fn default() -> Table<I, T> {
        Table { slots: Vec::new() }
    }
}

impl<I: Name, T> Table<I, T> {
    /// Moves a tenant in.
    pub(super) fn insert(&mut self, id: I, value: T) {
        let (slot, _) = id.parts();
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some((id, value));
    }

    #[inline]
    pub(super) fn get(&self, id: I) -> Option<&T> {
        let (slot, generation) = id.parts();
        match self.slots.get(slot) {
            Some(Some((known, value))) if known.parts().1 == generation => Some(value),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: I) -> Option<&mut T> {
        let (slot, generation) = id.parts();
        match self.slots.get_mut(slot) {
            Some(Some((known, value))) if known.parts().1 == generation => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, id: I) -> Option<T> {
        self.get(id)?;
        self.slots[id.parts().0].take().map(|(_, value)| value)
    }

    /// The names of all tenants that `is_meant` picks.
    pub(super) fn names(&self, is_meant: impl Fn(&T) -> bool) -> Vec<I> {
        self.slots.iter().flatten().filter(|(_, value)| is_meant(value)).map(|(id, _)| *id).collect()
    }
}
