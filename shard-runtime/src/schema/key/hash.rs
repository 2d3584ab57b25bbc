//! The hash of keys: PostgreSQL's own partition hash, bit for bit. Uses nothing of the crate.
//!
//! A hash chooser places a row exactly where `PARTITION BY HASH` would place it. A data set of this crate can therefore be
//! attached as native partitions, and a partitioned table can be divided into shards. Either side can check the other. For
//! this reason nothing in this file may ever change: if the hash of a key changes, its row is no longer found.
//!
//! The algorithm is PostgreSQL's, the code is not:
//!
//! * `src/common/hashfn.c`: `hash_bytes_extended`, which is Bob Jenkins'
//!   public-domain `lookup3` with a seed, and `hash_uint32_extended`;
//! * `src/backend/access/hash/hashfunc.c`: `hashint8extended`, which folds
//!   the high half of a number into the low half;
//! * `src/include/common/hashfn.h`: `hash_combine64`;
//! * `src/backend/partitioning/partbounds.c`: `HASH_PARTITION_SEED`,
//!   `compute_partition_hash_value` and `satisfies_hash_partition`.
//!
//! PostgreSQL reads words in the byte order of its machine. Here they are
//! always little-endian, so every platform agrees with PostgreSQL on x86-64
//! and on AArch64.

/// The seed under which PostgreSQL hashes the columns of a partition key
/// (`HASH_PARTITION_SEED`).
pub const PARTITION_SEED: u64 = 0x7A5B_2236_7996_DCFD;

/// Hashes an integer of any width: `hashint8extended`.
///
/// The hash of a number does not depend on its width. So this is `hashint4extended` and `hashint2extended`, too, and a key
/// may be widened in place.
pub fn hash_integer(value: i64, seed: u64) -> u64 {
    let low = value as u32;
    let high = (value >> 32) as u32;
    // The high half of a narrow number is all zeros, or all ones if it is negative. In both cases this leaves the low half as
    // it is.
    let folded = if value < 0 { low ^ !high } else { low ^ high };
    hash_bytes(&folded.to_le_bytes(), seed)
}

/// Hashes text: `hashtextextended` in a UTF-8 database, under a deterministic
/// collation.
pub fn hash_text(text: &str, seed: u64) -> u64 {
    hash_bytes(text.as_bytes(), seed)
}

/// Hashes the sixteen bytes of a UUID, most significant first:
/// `uuid_hash_extended`.
pub fn hash_uuid(uuid: &[u8; 16], seed: u64) -> u64 {
    hash_bytes(uuid, seed)
}

/// Hashes bytes: `hash_bytes_extended`, and so `hashvarlenaextended` of a
/// `bytea`.
pub fn hash_bytes(bytes: &[u8], seed: u64) -> u64 {
    let start = 0x9E37_79B9_u32.wrapping_add(bytes.len() as u32).wrapping_add(3_923_095);
    let mut lanes = [start; 3];
    if seed != 0 {
        lanes = mix(add(lanes, [(seed >> 32) as u32, seed as u32, 0]));
    }

    let (blocks, rest) = bytes.as_chunks::<12>();
    for block in blocks {
        lanes = mix(add(lanes, words(block)));
    }

    // The last block is short, often empty. Its ninth byte is skipped: lookup3 keeps it for the length.
    let mut last = [0; 12];
    for (position, byte) in (0..8).chain(9..12).zip(rest) {
        last[position] = *byte;
    }
    finish(add(lanes, words(&last)))
}

/// Adds the hash of one more column: `hash_combine64`.
pub fn combine(a: u64, b: u64) -> u64 {
    a ^ b.wrapping_add(0x49A0_F4DD_15E5_A8E3).wrapping_add(a << 54).wrapping_add(a >> 7)
}

/// Returns the hash of a row, from the hashes of its key's columns in their order: `compute_partition_hash_value`.
///
/// Hash the columns with [`PARTITION_SEED`], and leave out those that are NULL, as PostgreSQL does. A row whose whole key is
/// NULL hashes to zero.
pub fn row_hash(column_hashes: impl IntoIterator<Item = u64>) -> u64 {
    column_hashes.into_iter().fold(0, combine)
}

/// Returns the partition of a row, as in `WITH (MODULUS modulus, REMAINDER …)`: the remainder for which
/// `satisfies_hash_partition` is true.
///
/// PostgreSQL refuses a modulus of zero; here every key is in partition zero.
pub fn remainder(row_hash: u64, modulus: u64) -> u64 {
    row_hash.checked_rem(modulus).unwrap_or(0)
}

/// The three running words of lookup3: its `a`, `b` and `c`.
type Lanes = [u32; 3];

/// Returns twelve bytes as three little-endian words.
fn words(block: &[u8; 12]) -> Lanes {
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3] = *block;
    [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]].map(u32::from_le_bytes)
}

/// Adds the words of one block.
fn add([a, b, c]: Lanes, [x, y, z]: Lanes) -> Lanes {
    [a.wrapping_add(x), b.wrapping_add(y), c.wrapping_add(z)]
}

/// Mixes the lanes between two blocks: one step, six times, with the lanes rotated after each.
fn mix([mut a, mut b, mut c]: Lanes) -> Lanes {
    for turn in [4, 6, 8, 16, 19, 4] {
        a = a.wrapping_sub(c) ^ c.rotate_left(turn);
        c = c.wrapping_add(b);
        [a, b, c] = [b, c, a];
    }
    [a, b, c]
}

/// Mixes the lanes a last time, and makes one number of two of them.
fn finish([mut a, mut b, mut c]: Lanes) -> u64 {
    for turn in [14, 11, 25, 16, 4, 14, 24] {
        c = (c ^ b).wrapping_sub(b.rotate_left(turn));
        [a, b, c] = [b, c, a];
    }
    // Seven rotations are two rounds and one: lookup3's `b` and `c` are now in `a` and `b`.
    u64::from(a) << 32 | u64::from(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r01_a_few_answers_of_postgresql() {
        assert_eq!(hash_integer(0, 0), 4_154_612_158_245_552_303);
        assert_eq!(hash_integer(-1, 0).cast_signed(), -1_888_257_769_727_981_238);
        assert_eq!(hash_integer(42, 0), 8_010_225_493_015_854_792);
        assert_eq!(hash_integer(-32_768, 1).cast_signed(), -7_294_139_762_977_854_481);
    }

    #[test]
    fn r02_only_columns_that_are_not_null_count() {
        assert_eq!(row_hash([]), 0);
        assert_ne!(row_hash([0]), 0);
        assert_ne!(row_hash([1, 2]), row_hash([2, 1]));
    }

    #[test]
    fn a_modulus_of_zero_is_no_panic() {
        assert_eq!(remainder(u64::MAX, 16), 15);
        assert_eq!(remainder(u64::MAX, 0), 0);
    }
}
