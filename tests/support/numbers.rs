//! Pseudo-random numbers of a seed, which a test prints and can be given again.

/// The seed in `SHARDED_SEED`, or another one for each process. It is printed.
pub fn seed() -> u64 {
    let said = std::env::var("SHARDED_SEED").ok().map(|seed| seed.parse().expect("SHARDED_SEED is a number"));
    let seed = said.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SHARDED_SEED={seed}");
    seed
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
