//! Copies of what is mostly short.

/// Copies between slices of the same length: up to 16 bytes without a call.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn copy(to: &mut [u8], from: &[u8]) {
    assert!(to.len() == from.len(), "a copy has the length of the original");
    match from.len() {
        0 => {}
        1..=2 => copy_ends::<1>(to, from),
        3..=4 => copy_ends::<2>(to, from),
        5..=8 => copy_ends::<4>(to, from),
        9..=16 => copy_ends::<8>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last `N` bytes, which may overlap.
#[inline(always)]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_and_nothing_else() {
        let from: [u8; 40] = core::array::from_fn(|i| i as u8 + 1);
        for len in 0..=from.len() {
            let mut to = [0; 40];
            copy(&mut to[..len], &from[..len]);
            assert!(to[..len] == from[..len] && to[len..].iter().all(|byte| *byte == 0), "{len} bytes");
        }
    }
}
