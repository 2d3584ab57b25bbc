//! The derives of Sharded: choosers, loaders, binders and typed columns, generated at compile time.
//!
//! Depend on `shard-runtime`, which exports them beside the traits that they implement. Here is what can be
//! written; the runtime's documentation says what it is for.
//!
//! What is generated is data and one-line methods; `snapshots/` beside this crate's sources shows it in full
//! for two models. Whatever has a body lives in the runtime. Types are never looked at by their names:
//! whether a field can be stored, can be a key, or is a parent's link is asked of the compiler, so that your
//! own types, aliases and newtypes work as the built-in ones do.

mod attr;
mod check;
mod errors;
mod expand;
mod model;
mod projection;
#[cfg(test)]
mod tests;
mod value;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use errors::Errors;
use model::Model;
use projection::Projection;
use value::{Role, ValueType};

/// Makes a struct with named fields a model: its rows are spread over shards.
///
/// ```
/// use shard_runtime::{Parent, ShardKey, Sharded};
/// # #[derive(ShardKey)]
/// # enum Continent { #[shard("asia")] Asia }
/// # #[derive(Sharded)]
/// # struct WeatherLocation { #[id(sequence)] id: i64, #[shard_key] continent: Continent }
///
/// #[derive(Sharded)]
/// #[sharded(table = "weather_reports", index(temperature))]
/// struct Report {
///     #[id(auto)]
///     id: i64,
///     #[shard_parent]
///     location: Parent<WeatherLocation>,
///     temperature: f64,
/// }
/// ```
///
/// # The roles of fields
///
/// A model has one `#[id]`, and either a `#[shard_key]` or a `#[shard_parent]`, which decides where a row lives; or it is
/// a `reference` table.
///
/// | attribute | meaning |
/// |---|---|
/// | `#[id]` | The id, given by you. Rows are added as they are. |
/// | `#[id(sequence)]` | Handed out in blocks by the cluster: unique over the cluster. An integer. |
/// | `#[id(uuid)]` | A UUID of version 7: unique over the cluster. |
/// | `#[id(auto)]` | The database's counter: unique within one shard only. An integer. |
/// | `#[shard_key]` | The key, of a type that says where its values live: an enum with [`ShardKey`]. |
/// | `#[shard_key(hash)]` | Placed by PostgreSQL's partition hash: integers, text, bytes, UUIDs. |
/// | `#[shard_key(range("a" => ..10, "b" => 10..))]` | Placed by range: see below. |
/// | `#[shard_key(list("Asia" => "asia"))]` | Placed by a list of values: see below. |
/// | `#[shard_key(with = path::to::chooser)]` | Placed by your function: see below. |
/// | `#[shard_parent]` on a `Parent<P>` | The row lives where its parent lives. The column is `<field>_id`. |
/// | `#[shard_parent(Company)]` on a bare id | The same, where the parent's id is its key. |
/// | `#[version]` on an `i64`, `i32`, `u64`, `u32` | Starts at 1 and is raised by every update; a row that somebody else has changed is then an error, not overwritten. |
/// | `#[references(Currency)]` on an id of `Currency`, or an `Option` of one | Refers to a row of the reference table, which every shard holds; the databases see to it that it is there. See `Reference`. |
/// | `#[lookup]` on text, an integer, bytes, a UUID, or an `Option` of one | Unique over the cluster, and a filter on it is routed: a table of the runtime's own maps the value to the shard. |
///
/// `#[id]` and `#[shard_key(..)]` may stand on one field: the id is the key, and one shard is asked for it.
/// So may `#[id]` and `#[shard_parent(Company)]`: one row for each parent.
///
/// **Ranges** are inclusive below and exclusive above, and stand in ascending order. A bound is any constant
/// expression of the key's type. Together they hold every key; where that is not meant, the last item says so:
/// `range("a" => 0..10, "b" => 20..30, gaps)`. Gaps, overlaps and empty ranges do not compile.
///
/// **Lists** hold text or integers, each once. A key that is not listed is an error when a row is added,
/// unless a fallback is declared: `list("Asia" => "asia", _ => "elsewhere")`.
///
/// **Your function** takes the key (or each of its fields) by reference, text as `&str`, then the shards, and
/// answers with one of them, or with `None` where the key is placed nowhere. It must depend on nothing else:
///
/// ```
/// use shard_runtime::{Shard, Sharded, Shards};
///
/// #[derive(Sharded)]
/// struct Team {
///     #[id]
///     #[shard_key(with = by_length)]
///     name: String,
/// }
///
/// fn by_length<'s>(name: &str, shards: &'s Shards) -> Option<&'s Shard> {
///     shards.by_index(name.len() % shards.len())
/// }
/// ```
///
/// **Several fields together** are one key where the struct says so: mark each `#[shard_key]`, and write
/// `#[sharded(shard_key(hash))]` or `#[sharded(shard_key(with = path))]` on the struct.
///
/// # Settings of the struct
///
/// They stand in `#[sharded(..)]`, in one attribute or several.
///
/// | setting | meaning |
/// |---|---|
/// | `table = "weather_reports"` | The table's name. Without it, the struct's name in snake case. |
/// | `index(city, name)` | An index over these fields. (A parent's column has one anyway.) |
/// | `unique(continent, city)` | A unique index. It contains what decides the shard: only so it holds over the cluster. (In a reference table, which is whole on every shard, any fields.) |
/// | `insert(name = AddReport, derive(Clone, Debug))` | The name of the insert struct, and its derives. |
/// | `reference` | The rows live whole on every shard, so that there is neither a key nor a parent: read from one, written on all. Not with `#[id(auto)]`. See `Reference`. |
/// | `shard_key(hash)`, `shard_key(with = path)` | How the fields marked `#[shard_key]` are placed together. |
/// | `crate = some::path` | The path of the runtime, where it is not `::shard_runtime`. |
///
/// And of a field:
///
/// | setting | meaning |
/// |---|---|
/// | `column = "name"` | Its column's name, where it is not the field's. |
/// | `collate = nocase` | Its texts are compared without regard to the case of `A` to `Z`, in everything; without it, byte by byte. Not for an id, a key or a parent's link. See `Collation`. |
///
/// # What is generated
///
/// - An implementation of `Sharded`: the table, the three choosers, the loader and the binder.
/// - For each field a constant of its name in capitals, seen where the field is seen: the column, from which
///   filters, orders and assignments are made. For a key of several fields also `SHARD_KEY`.
/// - `New…` with every field but the id, where the id is generated: what a session adds.
/// - `Child`, `UniqueId`, `IdIsKey` and `Reference`, where they hold.
///
/// # Not supported
///
/// Type parameters (a table's columns have one type), borrowed fields (rows are owned), tuple structs, enums
/// and unions. Names that a database keeps for itself (`rowid`, `ctid`, …), that are longer than 63 bytes, or
/// that differ by case alone are refused.
#[proc_macro_derive(Sharded, attributes(sharded, shard_key, shard_parent, version, lookup, references, id))]
pub fn derive_sharded(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    sharded(input.into()).into()
}

