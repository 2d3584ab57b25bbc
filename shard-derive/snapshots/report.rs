/// A [`Report`] to be added: without its id, which is generated.
#[allow(dead_code)]
struct NewReport {
    location: Parent<WeatherLocation>,
    temperature: f64,
}
const _: () = {
    use ::shard_runtime as __rt;
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
    impl __rt::Sharded for Report
    where
        for<'a> WeatherLocation: __rt::__private::ItselfOrAnAncestorHasAShardKey,
    {
        type Id = i64;
        type Key = <<Self as __rt::Child>::Parent as __rt::Sharded>::Key;
        const TABLE: &'static __rt::Table = &__rt::Table {
            model: "Report",
            name: "weather_reports",
            columns: &[
                __rt::ColumnDef::new("id", __rt::IdColumn::<Self>::COLUMN),
                __rt::ColumnDef::new(
                    "location_id",
                    <Parent<WeatherLocation> as __rt::ParentLink>::COLUMN,
                ),
                __rt::ColumnDef::new("temperature", <f64 as __rt::Storable>::COLUMN),
            ],
            id: 0,
            id_kind: __rt::IdKind::Auto,
            key: __rt::KeyColumns::Parent(1),
            placement: <<Self as __rt::Child>::Parent as __rt::Sharded>::TABLE.placement,
            parent: ::core::option::Option::Some(__rt::ParentDef {
                table: <<Self as __rt::Child>::Parent as __rt::Sharded>::TABLE,
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
            __rt::__private::probe(loaded_from, shards)
        }
        fn execute_chooser(
            predicate: &__rt::Predicate,
            shards: &__rt::Shards,
        ) -> __rt::Result<__rt::ShardSet> {
            __rt::__private::narrow(<Self as __rt::Sharded>::TABLE, predicate, shards)
        }
        fn load(row: &__rt::Row<'_>) -> __rt::Result<Self> {
            ::core::result::Result::Ok(Self {
                id: __rt::IdColumn::<Self>::load(row, 0)?,
                location: <Parent<WeatherLocation> as __rt::ParentLink>::load(row, 1)?,
                temperature: <f64 as __rt::Storable>::load(row, 2)?,
            })
        }
        fn value_of_column(
            &self,
            column: usize,
        ) -> ::core::result::Result<__rt::Value<'_>, __rt::ValueError> {
            match column {
                0 => __rt::IdColumn::<Self>::column_value(&self.id),
                1 => {
                    <Parent<
                        WeatherLocation,
                    > as __rt::ParentLink>::column_value(&self.location)
                }
                2 => <f64 as __rt::Storable>::column_value(&self.temperature),
                _ => __rt::__private::no_column(column),
            }
        }
    }
    #[allow(dead_code)]
    struct Checked(
        __rt::__private::CheckedLink<
            __rt::__private::DecidingParent<WeatherLocation>,
            Parent<WeatherLocation>,
        >,
    );
    #[automatically_derived]
    impl __rt::Child for Report
    where
        for<'a> WeatherLocation: __rt::__private::ItselfOrAnAncestorHasAShardKey,
    {
        type Parent = <Parent<WeatherLocation> as __rt::ParentLink>::Parent;
        const PARENT_COLUMN: usize = 1;
        fn parent_id(&self) -> &<<Self as __rt::Child>::Parent as __rt::Sharded>::Id {
            <Parent<WeatherLocation> as __rt::ParentLink>::parent_id(&self.location)
        }
    }
    impl __rt::Insert for NewReport
    where
        for<'a> WeatherLocation: __rt::__private::ItselfOrAnAncestorHasAShardKey,
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
};
