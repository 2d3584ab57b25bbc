//! A value as the key of a hash map.

use super::Value;

/// An id as a key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum IdKey {
    Integer(i64),
    Bytes(Vec<u8>),
}

impl IdKey {
    pub(crate) fn of(id: &Value<'_>) -> Self {
        match id {
            Value::Integer(integer) | Value::Timestamp(integer) => IdKey::Integer(*integer),
            Value::Uuid(uuid) => IdKey::Bytes(uuid.to_vec()),
            Value::Bytes(bytes) => IdKey::Bytes(bytes.to_vec()),
            other => IdKey::Bytes(other.to_string().into_bytes()),
        }
    }
}