/// Makes an enum without data, or a newtype, a shard key. It is a column's type then, too.
///
/// An enum names the shard of each of its values, or of none. Many variants may share a shard. The value is stored as text:
/// the variant's name, or what `text` says. An enum that names shards is the key of a model with a plain `#[shard_key]`, and
/// no other placement of it compiles. An enum without shards (`#[shard(text = "..")]` at most) is placed by the model, as
/// with `#[shard_key(hash)]`.
///
/// ```
/// use shard_runtime::ShardKey;
///
/// #[derive(ShardKey, Clone, Copy)]
/// enum Continent {
///     #[shard("america", text = "North America")]
///     NorthAmerica,
///     #[shard("america", text = "South America")]
///     SouthAmerica,
///     #[shard("asia")]
///     Asia,
/// }
/// ```
///
/// A newtype is stored, hashed and listed as what it holds. It is made from that by `From`.
///
/// ```
/// # use shard_runtime::ShardKey;
/// #[derive(ShardKey, Clone, Debug, PartialEq)]
/// struct TenantId(i64);
/// ```
///
/// `#[sharded(crate = some::path)]` names the runtime, where it is not `::shard_runtime`.
#[proc_macro_derive(ShardKey, attributes(sharded, shard))]
pub fn derive_shard_key(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    value(input.into(), Role::ShardKey).into()
}

