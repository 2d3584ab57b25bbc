//! Keeps the traits that only this crate implements from being implemented elsewhere.

/// Implemented by the types that this crate lets implement its traits.
pub trait Sealed {}
