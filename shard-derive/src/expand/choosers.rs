//! The three choosers: of a row's shard, of the shards for an id, and of the shards for a predicate.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use super::{column_item, first_span, item_of, self_at};
use crate::model::{Field, Model, ShardSource};

pub(super) fn choosers(model: &Model) -> TokenStream {
    let id = &model.id_field().ty;
    let table = quote!(<Self as __rt::Sharded>::TABLE);
    let shard = match &model.shard_source {
        ShardSource::Link(column) => {
            let Field { ident, ty, .. } = &model.fields[*column];
            let (this, place) = (self_at(first_span(ty)), item_of(ty, "ParentLink", "place"));
            let shards = quote!(shards);
            quote_spanned!(first_span(ty)=> #place(&#this.#ident, #shards))
        }
        _ => {
            let values = model.shard_columns().iter().map(|column| {
                let Field { ident, .. } = &model.fields[*column];
                let value = column_item(model, *column, "column_value");
                quote!(#value(&self.#ident))
            });
            quote!(__rt::place(#table, &[#(#values),*], shards))
        }
    };
    let (id_name, loaded_from, identity) = match model.id_is_key() {
        true => (quote!(id), quote!(_), quote!(KeyColumn::<Self>::place(id, shards))),
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
            __rt::#identity
        }
        fn execute_chooser(
            predicate: &__rt::Predicate,
            shards: &__rt::Shards,
        ) -> __rt::Result<__rt::ShardSet> {
            __rt::narrow(#table, predicate, shards)
        }
    }
}
