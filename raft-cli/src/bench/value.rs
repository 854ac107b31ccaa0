//! Values that say what they are: which key they were written for, by which write, and whether they are whole.

/// Bytes of the key's number, the write's number, the length and the checksum.
pub(super) const VALUE_BYTES_MIN: usize = 32;

/// A value of `size` bytes for the key with this number. Every write has a number of its own, so no two values are alike.
pub(super) fn encode(key: u64, write: u64, size: usize) -> Vec<u8> {
    let size = size.max(VALUE_BYTES_MIN);
    let mut value = Vec::with_capacity(size);
    for word in [key, write, size as u64] {
        value.extend_from_slice(&word.to_le_bytes());
    }
    let mut filler = key ^ write.rotate_left(32);
    while value.len() < size - 8 {
        filler = filler
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        let bytes = filler.to_le_bytes();
        let room = (size - 8 - value.len()).min(bytes.len());
        value.extend(bytes.iter().take(room));
    }
    let sum = checksum(&value);
    value.extend_from_slice(&sum.to_le_bytes());
    value
}

/// The number of the write, if this is a whole value that was written for that key.
pub(super) fn decode(key: u64, value: &[u8]) -> Option<u64> {
    let (body, sum) = value.split_last_chunk::<8>()?;
    let word = |at: usize| Some(u64::from_le_bytes(*body.get(at..)?.first_chunk::<8>()?));
    let fits = word(0)? == key
        && word(16)? == value.len() as u64
        && u64::from_le_bytes(*sum) == checksum(body);
    if fits { word(8) } else { None }
}

/// FNV-1a over words: quick, and any changed or missing byte shows.
fn checksum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = word.first_chunk::<8>().copied().unwrap_or_default();
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(PRIME);
        sum ^= sum >> 29;
    }
    words.remainder().iter().fold(sum, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_recognized_and_nothing_else_is() {
        for size in [32, 33, 39, 40, 256] {
            let value = encode(7, 99, size);
            assert_eq!(value.len(), size);
            assert_eq!(decode(7, &value), Some(99));
            assert_eq!(decode(8, &value), None, "another key's");
            assert_eq!(decode(7, &value[..size - 1]), None);
            for at in 0..size {
                let mut damaged = value.clone();
                damaged[at] ^= 1;
                assert_eq!(decode(7, &damaged), None, "byte {at} of {size}");
            }
        }
        assert_eq!(decode(0, b""), None);
    }
}
