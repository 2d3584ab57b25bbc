//! The loader (row to struct) and the values of the columns (struct to row), in the struct's order.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::{column_item, item_of};
use crate::model::{Field, Model};

pub(super) fn rows(model: &Model) -> TokenStream {
    let loads = model.fields.iter().enumerate().map(|(place, Field { ident, .. })| {
        let load = column_item(model, place, "load");
        let place = Literal::usize_unsuffixed(place);
        quote!(#ident: #load(row, #place)?)
    });
    let version = version(model);
    let values = model.fields.iter().enumerate().map(|(place, Field { ident, .. })| {
        let value = column_item(model, place, "column_value");
        let place = Literal::usize_unsuffixed(place);
        quote!(#place => #value(&self.#ident))
    });
    quote! {
        #version
        fn load(row: &__rt::Row<'_>) -> __rt::Result<Self> {
            ::core::result::Result::Ok(Self { #(#loads),* })
        }
        fn value_of_column(&self, column: usize) -> __rt::__private::ColumnValue<'_> {
            match column {
                #(#values,)*
                _ => __rt::__private::no_column(column),
            }
        }
    }
}

/// Returns the version's index, and the method that sets it.
fn version(model: &Model) -> Option<TokenStream> {
    let place = model.version?;
    let Field { ident, ty, .. } = &model.fields[place];
    let (place, range) = (Literal::usize_unsuffixed(place), item_of(ty, "Version", "RANGE"));
    let of_number = item_of(ty, "Version", "of_number");
    Some(quote! {
        const VERSION: ::core::option::Option<(usize, __rt::Holds)> =
            ::core::option::Option::Some((#place, #range));
        fn set_version(&mut self, version: i64) -> ::core::result::Result<(), __rt::ValueError> {
            self.#ident = #of_number(version)?;
            ::core::result::Result::Ok(())
        }
    })
}
