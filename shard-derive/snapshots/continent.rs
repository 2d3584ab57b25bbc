const _: () = {
    use ::shard_runtime::__private as __rt;
    #[automatically_derived]
    impl __rt::Field for Continent {
        const TYPE: __rt::ColumnType = __rt::ColumnType::Text;
        const IS_EXACT: bool = true;
        fn to_value(&self) -> ::core::result::Result<__rt::Value<'_>, __rt::ValueError> {
            let text = match self {
                Self::NorthAmerica => "NorthAmerica",
                Self::Asia => "Asia",
            };
            ::core::result::Result::Ok(
                __rt::Value::Text(::std::borrow::Cow::Borrowed(text)),
            )
        }
        fn from_value(
            value: __rt::Value<'_>,
        ) -> ::core::result::Result<Self, __rt::ValueError> {
            ::core::result::Result::Ok(
                match &value {
                    __rt::Value::Text(text) if **text == *"NorthAmerica" => {
                        Self::NorthAmerica
                    }
                    __rt::Value::Text(text) if **text == *"Asia" => Self::Asia,
                    other => {
                        return ::core::result::Result::Err(
                            __rt::ValueError::new(
                                ::std::format!("`{other}` is not a value of `Continent`"),
                            ),
                        );
                    }
                },
            )
        }
    }
    #[automatically_derived]
    impl __rt::ShardKey for Continent {
        type Literal = &'static str;
        const SHARDS: ::core::option::Option<
            &'static [(__rt::Constant, &'static str)],
        > = ::core::option::Option::Some(
            &[
                (__rt::Constant::Text("NorthAmerica"), "north_america"),
                (__rt::Constant::Text("Asia"), "asia"),
            ],
        );
    }
};
