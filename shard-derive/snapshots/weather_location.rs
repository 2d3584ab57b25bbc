/// A [`WeatherLocation`] to be added: without its id, which is generated.
#[allow(dead_code)]
struct NewWeatherLocation {
    continent: Continent,
    city: String,
}
const _: () = {
    use ::shard_runtime::__private as __rt;
    #[allow(dead_code)]
    impl WeatherLocation {
        /// The column `id`.
        const ID: __rt::Column<Self, i64, __rt::kind::Fixed> = __rt::Column::new(0);
        /// The column `continent`.
        const CONTINENT: __rt::Column<Self, Continent, __rt::kind::Key> = __rt::Column::new(
            1,
        );
        /// The column `city`.
        const CITY: __rt::Column<Self, String> = __rt::Column::new(2);
    }
    #[automatically_derived]
    impl __rt::Identified for WeatherLocation {
        type RowId = i64;
        type Above = Self;
        const LINEAGE: __rt::Lineage = __rt::Lineage::root(
            ::core::module_path!(),
            "WeatherLocation",
        );
    }
    #[automatically_derived]
    impl __rt::Sharded for WeatherLocation {
        type Id = i64;
        type Key = Continent;
        const TABLE: &'static __rt::Table = &__rt::Table {
            model: "WeatherLocation",
            name: "weather_locations",
            columns: &[
                __rt::ColumnDef::new("id", __rt::IdColumn::<Self>::COLUMN),
                __rt::ColumnDef::new("continent", __rt::KeyColumn::<Self>::COLUMN),
                __rt::ColumnDef::new("city", <String as __rt::Storable>::COLUMN),
            ],
            id: 0,
            id_kind: __rt::IdKind::Sequence,
            key: __rt::KeyColumns::Columns(&[1]),
            placement: __rt::KeyColumn::<Self>::PLACEMENT,
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
            __rt::place(
                <Self as __rt::Sharded>::TABLE,
                &[__rt::KeyColumn::<Self>::column_value(&self.continent)],
                shards,
            )
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
                continent: __rt::KeyColumn::<Self>::load(row, 1)?,
                city: <String as __rt::Storable>::load(row, 2)?,
            })
        }
        fn value_of_column(&self, column: usize) -> __rt::ColumnValue<'_> {
            match column {
                0 => __rt::IdColumn::<Self>::column_value(&self.id),
                1 => __rt::KeyColumn::<Self>::column_value(&self.continent),
                2 => <String as __rt::Storable>::column_value(&self.city),
                _ => __rt::no_column(column),
            }
        }
    }
    impl __rt::UniqueId for WeatherLocation {}
    impl __rt::SequenceId for WeatherLocation {}
    impl __rt::Insert for NewWeatherLocation {
        type Model = WeatherLocation;
        fn into_model(
            self,
            next_id: &mut dyn ::core::ops::FnMut() -> __rt::Result<i64>,
        ) -> __rt::Result<WeatherLocation> {
            ::core::result::Result::Ok(WeatherLocation {
                id: next_id()?,
                continent: self.continent,
                city: self.city,
            })
        }
    }
    const _: () = ::core::assert!(
        ::core::matches!(__rt::IdColumn:: < WeatherLocation > ::TYPE,
        __rt::ColumnType::Integer), "{}",
        "`#[id(sequence)]` generates an integer, such as `i64`: change the field's type, or the kind of id",
    );
    const _: () = ::core::assert!(
        __rt::KeyColumn:: < WeatherLocation > ::names_shards(0), "{}",
        "`Continent` does not name the shards of its values: place them with `#[shard_key(hash)]`, `#[shard_key(range(\"a\" => ..1000, \"b\" => 1000..))]`, `#[shard_key(list(\"Asia\" => \"asia\", ..))]` or `#[shard_key(with = path::to::chooser)]`; or write `#[shard(\"name\")]` on each variant of an enum with `#[derive(ShardKey)]`"
    );
};
