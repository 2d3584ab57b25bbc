//! A tuple of 32 models, and more in nested tuples; values by reference and of narrower types; filters by methods.

use shard_runtime::{Cluster, Filter, Routed, Sharded};

macro_rules! models {
    ($($model:ident)*) => {$(
        #[derive(Sharded)]
        struct $model {
            #[id]
            #[shard_key(hash)]
            id: i64,
            title: Option<String>,
            share: f64,
        }
    )*};
}
models! {
    M0 M1 M2 M3 M4 M5 M6 M7 M8 M9 M10 M11 M12 M13 M14 M15 M16 M17 M18 M19 M20 M21 M22 M23 M24 M25 M26 M27 M28 M29 M30 M31
}

type Many = (
    M0, M1, M2, M3, M4, M5, M6, M7, M8, M9, M10, M11, M12, M13, M14, M15, M16, M17, M18, M19, M20, M21, M22, M23, M24, M25, M26, M27, M28, M29, M30, M31,
);

fn main() {
    let cluster = Cluster::in_memory::<Many>(["a", "b"]).unwrap();
    Cluster::in_memory::<((M0, M1), (M2,), M3)>(["a"]).unwrap();
    let ids = vec![1_i64, 2];
    let titles: Vec<String> = vec!["a".into()];
    let filter: Filter<M31, Routed> = M31::ID
        .is_in(&ids)
        .and(M31::TITLE.is_in(&titles).or(M31::TITLE.is_in(["b"])))
        .and(M31::SHARE.gt(0.5_f32).not())
        .and(M31::TITLE.is_not_null());
    let found = cluster.transaction(|session| Ok(session.all(M31::select().filter(filter.clone()))?.len()));
    assert_eq!(found.unwrap(), 0);
}
