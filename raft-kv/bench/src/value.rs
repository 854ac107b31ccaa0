//! Keys and values that say what they are: a value that is read back tells by which write it was written, and that it is whole and
//! that key's.

/// The number of the write and the checksum.
pub(crate) const VALUE_BYTES_MIN: usize = 16;

/// The key with this number: 16 bytes.
pub(crate) fn key(number: u64) -> Vec<u8> {
    format!("key-{number:012}").into_bytes()
}

/// A value of `size` bytes for the key with this number. Every write has a number of its own, so no two values are alike.
pub(crate) fn encode(key: u64, write: u64, size: usize) -> Vec<u8> {
    let size = size.max(VALUE_BYTES_MIN);
    let mut value = Vec::with_capacity(size);
    value.extend_from_slice(&write.to_le_bytes());
    let mut filler = key ^ write.rotate_left(32);
    while value.len() < size - 8 {
        filler = filler
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        let bytes = filler.to_le_bytes();
        let room = (size - 8 - value.len()).min(bytes.len());
        value.extend(bytes.iter().take(room));
    }
    let sum = checksum(key, &value);
    value.extend_from_slice(&sum.to_le_bytes());
    value
}

/// The number of the write, if this is a whole value that was written for that key.
pub(crate) fn decode(key: u64, value: &[u8]) -> Option<u64> {
    let (body, sum) = value.split_last_chunk::<8>()?;
    let write = u64::from_le_bytes(*body.first_chunk::<8>()?);
    (u64::from_le_bytes(*sum) == checksum(key, body)).then_some(write)
}

/// FNV-1a over words, begun with the key and the length: quick, and any changed or missing byte shows.
fn checksum(key: u64, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mix = |sum: u64, word: u64| {
        let sum = (sum ^ word).wrapping_mul(PRIME);
        sum ^ (sum >> 29)
    };
    let begun = mix(mix(0xcbf2_9ce4_8422_2325, key), bytes.len() as u64);
    let mut words = bytes.chunks_exact(8);
    let mut sum = begun;
    for word in &mut words {
        let word = word.first_chunk::<8>().copied().unwrap_or_default();
        sum = mix(sum, u64::from_le_bytes(word));
    }
    words
        .remainder()
        .iter()
        .fold(sum, |sum, byte| mix(sum, u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_recognized_and_nothing_else_is() {
        for size in [16, 17, 33, 40, 256] {
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

    #[test]
    fn keys_have_sixteen_bytes() {
        assert_eq!(key(0).len(), 16);
        assert_eq!(key(999_999), b"key-000000999999");
    }
}
