//! Property tests against one big table.
//!
//! The same rows are put into a cluster and into one plain SQLite table (`oracle`). Random queries must give the same answer on
//! both: rows, in the same order if the query has one, counts, groups and measures, changed and removed rows. The shards that
//! are read must be those that brute force over the key's values finds (`domain`): never too few, and none that cannot hold a
//! match. Queries over several models are compared with the same rows in plain Rust (`children`, `relations`, `families`).
//!
//! The same holds before, in and after changes of the layout (`changes`), in which each moment has its own layout (`layout`).
//!
//! `generated` counts that edge cases are generated often enough.
//!
//! `SHARDED_CASES` is how many cases are run in all (the default is 4,000), and `SHARDED_SEED` the seed of the first.
//! Every case has a seed of its own, which a failure prints together with the command that runs it again.

mod aggregates;
mod asking;
mod changes;
mod children;
mod datum;
mod domain;
mod families;
mod generated;
mod generations;
mod groups;
mod layout;
mod lookups;
mod measures;
mod models;
mod oracle;
mod predicate;
mod reading;
mod relations;
mod runner;
mod strategies;
mod subject;
mod world;
mod writing;

/// One test per model; the numbers are the shares of the cases, in thousandths.
macro_rules! properties {
    ($($name:ident: $model:ident, $reads:literal, $writes:literal;)*) => {
        /// Reads: rows, order, limit, offset, counts, and the shards that are read.
        mod reads {
            $(
                #[test]
                fn $name() {
                    crate::reading::run::<crate::models::$model>(concat!("reads::", stringify!($name)), $reads);
                }
            )*
        }

        /// Bulk updates and deletes: the rows that they affect, and the table that they leave.
        mod writes {
            $(
                #[test]
                fn $name() {
                    crate::writing::run::<crate::models::$model>(concat!("writes::", stringify!($name)), $writes);
                }
            )*
        }
    };
}

properties! {
    enum_key: ByEnum, 55, 18;
    list_of_texts: ByTextList, 60, 18;
    list_of_integers_without_fallback: ByIntegerList, 50, 18;
    hash_of_integers: ByIntegerHash, 65, 18;
    hash_of_texts: ByTextHash, 60, 18;
    range_of_integers: ByIntegerRange, 55, 18;
    range_with_gaps: ByGappedRange, 50, 18;
    range_of_texts: ByTextRange, 60, 18;
    own_function: ByFunction, 55, 18;
    composite_hash: ByBoth, 70, 20;
    bare_parent_id: ByOwner, 40, 18;
}

#[test]
fn children() {
    children::run("children", 100);
}

/// Conditions on parents and children, rows with their parents, and parents with two generations of children.
mod over_generations {
    #[test]
    fn linked_by_handles() {
        crate::relations::handle::run("over_generations::linked_by_handles", 100);
    }

    #[test]
    fn linked_by_bare_ids() {
        crate::relations::bare::run("over_generations::linked_by_bare_ids", 100);
    }
}

/// Nullable lookups and references, collations, versions and computed numbers, with conditions over three generations.
mod families_of_rows {
    use crate::families::{exact, folded};
    use crate::world::{with_servers, worlds};

    #[test]
    fn with_a_collation() {
        let worlds = worlds::<folded::Models>(1);
        folded::run("families_of_rows::with_a_collation", 120, worlds);
    }

    #[test]
    fn on_sqlite() {
        let worlds = worlds::<exact::Models>(1);
        exact::run("families_of_rows::on_sqlite", 60, worlds);
    }

    #[test]
    fn with_servers_beside() {
        let worlds = with_servers::<exact::Models>(1);
        exact::run("families_of_rows::with_servers_beside", 12, worlds);
    }
}

/// Reads and writes before, in and after changes of the layout.
mod over_changes {
    use crate::changes::run;
    use crate::models::*;

    #[test]
    fn enum_key() {
        run::<ByEnum>("over_changes::enum_key", 1);
    }

    #[test]
    fn list_of_texts() {
        run::<ByTextList>("over_changes::list_of_texts", 1);
    }

    #[test]
    fn hash_of_integers() {
        run::<ByIntegerHash>("over_changes::hash_of_integers", 1);
    }

    #[test]
    fn range_with_gaps() {
        run::<ByGappedRange>("over_changes::range_with_gaps", 1);
    }

    #[test]
    fn range_of_texts() {
        run::<ByTextRange>("over_changes::range_of_texts", 1);
    }

    #[test]
    fn own_function() {
        run::<ByFunction>("over_changes::own_function", 1);
    }

    #[test]
    fn composite_hash() {
        run::<ByBoth>("over_changes::composite_hash", 1);
    }

    #[test]
    fn bare_parent_id() {
        run::<ByOwner>("over_changes::bare_parent_id", 1);
    }
}

/// The reads and writes of above on clusters of which some shards, or all, are on a PostgreSQL server.
mod with_servers {
    use crate::models::{ByTextHash, ByTextRange};
    use crate::world::{Kind, with_servers};

    #[test]
    fn reads() {
        let worlds = with_servers::<ByTextRange>(4);
        crate::reading::run_on::<ByTextRange>("with_servers::reads", 4, worlds);
    }

    #[test]
    fn writes() {
        let worlds = with_servers::<ByTextHash>(3);
        crate::writing::run_on::<ByTextHash>("with_servers::writes", 4, worlds);
    }

    #[test]
    fn changes() {
        let kinds = [(Kind::Schemas, 4), (Kind::FilesAndSchemas, 4)];
        crate::changes::run_on::<ByTextHash>("with_servers::changes", 1, &kinds);
    }
}
