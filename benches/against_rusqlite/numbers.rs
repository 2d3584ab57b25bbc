//! The values of the measured rows, made without a library: the programs in `benches/peers` have the same rows.

/// How many readings a station has.
pub const READINGS_OF_A_STATION: i64 = 25;

/// The owner and the cents of the account with this id.
pub fn account(id: i64) -> (String, i64) {
    (format!("owner {id}"), id % 1_000)
}

/// `at`, `celsius` and `place` of the measurement with this id. No other one has these numbers, so that there is one
/// right order.
pub fn measurement(id: i64) -> (i64, f64, String) {
    ((scattered(id) >> 16) as i64, (scattered(id) >> 11) as f64 / 1e14, format!("place {}", id % 1_000))
}

/// The name and the height of a station. Stations are numbered from 0.
pub fn station(number: i64) -> (String, i64) {
    (format!("station {number}"), number)
}

/// `at`, `celsius` and the remark of a station's reading. The readings of a station are numbered from 0.
pub fn reading(station_id: i64, number: i64) -> (i64, f64, String) {
    (number * 3_600, (scattered(station_id + number) % 400) as f64 / 10.0, format!("reading {number}"))
}

/// A number that looks like chance and is the same in every run (`splitmix64`).
pub fn scattered(number: i64) -> u64 {
    let mut z = (number as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The numbers from 1 to `count`, each once, in an order without a pattern.
pub fn shuffled(count: i64) -> Vec<i64> {
    let mut numbers: Vec<i64> = (1..=count).collect();
    numbers.sort_by_key(|&number| scattered(number));
    numbers
}

/// Takes this many items of a list at a time, and begins again at its end.
pub struct Turns<'l> {
    list: &'l [i64],
    next: usize,
}

impl<'l> Turns<'l> {
    pub fn new(list: &'l [i64]) -> Self {
        Turns { list, next: 0 }
    }

    pub fn take(&mut self, count: usize) -> &'l [i64] {
        if self.next + count > self.list.len() {
            self.next = 0;
        }
        let taken = &self.list[self.next..self.next + count];
        self.next += count;
        taken
    }
}

/// Combines numbers into one that depends on their order.
pub fn folded(numbers: impl IntoIterator<Item = i64>) -> u64 {
    numbers.into_iter().fold(0, next_folded)
}

/// The same, one number at a time, from 0.
pub fn next_folded(so_far: u64, number: i64) -> u64 {
    so_far.wrapping_mul(31).wrapping_add(number as u64)
}
