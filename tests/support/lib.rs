//! The shared parts of the integration tests, and the list of those that a run has left out.

pub mod disk;
pub mod numbers;
pub mod old_program;
pub mod postgres_server;
pub mod waiting;

/// The examples in the documentation of the derives. A macro's crate cannot depend on the runtime without compiling it a second
/// time.
#[cfg(doctest)]
pub mod derives {
    #[doc = include_str!("../../shard-derive/docs/sharded.md")]
    pub struct Sharded;

    #[doc = include_str!("../../shard-derive/docs/shard_key.md")]
    pub struct ShardKey;

    #[doc = include_str!("../../shard-derive/docs/field.md")]
    pub struct Field;

    #[doc = include_str!("../../shard-derive/docs/projection.md")]
    pub struct Projection;
}

/// The tests that a run has left out. Documentation tests run last, so that this list is at the end of what `cargo test
/// --workspace` prints.
pub mod not_run {
    /// `cargo test --workspace --all-features` runs them, and needs PostgreSQL, PgBouncer and `strace`.
    #[cfg(not(feature = "servers"))]
    pub mod without_all_features {
        /// ```ignore
        /// cargo test --package sharded-tests --all-features
        /// cargo test --package weather --all-features
        /// ```
        pub fn tests_on_servers_and_long_attacks() {}

        /// ```ignore
        /// cargo test --package sharded-ui --all-features
        /// ```
        pub fn most_compile_errors() {}
    }

    /// ```ignore
    /// cargo test --test mutations -- --ignored --nocapture
    /// ```
    pub fn mutations_of_the_library() {}
}
