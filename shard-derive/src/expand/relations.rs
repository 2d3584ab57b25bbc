//! The traits that describe a model's relations and its id: `Identified`, `Child`, `IdIsKey`, `UniqueId`, `KnownId`,
//! `SequenceId` and `Reference`.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Type;
use syn::ext::IdentExt;

use super::{end_spans, first_span, item_of, self_at};
use crate::attr::IdKind;
use crate::model::{Field, Model, ShardSource, argument_of};

pub(super) fn relations(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let (above, parent_is_model) = parent_is_model(model).unzip();
    let marker = |applies: bool, name: &str| {
        let name = Ident::new(name, Span::call_site());
        applies.then(|| quote!(impl #above __rt::#name for #ident #parent_is_model {}))
    };
    let child = child(model);
    let unique_id = marker(model.id_kind != IdKind::Auto, "UniqueId");
    let id_is_key = marker(model.id_is_key(), "IdIsKey");
    let known_id = marker(matches!(model.id_kind, IdKind::Given | IdKind::Uuid), "KnownId");
    let sequence_id = marker(model.id_kind == IdKind::Sequence, "SequenceId");
    let reference = matches!(model.shard_source, ShardSource::Everywhere).then(|| {
        quote! {
            impl __rt::Reference for #ident {}
        }
    });
    quote! { #child #unique_id #id_is_key #known_id #sequence_id #reference }
}

/// Returns the name of the type parameter that stands for the parent's model in the implementations of a child.
pub(super) fn above() -> TokenStream {
    quote!(__Above)
}

/// Returns the type parameters and the condition of each implementation of a child that holds its parent's link.
///
/// In the implementations the parent is a type parameter that the condition equates with the link's parent. So the
/// compiler does not resolve the parent when it checks them. A parent that is not a model is reported at the field
/// alone, and a cycle of parents by [`assertions`]. With `for<'a>` the compiler checks the condition only at its use.
pub(super) fn parent_is_model(model: &Model) -> Option<(TokenStream, TokenStream)> {
    let ty = link(model)?;
    let (first, last) = end_spans(ty);
    let above = Ident::new("__Above", Span::call_site().located_at(last));
    let open = quote_spanned!(first=> for<'a>);
    let link = quote_spanned!(last=> : __rt::ParentLink<Parent = #above>);
    // The link's type exists, if the compiler can see which model it names.
    let exists = argument_of(ty, "Parent").map(|parent| quote!(for<'a> #parent: __rt::Identified,));
    let condition = quote!(where #exists #open #ty #link);
    Some((quote!(<__Above: __rt::ItselfOrAnAncestorHasAShardKey>), condition))
}

/// Returns the type of the parent's link.
fn link(model: &Model) -> Option<&Type> {
    let ShardSource::Link(column) = model.shard_source else { return None };
    Some(&model.fields[column].ty)
}

/// Returns the implementation of `Identified`, which describes the model without its parents.
pub(super) fn identified(model: &Model) -> TokenStream {
    let (ident, id) = (&model.ident, &model.id_field().ty);
    let name = model.ident.unraw().to_string();
    let above = link(model).map(|ty| match argument_of(ty, "Parent") {
        Some(parent) => parent.to_token_stream(),
        None => item_of(ty, "ParentLink", "Parent"),
    });
    let kind = match model.shard_source {
        ShardSource::Everywhere => quote!(reference),
        _ if above.is_some() => quote!(child),
        _ => quote!(root),
    };
    let above = above.unwrap_or_else(|| quote!(Self));
    quote! {
        #[automatically_derived]
        impl __rt::Identified for #ident {
            type RowId = #id;
            type Above = #above;
            const LINEAGE: __rt::Lineage = __rt::Lineage::#kind(::core::module_path!(), #name);
        }
    }
}

/// Checks that the parent is not a reference table, and that the model is not its own ancestor.
pub(super) fn assertions(model: &Model) -> Vec<TokenStream> {
    let Some(ty) = link(model) else { return Vec::new() };
    let (ident, name) = (&model.ident, model.ident.unraw().to_string());
    let reference = "a reference table has every row on every shard, so it cannot be a parent: store its id, with \
                     `#[references(Model)] field: Id`, and mark a `#[shard_key]` or another `#[shard_parent]`";
    let cycle = format!(
        "`{name}` is its own ancestor, so that no `#[shard_key]` places it: write a `#[shard_key]` in one model of the \
         cycle, and store its parent's id in a plain field"
    );
    let parents = quote!(__rt::Parents::<#ident>);
    let checks = [(quote!(ARE_REFERENCE), reference), (quote!(ARE_CYCLE), &cycle)].map(|(check, message)| {
        quote_spanned!(first_span(ty)=> ::core::assert!(!#parents::#check, "{}", #message))
    });
    checks.into()
}

fn child(model: &Model) -> Option<TokenStream> {
    let ident = &model.ident;
    let (above, parent_is_model) = parent_is_model(model).unzip();
    let parent = super::parent(model)?;
    let index = *model.shard_columns().first()?;
    let Field { ident: name, ty, .. } = &model.fields[index];
    let (this, mut name) = (self_at(first_span(ty)), name.clone());
    name.set_span(first_span(ty));
    // All spans are those of the type or path that names the parent, so that errors about it are reported there.
    let (span, parent_type, parent_id) = match &model.shard_source {
        ShardSource::Bare { parent, .. } => {
            (first_span(parent), parent.to_token_stream(), quote_spanned!(first_span(ty)=> &#this.#name))
        }
        _ => {
            let id = item_of(ty, "ParentLink", "parent_id");
            (first_span(ty), parent.clone(), quote_spanned!(first_span(ty)=> #id(&#this.#name)))
        }
    };
    let parent_type = quote_spanned!(span=> type Parent = #parent_type;);
    let id = item_of(&parent, "Sharded", "Id");
    let parent_id = quote_spanned!(span=> fn parent_id(&#this) -> &#id { #parent_id });
    let index = Literal::usize_unsuffixed(index);
    Some(quote! {
        #[automatically_derived]
        impl #above __rt::Child for #ident #parent_is_model {
            #parent_type
            const PARENT_COLUMN: usize = #index;
            #parent_id
        }
    })
}
