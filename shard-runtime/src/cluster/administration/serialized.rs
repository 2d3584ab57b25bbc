//! `serde::Serialize` for the values of administration, behind the feature `serde`.

/// Serialises a struct as a map of the first fields; the fields of the second list are durations, in seconds.
macro_rules! serialized {
    ($type:ident { $($field:ident),* $(,)? } $(and { $($name:ident: $duration:ident),* })?) => {
        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                let names = [$(stringify!($field),)* $($(stringify!($name),)*)?];
                let mut map = serializer.serialize_struct(stringify!($type), names.len())?;
                $(map.serialize_field(stringify!($field), &self.$field)?;)*
                $($(map.serialize_field(stringify!($name), &self.$duration.as_secs_f64())?;)*)?
                map.end()
            }
        }
    };
}
pub(crate) use serialized;

/// Serialises its name: `"Busy"`.
#[cfg(feature = "serde")]
impl serde::Serialize for crate::error::ErrorKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// Serialises a map with the fields `kind`, `message`, `shard` and `table`.
#[cfg(feature = "serde")]
impl serde::Serialize for crate::error::Error {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut map = serializer.serialize_struct("Error", 4)?;
        map.serialize_field("kind", &self.kind())?;
        map.serialize_field("message", &self.to_string())?;
        map.serialize_field("shard", &self.shard())?;
        map.serialize_field("table", &self.table())?;
        map.end()
    }
}
