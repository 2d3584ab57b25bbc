//! The loader and the binder: row → struct, struct → row, column by column in the struct's order.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use super::item_of;
use crate::model::{Field, Model};

pub(super) fn rows(model: &Model) -> TokenStream {
    let loads = model.fields.iter().enumerate().map(|(place, Field { ident, ty, .. })| {
        let (place, load) = (Literal::usize_unsuffixed(place), item_of(ty, "Storable", "load"));
        quote!(#ident: #load(row, #place)?)
    });
    let version = version(model);
    let binds = model.fields.iter().map(|Field { ident, ty, .. }| {
        let value = item_of(ty, "Storable", "column_value");
        quote!(.push(#value(&self.#ident)))
    });
    let normalized = model.fields.iter().map(|Field { ident, ty, .. }| {
        let normalize = item_of(ty, "Storable", "normalize");
        quote!(#normalize(&mut self.#ident))
    });
    quote! {
        #version
        fn normalize(&mut self) -> ::core::result::Result<(), (usize, __rt::ValueError)> {
            __rt::__private::first_error([#(#normalized),*])
        }
        fn load(row: &__rt::Row<'_>) -> __rt::Result<Self> {
            ::core::result::Result::Ok(Self { #(#loads),* })
        }
        fn bind<'a>(&'a self, binder: &mut __rt::Binder<'a>) -> __rt::Result<()> {
            binder #(#binds)?*.map(|_| ())
        }
    }
}

/// Where the version is, and how it is put in.
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
