/// A [`Report`] to be added: without its id, which is generated.
#[allow(dead_code)]
struct NewReport {
    location: Parent<WeatherLocation>,
    temperature: f64,
}
const _: () = {
    use ::shard_runtime::__private as __rt;
    #[allow(unused_imports)]
    use __rt::UncheckedParents as _;
    #[allow(dead_code)]
    impl Report {
        /// The column `id`.
        const ID: __rt::Column<Self, i64, __rt::kind::Fixed> = __rt::Column::new(0);
        /// The column `location_id`.
        const LOCATION: __rt::Column<Self, Parent<WeatherLocation>, __rt::kind::Key> = __rt::Column::new(
            1,
        );
        /// The column `temperature`.
        const TEMPERATURE: __rt::Column<Self, f64> = __rt::Column::new(2);
    }
    #[automatically_derived]
    impl __rt::Identified for Report {
        type RowId = i64;
        type Above = WeatherLocation;
        const LINEAGE: __rt::Lineage = __rt::Lineage::child(
            ::core::module_path!(),
            "Report",
        );
    }
    #[automatically_derived]
    impl<__Above: __rt::ItselfOrAnAncestorHasAShardKey> __rt::Sharded for Report
    where
        for<'a> WeatherLocation: __rt::Identified,
        for<'a> Parent<WeatherLocation>: __rt::ParentLink<Parent = __Above>,
    {
        type Id = i64;
        type Key = <__Above as __rt::Sharded>::Key;
        const TABLE: &'static __rt::Table = &__rt::Table {
            model: "Report",
            name: "weather_reports",
            columns: &[
                __rt::ColumnDef::new("id", __rt::IdColumn::<Self>::COLUMN),
                __rt::ColumnDef::new(
                    "location_id",
                    <Parent<WeatherLocation> as __rt::Storable>::COLUMN,
                ),
                __rt::ColumnDef::new("temperature", <f64 as __rt::Storable>::COLUMN),
            ],
            id: 0,
            id_kind: __rt::IdKind::Auto,
            key: __rt::KeyColumns::Parent(1),
            placement: <__Above as __rt::Sharded>::TABLE.placement,
            parent: ::core::option::Option::Some(__rt::ParentDef {
                table: <__Above as __rt::Sharded>::TABLE,
                column: 1,
            }),
            ..__rt::Table::PLAIN
        };
        #[allow(clippy::misnamed_getters)]
        fn id(&self) -> &i64 {
            &self.id
        }
        fn set_id(&mut self, id: i64) {
            self.id = id;
        }
        fn shard_chooser(&self, shards: &__rt::Shards) -> __rt::Result<usize> {
            <Parent<WeatherLocation> as __rt::ParentLink>::place(&self.location, shards)
        }
        fn identity_chooser(
            _: &i64,
            loaded_from: ::core::option::Option<&__rt::Shard>,
            shards: &__rt::Shards,
        ) -> __rt::Result<__rt::ShardSet> {
            __rt::probe(loaded_from, shards)
        }
        fn execute_chooser(
            predicate: &__rt::Predicate,
            shards: &__rt::Shards,
        ) -> __rt::Result<__rt::ShardSet> {
            __rt::narrow(<Self as __rt::Sharded>::TABLE, predicate, shards)
        }
        fn load(row: &__rt::Row<'_>) -> __rt::Result<Self> {
            ::core::result::Result::Ok(Self {
                id: __rt::IdColumn::<Self>::load(row, 0)?,
                location: <Parent<WeatherLocation> as __rt::Storable>::load(row, 1)?,
                temperature: <f64 as __rt::Storable>::load(row, 2)?,
            })
        }
        fn value_of_column(&self, column: usize) -> __rt::ColumnValue<'_> {
            match column {
                0 => __rt::IdColumn::<Self>::column_value(&self.id),
                1 => {
                    <Parent<
                        WeatherLocation,
                    > as __rt::Storable>::column_value(&self.location)
                }
                2 => <f64 as __rt::Storable>::column_value(&self.temperature),
                _ => __rt::no_column(column),
            }
        }
    }
    #[automatically_derived]
    impl<__Above: __rt::ItselfOrAnAncestorHasAShardKey> __rt::Child for Report
    where
        for<'a> WeatherLocation: __rt::Identified,
        for<'a> Parent<WeatherLocation>: __rt::ParentLink<Parent = __Above>,
    {
        type Parent = __Above;
        const PARENT_COLUMN: usize = 1;
        fn parent_id(&self) -> &<__Above as __rt::Sharded>::Id {
            <Parent<WeatherLocation> as __rt::ParentLink>::parent_id(&self.location)
        }
    }
    impl<__Above: __rt::ItselfOrAnAncestorHasAShardKey> __rt::Insert for NewReport
    where
        for<'a> WeatherLocation: __rt::Identified,
        for<'a> Parent<WeatherLocation>: __rt::ParentLink<Parent = __Above>,
    {
        type Model = Report;
        fn into_model(
            self,
            next_id: &mut dyn ::core::ops::FnMut() -> __rt::Result<i64>,
        ) -> __rt::Result<Report> {
            ::core::result::Result::Ok(Report {
                id: next_id()?,
                location: self.location,
                temperature: self.temperature,
            })
        }
    }
    const _: () = ::core::assert!(
        ::core::matches!(< i64 as __rt::Field > ::TYPE, __rt::ColumnType::Integer), "{}",
        "`#[id(auto)]` generates an integer, such as `i64`: change the field's type, or the kind of id",
    );
    const _: () = ::core::assert!(
        ! __rt::Parents:: < Report > ::ARE_REFERENCE, "{}",
        "a reference table has every row on every shard, so it cannot be a parent: store its id, with `#[references(Model)] field: Id`, and mark a `#[shard_key]` or another `#[shard_parent]`"
    );
    const _: () = ::core::assert!(
        ! __rt::Parents:: < Report > ::ARE_CYCLE, "{}",
        "`Report` is its own ancestor, so that no `#[shard_key]` places it: write a `#[shard_key]` in one model of the cycle, and store its parent's id in a plain field"
    );
};
