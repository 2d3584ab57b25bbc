//! Newtypes and enums without data as columns and as keys.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Type;
use syn::ext::IdentExt;

use super::{item_of, within};
use crate::value::{Role, Shape, ValueType, Variant};

/// Everything that `#[derive(ShardKey)]` and `#[derive(Field)]` make.
pub(crate) fn value(value: &ValueType) -> TokenStream {
    let implementations = match &value.shape {
        Shape::Newtype(inner) => newtype(value, inner),
        Shape::Text(variants) => text_enum(value, variants),
    };
    within(&value.runtime, implementations)
}

fn newtype(value: &ValueType, inner: &Type) -> TokenStream {
    let ident = &value.ident;
    let column_type = item_of(inner, "Field", "TYPE");
    let to_value = item_of(inner, "Field", "to_value");
    let from_value = item_of(inner, "Field", "from_value");
    let normalize = item_of(inner, "Field", "normalize");
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
            fn to_value(&self) -> ::core::result::Result<__rt::Value<'_>, __rt::ValueError> {
                #to_value(&self.0)
            }
            fn from_value(value: __rt::Value<'_>) -> ::core::result::Result<Self, __rt::ValueError> {
                #from_value(value).map(Self)
            }
            fn normalize(&mut self) -> ::core::result::Result<(), __rt::ValueError> {
                #normalize(&mut self.0)
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
    let error = format!("`{{other}}` is no value of `{}`", ident.unraw());
    // Without variants the type is none that can be stored, which is reported.
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
            fn normalize(&mut self) -> ::core::result::Result<(), __rt::ValueError> {
                ::core::result::Result::Ok(())
            }
        }
        #key
    }
}

/// The enum is its own placement: every value with its shard (R04).
fn key(value: &ValueType, variants: &[Variant]) -> TokenStream {
    let ident = &value.ident;
    let entries = variants.iter().filter_map(|Variant { text, shard, .. }| {
        let shard = shard.as_ref()?;
        Some(quote!((__rt::Constant::Text(#text), #shard)))
    });
    let entries: Vec<TokenStream> = entries.collect();
    // Without variants, or after a mistake in one, the other errors say enough.
    let names_shards = !entries.is_empty() || variants.is_empty();
    let names = names_shards.then(|| {
        quote! {
            #[automatically_derived]
            impl #ident {
                #[doc(hidden)]
                pub const __NAMES_SHARDS: bool = true;
            }
        }
    });
    let placed = names_shards.then(|| {
        quote! {
            #[automatically_derived]
            impl __rt::PlacedKey for #ident {
                const ENTRIES: &'static [(__rt::Constant, &'static str)] = &[#(#entries),*];
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl __rt::ShardKey for #ident {
            type Literal = &'static str;
        }
        #names
        #placed
    }
}
