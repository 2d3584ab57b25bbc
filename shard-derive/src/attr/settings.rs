//! The struct's settings: `#[sharded(..)]`.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Attribute, LitStr, Path, Token};

use super::{
    CRATE, ID, KeyAttr, LOOKUP, REFERENCES, SHARD_KEY, SHARD_PARENT, SHARDED, VERSION, Words, expect,
    items_of, list_of, mistake, path_of, put_once, read_settings, text_of, word,
};
use crate::errors::Errors;

const TABLE: &str = "table";
const INSERT: &str = "insert";
const INDEX: &str = "index";
const UNIQUE: &str = "unique";
const REFERENCE: &str = "reference";
const SETTINGS: Words = Words {
    known: &[TABLE, INSERT, INDEX, UNIQUE, SHARD_KEY, REFERENCE, CRATE],
    foreign: &[
        ("rename", "write `table = \"name\"`"),
        ("name", "write `table = \"name\"`"),
        ("table_name", "write `table = \"name\"`"),
        ("primary_key", "write `#[id]` on the field"),
        ("id", "write `#[id]` on the field"),
        ("shard_parent", "write `#[shard_parent]` on the field"),
        ("lookup", "write `#[lookup]` on the field"),
        ("version", "write `#[version]` on the field"),
        ("column", "write `#[sharded(column = \"name\")]` on the field"),
        ("collate", "write `#[sharded(collate = nocase)]` on the field"),
        ("schema", "name it in the shard's URL, as `?schema=name`"),
    ],
};

/// The settings in all `#[sharded(..)]` attributes on the struct.
#[derive(Default)]
pub(crate) struct StructAttrs {
    pub(crate) table: Option<LitStr>,
    pub(crate) insert: Option<InsertAttr>,
    pub(crate) indexes: Vec<IndexAttr>,
    /// The placement of the fields marked `#[shard_key]` as one key.
    pub(crate) key: Option<KeyAttr>,
    /// The word `reference`: every row is on every shard.
    pub(crate) reference: Option<Ident>,
    /// The runtime's path, if it is not `::shard_runtime`.
    pub(crate) runtime: Option<Path>,
}

/// `insert(name = AddReport, derive(Clone, Debug))`.
pub(crate) struct InsertAttr {
    pub(crate) word: Ident,
    pub(crate) name: Option<Ident>,
    pub(crate) derives: Option<Punctuated<Path, Token![,]>>,
}

/// `index(city, name)` or `unique(city, name)`.
pub(crate) struct IndexAttr {
    pub(crate) word: Ident,
    pub(crate) unique: bool,
    pub(crate) fields: Vec<Ident>,
}

impl StructAttrs {
    pub(crate) fn read(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut attrs = StructAttrs::default();
        for attribute in attributes {
            if attribute.path().is_ident(SHARDED) {
                let example = "#[sharded(table = \"weather_reports\")]";
                read_settings(attribute, SETTINGS, example, errors, |word, input, errors| {
                    attrs.setting(word, input, errors)
                });
            }
            for role in [ID, SHARD_KEY, SHARD_PARENT, VERSION, LOOKUP, REFERENCES] {
                if attribute.path().is_ident(role) {
                    let hint = match role {
                        SHARD_KEY => {
                            "; for a key of several fields, write `#[sharded(shard_key(hash))]` here"
                        }
                        _ => "",
                    };
                    errors.at(
                        &attribute.meta,
                        format_args!("`#[{role}]` belongs on a field: move it there{hint}"),
                    );
                }
            }
        }
        attrs
    }

    fn setting(&mut self, word: &Ident, input: ParseStream, errors: &mut Errors) -> syn::Result<()> {
        match word.to_string().as_str() {
            TABLE => put_once(&mut self.table, text_of(word, input, "weather_reports")?, word, errors),
            CRATE => put_once(&mut self.runtime, path_of(word, input, "some::path")?, word, errors),
            SHARD_KEY => put_once(&mut self.key, KeyAttr::of_setting(word, input, errors)?, word, errors),
            REFERENCE => put_once(&mut self.reference, word.clone(), word, errors),
            INSERT => put_once(&mut self.insert, insert(word, input, errors)?, word, errors),
            _ => self.indexes.push(index(word, input)?),
        }
        Ok(())
    }
}

fn insert(insert: &Ident, input: ParseStream, errors: &mut Errors) -> syn::Result<InsertAttr> {
    const NAME: &str = "name";
    const DERIVE: &str = "derive";
    let usage = "write `insert(name = AddReport)` or `insert(derive(Clone, Debug))`";
    let mut attr = InsertAttr { word: insert.clone(), name: None, derives: None };
    items_of(insert, usage, input, |input| {
        let word = word(input, "setting", &[NAME, DERIVE], &list_of(&[NAME, DERIVE]))?;
        if word == NAME && input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            put_once(&mut attr.name, expect(input, "expected the struct's name")?, &word, errors);
        } else if word == DERIVE && input.peek(syn::token::Paren) {
            let list;
            syn::parenthesized!(list in input);
            let derives = Punctuated::parse_separated_nonempty_with(&list, Path::parse_mod_style)?;
            put_once(&mut attr.derives, derives, &word, errors);
        } else {
            return mistake(word, usage);
        }
        Ok(())
    })?;
    Ok(attr)
}

fn index(word: &Ident, input: ParseStream) -> syn::Result<IndexAttr> {
    let mut index = IndexAttr { word: word.clone(), unique: *word == UNIQUE, fields: Vec::new() };
    items_of(word, &format!("name the fields: `{word}(city, name)`"), input, |input| {
        let field = input.call(Ident::parse_any);
        let expected = "expected a field's name, without quotes";
        index.fields.push(field.map_err(|error| syn::Error::new(error.span(), expected))?);
        Ok(())
    })?;
    Ok(index)
}
