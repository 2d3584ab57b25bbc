//! Changes of the layout while the application reads and writes: R49 to R51.

#[allow(dead_code, unused_macros)]
#[macro_use]
#[path = "../suite/backend.rs"]
mod backend;
#[allow(dead_code)]
#[path = "../suite/client.rs"]
mod client;

mod attacks;
mod ids;
mod keys;
mod kinds;
mod load;
mod many_rows;
mod migrations;
mod model;
mod models;
mod mover;
mod old_program;
mod others;
mod power;
mod processes;
mod servers;
mod stopped;
mod stored;
mod system_calls;
