//! Changes under load.
