//! The loader (row to struct) and the values of the columns (struct to row), in the struct's order.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::{column_item, item_of};
use crate::model::{Field, Model};

pub(super) fn rows(model: &Model) -> TokenStream {
    let loads = model.fields.iter().enumerate().map(|(index, Field { ident, .. })| {
        let load = column_item(model, index, "load");
        let index = Literal::usize_unsuffixed(index);
        quote!(#ident: #load(row, #index)?)
    });
    let version = version(model);
    let values = model.fields.iter().enumerate().map(|(index, Field { ident, .. })| {
        let value = column_item(model, index, "column_value");
        let index = Literal::usize_unsuffixed(index);
        quote!(#index => #value(&self.#ident))
    });
    quote! {
        #version
        fn load(row: &__rt::Row<'_>) -> __rt::Result<Self> {
            ::core::result::Result::Ok(Self { #(#loads),* })
        }
        fn value_of_column(&self, column: usize) -> __rt::ColumnValue<'_> {
            match column {
                #(#values,)*
                _ => __rt::no_column(column),
            }
        }
    }
}

/// Returns the version's index, and the method that sets it.
fn version(model: &Model) -> Option<TokenStream> {
    let index = model.version?;
    let Field { ident, ty, .. } = &model.fields[index];
    let (index, range) = (Literal::usize_unsuffixed(index), item_of(ty, "Version", "RANGE"));
    let of_number = item_of(ty, "Version", "of_number");
    Some(quote! {
        const VERSION: ::core::option::Option<(usize, __rt::Holds)> =
            ::core::option::Option::Some((#index, #range));
        fn set_version(&mut self, version: i64) -> ::core::result::Result<(), __rt::ValueError> {
            self.#ident = #of_number(version)?;
            ::core::result::Result::Ok(())
        }
    })
}