/// Makes an enum without data, or a newtype, a column's type.
///
/// An enum is stored as text: the variant's name, or what `#[field("..")]` says. A newtype is stored as what it
/// holds.
///
/// ```
/// use shard_runtime::Field;
///
/// #[derive(Field)]
/// enum Sky {
///     Clear,
///     #[field("partly cloudy")]
///     PartlyCloudy,
/// }
///
/// #[derive(Field)]
/// struct Celsius(f64);
/// ```
///
/// `#[sharded(crate = some::path)]` names the runtime, where it is not `::shard_runtime`.
#[proc_macro_derive(Field, attributes(sharded, field))]
pub fn derive_field(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    value(input.into(), Role::Field).into()
}

/// Makes a struct with named fields a selection of a model's columns: `City::select().columns(CityName::COLUMNS)`.
///
/// Each field is the column of the model's field of the same name, and of the same type; one that the model does not
/// have, or has with another type, does not compile. A field that is called otherwise says which it is, without
/// quotes: `#[sharded(column = name)]` names the model's field, whatever its column is called.
///
/// ```
/// use shard_runtime::{Projection, Sharded};
///
/// #[derive(Sharded)]
/// struct City {
///     #[id(sequence)]
///     id: i64,
///     #[shard_key(hash)]
///     country: String,
///     name: String,
///     population: Option<i64>,
/// }
///
/// #[derive(Projection)]
/// #[sharded(model = City)]
/// struct Place {
///     name: String,
///     #[sharded(column = population)]
///     inhabitants: Option<i64>,
/// }
///
/// let places = City::select().all_shards().columns(Place::COLUMNS);
/// ```
///
/// `#[sharded(crate = some::path)]` names the runtime, where it is not `::shard_runtime`. Type parameters and borrowed
/// fields are not supported: a column has one type, and what is read is owned.
#[proc_macro_derive(Projection, attributes(sharded))]
pub fn derive_projection(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    projection(input.into()).into()
}

/// `#[derive(Sharded)]`, testable.
fn sharded(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let Some(input) = errors.keep(syn::parse2::<DeriveInput>(input)) else { return errors.into_tokens() };
    let code = match Model::read(&input, &mut errors) {
        Some(mut model) => {
            check::check(&model, &mut errors);
            model.sound = errors.is_empty();
            if model.can_be_expanded() { expand::model(&model) } else { expand::stub::model(&input) }
        }
        None => expand::stub::model(&input),
    };
    [errors.into_tokens(), code].into_iter().collect()
}

/// `#[derive(Projection)]`, testable.
fn projection(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let Some(input) = errors.keep(syn::parse2::<DeriveInput>(input)) else { return errors.into_tokens() };
    let code = Projection::read(&input, &mut errors).as_ref().map(expand::projection);
    [errors.into_tokens(), code.unwrap_or_default()].into_iter().collect()
}

/// `#[derive(ShardKey)]` and `#[derive(Field)]`, testable.
fn value(input: TokenStream, role: Role) -> TokenStream {
    let mut errors = Errors::default();
    let Some(input) = errors.keep(syn::parse2::<DeriveInput>(input)) else { return errors.into_tokens() };
    let code = ValueType::read(&input, role, &mut errors).as_ref().map(expand::value);
    [errors.into_tokens(), code.unwrap_or_default()].into_iter().collect()
}
