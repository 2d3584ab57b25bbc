/// A [`WeatherLocation`] to be added: without its id, which is generated.
#[allow(dead_code)]
struct NewWeatherLocation {
    continent: Continent,
    city: String,
}
const _: () = {
    use ::shard_runtime as __rt;
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
    impl __rt::Sharded for WeatherLocation {
        type Id = i64;
        type Key = Continent;
        const TABLE: &'static __rt::Table = &__rt::Table {
            model: "WeatherLocation",
            name: "weather_locations",
            columns: &[
                __rt::ColumnDef::new("id", <i64 as __rt::Storable>::COLUMN),
                __rt::ColumnDef::new("continent", <Continent as __rt::Storable>::COLUMN),
                __rt::ColumnDef::new("city", <String as __rt::Storable>::COLUMN),
            ],
            id: 0,
            id_kind: __rt::IdKind::Sequence,
            key: __rt::KeyColumns::Columns(&[1]),
            placement: __rt::Placement::List {
                entries: <Continent as __rt::PlacedKey>::ENTRIES,
                otherwise: ::core::option::Option::None,
            },
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
            __rt::__private::place(
                <Self as __rt::Sharded>::TABLE,
                &[__rt::Storable::column_value(&self.continent)],
                shards,
            )
        }
        fn identity_chooser(
            _: &i64,
            loaded_from: ::core::option::Option<&__rt::Shard>,
            shards: &__rt::Shards,
        ) -> __rt::Result<__rt::ShardSet> {
            __rt::__private::probe(loaded_from, shards)
        }
        fn execute_chooser(
            predicate: &__rt::Predicate,
            shards: &__rt::Shards,
        ) -> __rt::Result<__rt::ShardSet> {
            __rt::__private::narrow(<Self as __rt::Sharded>::TABLE, predicate, shards)
        }
        fn normalize(
            &mut self,
        ) -> ::core::result::Result<(), (usize, __rt::ValueError)> {
            __rt::__private::first_error([
                <i64 as __rt::Storable>::normalize(&mut self.id),
                <Continent as __rt::Storable>::normalize(&mut self.continent),
                <String as __rt::Storable>::normalize(&mut self.city),
            ])
        }
        fn load(row: &__rt::Row<'_>) -> __rt::Result<Self> {
            ::core::result::Result::Ok(Self {
                id: <i64 as __rt::Storable>::load(row, 0)?,
                continent: <Continent as __rt::Storable>::load(row, 1)?,
                city: <String as __rt::Storable>::load(row, 2)?,
            })
        }
        fn bind<'a>(&'a self, binder: &mut __rt::Binder<'a>) -> __rt::Result<()> {
            binder
                .push(<i64 as __rt::Storable>::column_value(&self.id))?
                .push(<Continent as __rt::Storable>::column_value(&self.continent))?
                .push(<String as __rt::Storable>::column_value(&self.city))
                .map(|_| ())
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
        ::core::matches!(< i64 as __rt::Field > ::TYPE, __rt::ColumnType::Integer), "{}",
        "`#[id(sequence)]` gives an integer, such as `i64`: change the field's type, or the kind of id",
    );
};
