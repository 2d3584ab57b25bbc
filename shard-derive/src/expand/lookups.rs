//! The lookups: for each one the table of its entries, which map a value to the name of a shard.

use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;

use super::{first_span, item_of};
use crate::model::Model;

pub(super) fn lookups(model: &Model) -> Option<TokenStream> {
    let name = model.ident.unraw().to_string();
    let lookups: Vec<TokenStream> = model
        .lookups()
        .map(|(index, field)| {
            let (index, table) = (Literal::usize_unsuffixed(index), model.entries_of(field));
            let kind = item_of(&field.ty, "Storable", "TYPE");
            quote! {
                __rt::LookupDef {
                    column: #index,
                    entries: &__rt::Table {
                        model: #name,
                        name: #table,
                        columns: &[__rt::LookupDef::value(#kind), __rt::LookupDef::SHARD],
                        id: 0,
                        id_kind: __rt::IdKind::Given,
                        key: __rt::KeyColumns::Columns(&[0]),
                        placement: __rt::Placement::Hash,
                        ..__rt::Table::PLAIN
                    },
                }
            }
        })
        .collect();
    (!lookups.is_empty()).then(|| quote!(const LOOKUPS: &'static [__rt::LookupDef] = &[#(#lookups),*];))
}

/// Returns the indexes by which a lookup's row is found on its shard.
pub(super) fn indexes(model: &Model) -> impl Iterator<Item = TokenStream> {
    model.lookups().map(|(index, _)| {
        let index = Literal::usize_unsuffixed(index);
        quote!(__rt::Index { columns: &[#index], unique: false })
    })
}

/// Checks that a lookup's values have one form of bytes for equal values: entries are placed by the hash of the bytes.
pub(super) fn assertions(model: &Model) -> impl Iterator<Item = TokenStream> {
    model.lookups().map(|(_, field)| {
        let kind = item_of(&field.ty, "LookupValue", "KIND");
        let message = "a lookup finds its entry by the bytes of the value, and equal values of this type can differ in bytes: \
                       remove `#[lookup]`, or store text, an integer, bytes or a UUID";
        quote_spanned! {first_span(&field.ty)=>
            ::core::assert!(
                ::core::matches!(
                    #kind,
                    __rt::ColumnType::Text
                        | __rt::ColumnType::Integer
                        | __rt::ColumnType::Bytes
                        | __rt::ColumnType::Uuid
                ),
                #message,
            )
        }
    })
}
