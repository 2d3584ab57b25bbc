//! The traits that describe a model's relations and its id: `Child`, `IdIsKey`, `UniqueId`, `KnownId`, `SequenceId` and
//! `Reference`.

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Type;

use super::{column_item, end_spans, first_span, item_of, self_at};
use crate::attr::IdKind;
use crate::model::{Field, Model, ShardSource, argument_of};

pub(super) fn relations(model: &Model) -> TokenStream {
    let (ident, parent_is_model) = (&model.ident, parent_is_model(model));
    let child = child(model);
    let unique_id = (model.id_kind != IdKind::Auto).then(|| {
        quote! {
            impl __rt::UniqueId for #ident #parent_is_model {}
        }
    });
    let id_is_key = model.id_is_key().then(|| {
        quote! {
            impl __rt::IdIsKey for #ident #parent_is_model {}
        }
    });
    let known_id = matches!(model.id_kind, IdKind::Given | IdKind::Uuid).then(|| {
        quote! {
            impl __rt::KnownId for #ident #parent_is_model {}
        }
    });
    let sequence_id = (model.id_kind == IdKind::Sequence).then(|| {
        quote! {
            impl __rt::SequenceId for #ident #parent_is_model {}
        }
    });
    let reference = matches!(model.shard_source, ShardSource::Everywhere).then(|| {
        quote! {
            impl __rt::Reference for #ident {}
        }
    });
    quote! { #child #unique_id #id_is_key #known_id #sequence_id #reference }
}

/// Returns the condition that the parent is a model, for each implementation of a child.
///
/// The type of the field requires it already, and is an error without it. Under the condition the rest of the code is right,
/// so that there is no second error. A condition without type parameters is an error where it does not hold, except under
/// `for<'a>`.
pub(super) fn parent_is_model(model: &Model) -> Option<TokenStream> {
    let (_, parent) = link(model)?;
    Some(quote!(where for<'a> #parent: __rt::__private::ItselfOrAnAncestorHasAShardKey))
}

/// Returns a type that exists only if the parent's key decides a shard, which the condition of the implementations hides.
/// The compiler reports a parent that is no model with the same text as for the field, and so once.
fn checked_link(model: &Model) -> Option<TokenStream> {
    let (ty, parent) = link(model)?;
    let (first, last) = end_spans(ty);
    let open = quote_spanned!(first=> __rt::__private::CheckedLink<__rt::__private::DecidingParent<#parent>,);
    let close = quote_spanned!(last=> >);
    Some(quote! {
        #[allow(dead_code)]
        struct Checked(#open #ty #close);
    })
}

/// Returns the type of the parent's link and the parent in it, if the type is written `Parent<Model>`, and is no alias.
fn link(model: &Model) -> Option<(&Type, &Type)> {
    let ShardSource::Link(column) = model.shard_source else { return None };
    let ty = &model.fields[column].ty;
    Some((ty, argument_of(ty, "Parent")?))
}

fn child(model: &Model) -> Option<TokenStream> {
    let (ident, parent_is_model, checked) = (&model.ident, parent_is_model(model), checked_link(model));
    let parent = super::parent(model)?;
    let place = *model.shard_columns().first()?;
    let Field { ident: name, ty, .. } = &model.fields[place];
    let (this, mut name) = (self_at(first_span(ty)), name.clone());
    name.set_span(first_span(ty));
    // All spans are those of the type or path that names the parent, so that errors about it are reported there.
    let (span, parent_type, parent_id) = match &model.shard_source {
        ShardSource::Bare { parent, .. } => {
            (first_span(parent), parent.to_token_stream(), quote_spanned!(first_span(ty)=> &#this.#name))
        }
        _ => {
            let link = item_of(ty, "ParentLink", "Parent");
            let id = column_item(model, place, "parent_id");
            (super::item_span(model, ty), link, quote_spanned!(first_span(ty)=> #id(&#this.#name)))
        }
    };
    let parent_type = quote_spanned!(span=> type Parent = #parent_type;);
    let id = item_of(&parent, "Sharded", "Id");
    let parent_id = quote_spanned!(span=> fn parent_id(&#this) -> &#id { #parent_id });
    let place = Literal::usize_unsuffixed(place);
    Some(quote! {
        #checked
        #[automatically_derived]
        impl __rt::Child for #ident #parent_is_model {
            #parent_type
            const PARENT_COLUMN: usize = #place;
            #parent_id
        }
    })
}
