//! Replaces the implementation of a model with errors, so that uses of the type give no further errors.

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use super::in_scope;
use crate::errors::Errors;
use crate::model::runtime_path;

/// Returns an implementation for a type that cannot be a model. It is never run.
pub(crate) fn model(input: &DeriveInput) -> TokenStream {
    let ident = &input.ident;
    let attrs = crate::attr::StructAttrs::read(&input.attrs, &mut Errors::default());
    let runtime = runtime_path(attrs.runtime.as_ref(), ident, &mut Errors::default());
    if !input.generics.params.is_empty() {
        return TokenStream::new(); // the parameters would need bounds
    }
    let implementations = quote! {
        #[automatically_derived]
        impl __rt::Identified for #ident {
            type RowId = i64;
            type Above = Self;
            const LINEAGE: __rt::Lineage = __rt::Lineage::root("", "");
        }
        #[automatically_derived]
        impl __rt::Sharded for #ident {
            type Id = i64;
            type Key = i64;
            const TABLE: &'static __rt::Table = &__rt::Table::PLAIN;
            fn id(&self) -> &i64 { ::core::panic!() }
            fn set_id(&mut self, _: i64) {}
            fn shard_chooser(&self, _: &__rt::Shards) -> __rt::Result<usize> { ::core::panic!() }
            fn identity_chooser(
                _: &i64,
                _: ::core::option::Option<&__rt::Shard>,
                _: &__rt::Shards,
            ) -> __rt::Result<__rt::ShardSet> { ::core::panic!() }
            fn execute_chooser(_: &__rt::Predicate, _: &__rt::Shards) -> __rt::Result<__rt::ShardSet> {
                ::core::panic!()
            }
            fn load(_: &__rt::Row<'_>) -> __rt::Result<Self> { ::core::panic!() }
            fn value_of_column(&self, _: usize) -> ::core::result::Result<__rt::Value<'_>, __rt::ValueError> {
                ::core::panic!()
            }
        }
        #[automatically_derived]
        impl __rt::UniqueId for #ident {}
        #[automatically_derived]
        impl __rt::KnownId for #ident {}
        #[automatically_derived]
        impl __rt::Insert for #ident {
            type Model = Self;
            fn into_model(self, _: &mut dyn ::core::ops::FnMut() -> __rt::Result<i64>) -> __rt::Result<Self> {
                ::core::panic!()
            }
        }
    };
    in_scope(&runtime, implementations)
}
