//! The code of `#[derive(ShardKey)]` and `#[derive(Field)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Type;
use syn::ext::IdentExt;

use super::{in_scope, item_of};
use crate::value::{Role, Shape, ValueType, Variant};

/// Returns all code of `#[derive(ShardKey)]` and `#[derive(Field)]`.
pub(crate) fn value(value: &ValueType) -> TokenStream {
    let implementations = match &value.shape {
        Shape::Newtype(inner) => newtype(value, inner),
        Shape::Text(variants) => text_enum(value, variants),
    };
    in_scope(&value.runtime, implementations)
}

fn newtype(value: &ValueType, inner: &Type) -> TokenStream {
    let ident = &value.ident;
    let column_type = item_of(inner, "Field", "TYPE");
    let to_value = item_of(inner, "Field", "to_value");
    let from_value = item_of(inner, "Field", "from_value");
    let is_exact = item_of(inner, "Field", "IS_EXACT");
    let stored_value = item_of(inner, "Field", "stored_value");
    let literal = item_of(inner, "ShardKey", "Literal");
    let key = (value.role == Role::ShardKey).then(|| {
        quote! {
            #[automatically_derived]
            impl __rt::ShardKey for #ident {
                type Literal = #literal;
            }
            #[automatically_derived]
            impl ::core::convert::From<#inner> for #ident {
                fn from(value: #inner) -> Self {
                    Self(value)
                }
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl __rt::Field for #ident {
            const TYPE: __rt::ColumnType = #column_type;
            const IS_EXACT: bool = #is_exact;
            fn to_value(&self) -> ::core::result::Result<__rt::Value<'_>, __rt::ValueError> {
                #to_value(&self.0)
            }
            fn from_value(value: __rt::Value<'_>) -> ::core::result::Result<Self, __rt::ValueError> {
                #from_value(value).map(Self)
            }
            fn stored_value(&self) -> ::core::result::Result<__rt::Value<'_>, __rt::ValueError> {
                #stored_value(&self.0)
            }
        }
        #key
    }
}

fn text_enum(value: &ValueType, variants: &[Variant]) -> TokenStream {
    let ident = &value.ident;
    let error = format!("`{{other}}` is not a value of `{}`", ident.unraw());
    // An enum without variants is reported; the match still needs an arm.
    let no_text = variants.is_empty().then(|| quote!(_ => ""));
    let texts = variants.iter().map(|Variant { ident, has_data, text, .. }| {
        let data = has_data.then(|| quote!({ .. }));
        quote!(Self::#ident #data => #text)
    });
    let values = variants.iter().filter(|variant| !variant.has_data).map(
        |Variant { ident, text, .. }| quote!(__rt::Value::Text(text) if **text == *#text => Self::#ident),
    );
    let key = (value.role == Role::ShardKey).then(|| key(value, variants));
    quote! {
        #[automatically_derived]
        impl __rt::Field for #ident {
            const TYPE: __rt::ColumnType = __rt::ColumnType::Text;
            const IS_EXACT: bool = true;
            fn to_value(&self) -> ::core::result::Result<__rt::Value<'_>, __rt::ValueError> {
                let text = match self { #(#texts,)* #no_text };
                ::core::result::Result::Ok(__rt::Value::Text(::std::borrow::Cow::Borrowed(text)))
            }
            fn from_value(value: __rt::Value<'_>) -> ::core::result::Result<Self, __rt::ValueError> {
                ::core::result::Result::Ok(match &value {
                    #(#values,)*
                    other => return ::core::result::Result::Err(
                        __rt::ValueError::new(::std::format!(#error)),
                    ),
                })
            }
        }
        #key
    }
}

/// Returns the implementation of `ShardKey` for an enum, with the shard of every value if the enum names shards (R04).
fn key(value: &ValueType, variants: &[Variant]) -> TokenStream {
    let ident = &value.ident;
    let entries = variants.iter().filter_map(|Variant { text, shard, .. }| {
        let shard = shard.as_ref()?;
        Some(quote!((__rt::Constant::Text(#text), #shard)))
    });
    let entries: Vec<TokenStream> = entries.collect();
    // After an error in the enum it counts as one that names shards, so that no second error follows.
    let names_shards = !entries.is_empty() || variants.is_empty();
    let shards = names_shards.then(|| {
        quote! {
            const SHARDS: ::core::option::Option<&'static [(__rt::Constant, &'static str)]> =
                ::core::option::Option::Some(&[#(#entries),*]);
        }
    });
    quote! {
        #[automatically_derived]
        impl __rt::ShardKey for #ident {
            type Literal = &'static str;
            #shards
        }
    }
}
