//! The three choosers: row → shard, id → shards, predicate → shards.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use super::{place_of, this};
use crate::model::{Field, Home, Model};

pub(super) fn choosers(model: &Model) -> TokenStream {
    let id = &model.id_field().ty;
    let table = quote!(<Self as __rt::Sharded>::TABLE);
    let shard = match &model.home {
        Home::Handle(column) => {
            let Field { ident, ty, .. } = &model.fields[*column];
            let (this, shards) = (this(place_of(ty)), quote!(shards));
            quote_spanned!(place_of(ty)=> __rt::__private::place_with(&#this.#ident, #shards))
        }
        _ => {
            let fields = model.home_columns().iter().map(|column| &model.fields[*column].ident);
            quote!(__rt::__private::place(#table, &[#(__rt::Storable::column_value(&self.#fields)),*], shards))
        }
    };
    let (id_name, loaded_from, identity) = match model.id_is_key() {
        true => (quote!(id), quote!(_), quote!(place_id(#table, id, shards))),
        false => (quote!(_), quote!(loaded_from), quote!(probe(loaded_from, shards))),
    };
    quote! {
        fn shard_chooser(&self, shards: &__rt::Shards) -> __rt::Result<usize> {
            #shard
        }
        fn identity_chooser(
            #id_name: &#id,
            #loaded_from: ::core::option::Option<&__rt::Shard>,
            shards: &__rt::Shards,
        ) -> __rt::Result<__rt::ShardSet> {
            __rt::__private::#identity
        }
        fn execute_chooser(
            predicate: &__rt::Predicate,
            shards: &__rt::Shards,
        ) -> __rt::Result<__rt::ShardSet> {
            __rt::__private::narrow(#table, predicate, shards)
        }
    }
}
