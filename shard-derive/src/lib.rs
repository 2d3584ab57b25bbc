//! The derives of Sharded: choosers, loaders and typed columns, generated at compile time.
//!
//! Depend on `shard-runtime`, which exports the derives with the traits that they implement. This page lists the attributes;
//! the documentation of the runtime explains them.
//!
//! The generated code is data and methods of one line; longer code is in the runtime. The folder `snapshots/` beside the
//! sources of this crate shows the code of two models. The compiler checks whether a field's type can be stored, or can be a
//! key. So aliases, newtypes and types of your own work as the built-in types do.
//!
//! The folder `docs/` has the documentation of the derives. The package `tests` compiles its examples.

mod attr;
mod check;
mod errors;
mod expand;
mod manifest;
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

// Examples are run by the tests: see `doctest` in Cargo.toml.
#[cfg_attr(not(doctest), doc = include_str!("../docs/sharded.md"))]
#[proc_macro_derive(Sharded, attributes(sharded, shard_key, shard_parent, version, lookup, references, id))]
pub fn derive_sharded(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    sharded(input.into()).into()
}

#[cfg_attr(not(doctest), doc = include_str!("../docs/shard_key.md"))]
#[proc_macro_derive(ShardKey, attributes(sharded, shard))]
pub fn derive_shard_key(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    value(input.into(), Role::ShardKey).into()
}

#[cfg_attr(not(doctest), doc = include_str!("../docs/field.md"))]
#[proc_macro_derive(Field, attributes(sharded, field))]
pub fn derive_field(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    value(input.into(), Role::Field).into()
}

#[cfg_attr(not(doctest), doc = include_str!("../docs/projection.md"))]
#[proc_macro_derive(Projection, attributes(sharded))]
pub fn derive_projection(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    projection(input.into()).into()
}

/// `#[derive(Sharded)]` on `proc_macro2` tokens, for tests.
fn sharded(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let Some(input) = errors.keep(syn::parse2::<DeriveInput>(input)) else { return errors.into_tokens() };
    let code = match Model::read(&input, &mut errors) {
        Some(mut model) => {
            check::check(&model, &mut errors);
            model.is_valid = errors.is_empty();
            if model.can_be_expanded() { expand::model(&model) } else { expand::stub::model(&input) }
        }
        None => expand::stub::model(&input),
    };
    [errors.into_tokens(), code].into_iter().collect()
}

/// `#[derive(Projection)]` on `proc_macro2` tokens, for tests.
fn projection(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let Some(input) = errors.keep(syn::parse2::<DeriveInput>(input)) else { return errors.into_tokens() };
    let code = Projection::read(&input, &mut errors).as_ref().map(expand::projection);
    [errors.into_tokens(), code.unwrap_or_default()].into_iter().collect()
}

/// `#[derive(ShardKey)]` and `#[derive(Field)]` on `proc_macro2` tokens, for tests.
fn value(input: TokenStream, role: Role) -> TokenStream {
    let mut errors = Errors::default();
    let Some(input) = errors.keep(syn::parse2::<DeriveInput>(input)) else { return errors.into_tokens() };
    let code = ValueType::read(&input, role, &mut errors).as_ref().map(expand::value);
    [errors.into_tokens(), code.unwrap_or_default()].into_iter().collect()
}
