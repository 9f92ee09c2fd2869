//! Keyed chance: everything that a stranger must not guess comes from the seed that the caller gave.

use core::hash::Hasher;
use core::net::{IpAddr, Ipv6Addr};

use siphasher::sip::SipHasher13;

use crate::egress::to_v6;

/// A keyed pseudo-random function and a generator made of it.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    key: [u64; 4],
    counter: u64,
}

/// A function of `words` that nobody without `secret` can compute.
pub(crate) fn keyed(secret: [u8; 16], words: &[u64]) -> u64 {
    let [a, b] = *secret.as_chunks::<8>().0 else { unreachable!("16 bytes are twice eight") };
    let mut hasher = SipHasher13::new_with_keys(u64::from_le_bytes(a), u64::from_le_bytes(b));
    for word in words {
        hasher.write_u64(*word);
    }
    hasher.finish()
}

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Random {
        let mut key = [0; 4];
        for (word, bytes) in key.iter_mut().zip(seed.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Random { key, counter: 0 }
    }

    /// A function of `words` that nobody without the seed can compute. `domain` keeps uses apart.
    pub(crate) fn keyed(&self, domain: u64, words: &[u64]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1] ^ domain);
        for word in words {
            hasher.write_u64(*word);
        }
        hasher.finish()
    }

    /// The same of an address.
    pub(crate) fn keyed_by_address(&self, domain: u64, addr: IpAddr) -> u64 {
        match addr {
            IpAddr::V4(addr) => self.keyed(domain, &[addr.to_bits().into()]),
            IpAddr::V6(addr) => self.keyed(domain, &words(addr)),
        }
    }

    /// The same of two addresses.
    pub(crate) fn keyed_by_addresses(&self, domain: u64, a: IpAddr, b: IpAddr) -> u64 {
        match (a, b) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                self.keyed(domain, &[u64::from(a.to_bits()) << 32 | u64::from(b.to_bits())])
            }
            (a, b) => {
                let ([a, b], [c, d]) = (words(to_v6(a)), words(to_v6(b)));
                self.keyed(domain, &[a, b, c, d])
            }
        }
    }

    /// The next random number.
    pub(crate) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.keyed(u64::MAX, &[self.counter])
    }

    /// Another generator, for a use of its own.
    pub(crate) fn for_use(&self, domain: u64) -> Random {
        Random { key: [0, 1, 2, 3].map(|i| self.keyed(self.key[3] ^ domain, &[i, self.key[2]])), counter: 0 }
    }

    /// A key for a use of its own, which does not tell any of ours.
    pub(crate) fn secret(&self, domain: u64) -> [u8; 16] {
        let [a, b] = [0, 1].map(|half| self.keyed(domain, &[half]));
        (u128::from(a) << 64 | u128::from(b)).to_be_bytes()
    }

    /// Keys for a hash table. They differ from what [`keyed`](Self::keyed) uses.
    pub(crate) fn table_keys(&self) -> [u64; 4] {
        [0, 1, 2, 3].map(|i| self.keyed(self.key[2], &[i, self.key[3]]) | 1)
    }
}

/// An address as this takes it.
pub(crate) fn words(addr: Ipv6Addr) -> [u64; 2] {
    [(addr.to_bits() >> 64) as u64, addr.to_bits() as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_seed_domain_and_input() {
        let (a, b) = (Random::new([1; 32]), Random::new([2; 32]));
        assert_eq!(a.keyed(0, &[5]), a.keyed(0, &[5]));
        assert_ne!(a.keyed(0, &[5]), b.keyed(0, &[5]));
        assert_ne!(a.keyed(0, &[5]), a.keyed(1, &[5]));
        assert_ne!(a.keyed(0, &[5]), a.keyed(0, &[6]));
        let mut a = a;
        assert_ne!(a.next(), a.next());
    }
}
