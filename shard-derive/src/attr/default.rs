//! The value in `#[sharded(default = ..)]`: a literal, which the database can also store as the column's default.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::ParseStream;
use syn::{Lit, LitBool, LitFloat, LitInt, LitStr, Token};

use super::mistake;

/// The default value of a column.
pub(crate) struct DefaultAttr {
    /// The word `default`.
    pub(crate) word: Ident,
    pub(crate) value: DefaultValue,
}

pub(crate) enum DefaultValue {
    Boolean(LitBool),
    Integer { literal: LitInt, value: i64 },
    Real { literal: LitFloat, value: f64 },
    Text(LitStr),
}

const USAGE: &str =
    "write a literal: `default = 0`, `default = 0.5`, `default = true` or `default = \"text\"`";

impl DefaultAttr {
    /// Reads the literal in `default = -1`.
    pub(super) fn read(word: &Ident, input: ParseStream) -> syn::Result<Self> {
        let Ok(_) = input.parse::<Token![=]>() else { return mistake(word, USAGE) };
        let minus = input.parse::<Token![-]>().ok();
        let literal: Lit = input.parse().map_err(|error| syn::Error::new(error.span(), USAGE))?;
        let value = match literal {
            Lit::Bool(literal) if minus.is_none() => DefaultValue::Boolean(literal),
            Lit::Str(literal) if minus.is_none() => {
                if literal.value().contains('\0') {
                    return mistake(literal, "text with NUL cannot be stored: remove it");
                }
                DefaultValue::Text(literal)
            }
            Lit::Int(literal) => {
                let text = format!("{}{}", if minus.is_some() { "-" } else { "" }, literal.base10_digits());
                let Ok(value) = text.parse() else {
                    return mistake(literal, "a column holds integers of 64 bits: write a smaller one");
                };
                DefaultValue::Integer { literal, value }
            }
            Lit::Float(literal) => match literal.base10_parse::<f64>() {
                Ok(value) if value.is_finite() => {
                    let value = if minus.is_some() { -value } else { value };
                    DefaultValue::Real { literal, value }
                }
                _ => return mistake(literal, "a default is a finite number: write a smaller one"),
            },
            other => return mistake(other, USAGE),
        };
        Ok(DefaultAttr { word: word.clone(), value })
    }
}

impl DefaultValue {
    /// Returns the value as the runtime's `ColumnDefault`.
    pub(crate) fn constant(&self) -> TokenStream {
        match self {
            DefaultValue::Boolean(value) => quote!(Boolean(#value)),
            DefaultValue::Integer { value, .. } => {
                let value = Literal::i64_suffixed(*value);
                quote!(Integer(#value))
            }
            DefaultValue::Real { value, .. } => {
                let value = Literal::f64_suffixed(*value);
                quote!(Real(#value))
            }
            DefaultValue::Text(value) => quote!(Text(#value)),
        }
    }

    /// Returns the kind of column that has such a default, and how a message names it.
    pub(crate) fn kind(&self) -> (TokenStream, &'static str) {
        match self {
            DefaultValue::Boolean(_) => (quote!(Boolean), "a `bool`"),
            DefaultValue::Integer { .. } => (quote!(Integer), "an integer"),
            DefaultValue::Real { .. } => (quote!(Real), "a float"),
            DefaultValue::Text(_) => (quote!(Text), "text"),
        }
    }
}

impl ToTokens for DefaultValue {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            DefaultValue::Boolean(literal) => literal.to_tokens(tokens),
            DefaultValue::Integer { literal, .. } => literal.to_tokens(tokens),
            DefaultValue::Real { literal, .. } => literal.to_tokens(tokens),
            DefaultValue::Text(literal) => literal.to_tokens(tokens),
        }
    }
}
