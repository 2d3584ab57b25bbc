//! The loader and the binder: row → struct, struct → row, column by column in the struct's order.

use proc_macro2::{Literal, TokenStream};
use quote::quote;

use crate::model::{Field, Model};

pub(super) fn rows(model: &Model) -> TokenStream {
    let loads = model.fields.iter().enumerate().map(|(place, Field { ident, .. })| {
        let place = Literal::usize_unsuffixed(place);
        quote!(#ident: row.get(#place)?)
    });
    let binds = model.fields.iter().map(|Field { ident, .. }| quote!(.push(&self.#ident)?));
    quote! {
        fn load(row: &__rt::Row<'_>) -> __rt::Result<Self> {
            ::core::result::Result::Ok(Self { #(#loads),* })
        }
        fn bind<'a>(&'a self, binder: &mut __rt::Binder<'a>) -> __rt::Result<()> {
            binder #(#binds)*;
            ::core::result::Result::Ok(())
        }
    }
}
