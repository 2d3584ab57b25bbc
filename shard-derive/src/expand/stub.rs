//! What stands in for code that cannot be made, so that whoever uses the type gets no errors of their own.

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use super::within;
use crate::errors::Errors;
use crate::model::runtime_path;

/// Stands in for a model that is no struct with fields.
pub(crate) fn model(input: &DeriveInput) -> TokenStream {
    let ident = &input.ident;
    let runtime =
        runtime_path(crate::attr::StructAttrs::read(&input.attrs, &mut Errors::default()).runtime.as_ref());
    if !input.generics.params.is_empty() {
        return TokenStream::new(); // its parameters would need bounds that nobody wrote
    }
    let implementations = quote! {
        #[automatically_derived]
        impl __rt::Sharded for #ident {
            type Id = i64;
            type Key = i64;
            const TABLE: &'static __rt::Table = ::core::panic!();
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
            fn bind<'a>(&'a self, _: &mut __rt::Binder<'a>) -> __rt::Result<()> { ::core::panic!() }
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
    within(&runtime, implementations)
}
