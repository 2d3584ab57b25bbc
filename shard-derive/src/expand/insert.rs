//! The argument of a session's `add`: the struct itself, or `New…` without the generated id.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::Visibility;
use syn::ext::IdentExt;

use super::item_of;
use crate::attr::IdKind;
use crate::model::{Field, Model};

/// Returns the struct `New…`, if the id is generated.
pub(super) fn insert_struct(model: &Model) -> Option<TokenStream> {
    let Model { ident, vis, .. } = model;
    if model.id_kind == IdKind::Given {
        return None;
    }
    let name = name(model);
    let without =
        if model.version.is_some() { "its id and its version, which are" } else { "its id, which is" };
    let doc = format!(" A [`{ident}`] to be added: without {without} generated.");
    let derive = model.attrs.insert.as_ref().and_then(|insert| insert.derives.as_ref());
    let derive = derive.map(|derives| quote!(#[derive(#derives)]));
    let declared = given(model).map(|field| declaration(model, field));
    Some(quote! {
        #[doc = #doc]
        #derive
        #[allow(dead_code)]
        #vis struct #name { #(#declared),* }
    })
}

/// Returns the implementation of `Insert`, which makes a row of the argument.
pub(super) fn insert(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let (above, parent_is_model) = super::relations::parent_is_model(model).unzip();
    if model.id_kind == IdKind::Given {
        let next_id = next_id(model, &quote!(_));
        return quote! {
            impl #above __rt::Insert for #ident #parent_is_model {
                type Model = Self;
                fn into_model(self, #next_id) -> __rt::Result<Self> {
                    ::core::result::Result::Ok(self)
                }
            }
        };
    }
    let name = name(model);
    let id = &model.id_field().ident;
    let next_id = next_id(model, &quote!(next_id));
    let version = model.version.map(|index| {
        let Field { ident, ty, .. } = &model.fields[index];
        let first = item_of(ty, "Version", "FIRST");
        quote!(#ident: #first)
    });
    let taken = given(model).map(|Field { ident, .. }| quote!(#ident: self.#ident)).chain(version);
    quote! {
        impl #above __rt::Insert for #name #parent_is_model {
            type Model = #ident;
            fn into_model(self, #next_id) -> __rt::Result<#ident> {
                ::core::result::Result::Ok(#ident { #id: next_id()?, #(#taken),* })
            }
        }
    }
}

/// Returns the fields whose values the caller gives.
fn given(model: &Model) -> impl Iterator<Item = &Field> {
    let is_given = |index: usize| index != model.id && Some(index) != model.version;
    model.fields.iter().enumerate().filter(move |(index, _)| is_given(*index)).map(|(_, field)| field)
}

fn name(model: &Model) -> Ident {
    let given = model.attrs.insert.as_ref().and_then(|insert| insert.name.clone());
    given.unwrap_or_else(|| format_ident!("New{}", model.ident.unraw(), span = model.ident.span()))
}

/// Returns the field's declaration as in the model. A field that is visible outside gets documentation.
fn declaration(model: &Model, field: &Field) -> TokenStream {
    let Field { ident, vis, ty, docs, .. } = field;
    let hidden = matches!(vis, Visibility::Inherited);
    let doc = (docs.is_empty() && !hidden).then(|| {
        let doc = format!(" As in [`{}`].", model.ident);
        quote!(#[doc = #doc])
    });
    quote!(#(#docs)* #doc #vis #ident: #ty)
}

fn next_id(model: &Model, name: &TokenStream) -> TokenStream {
    let id = &model.id_field().ty;
    quote!(#name: &mut dyn ::core::ops::FnMut() -> __rt::Result<#id>)
}
