const _: () = {
    use ::shard_runtime::__private as __rt;
    #[automatically_derived]
    impl __rt::Projection for Place {
        type Model = WeatherLocation;
        const INDEXES: &'static [usize] = &[
            __rt::column_index::<WeatherLocation, _, _>(<WeatherLocation>::ID),
            __rt::column_index::<WeatherLocation, _, _>(<WeatherLocation>::CITY),
        ];
        fn read(row: &__rt::Row<'_>, first: usize) -> __rt::Result<Self> {
            ::core::result::Result::Ok(Self {
                id: __rt::read_column::<
                    i64,
                    WeatherLocation,
                    _,
                    _,
                >(<WeatherLocation>::ID, row, first, 0)?,
                name: __rt::read_column::<
                    String,
                    WeatherLocation,
                    _,
                    _,
                >(<WeatherLocation>::CITY, row, first, 1)?,
            })
        }
    }
};
