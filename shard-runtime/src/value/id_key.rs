//! A value as the key of a hash map.

use std::hash::{Hash, Hasher};

use super::Value;

/// An id as a key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdKey {
    Integer(i64),
    Bytes(Vec<u8>),
}

/// All ids of a map are of one kind, so that the kind is not hashed.
impl Hash for IdKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            IdKey::Integer(integer) => state.write_i64(*integer),
            IdKey::Bytes(bytes) => bytes.hash(state),
        }
    }
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
