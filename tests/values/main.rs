//! Values at the edges of their types. A value that can be stored can be read, is the same on every database, and is the one
//! that `add` has returned (R43, R58). And the state of a call, which ends with the call, also by a panic (R57).

#[allow(dead_code)]
#[path = "../suite/client.rs"]
mod client;

#[allow(dead_code, unused_macros)]
#[macro_use]
#[path = "../suite/backend.rs"]
mod backend;

mod carried;
#[macro_use]
mod edges;
mod matrix;
mod panics;
mod random;
mod refused;
