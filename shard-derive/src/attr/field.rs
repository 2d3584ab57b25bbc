//! A field's role and settings: `#[id]`, `#[shard_key]`, `#[shard_parent]`, `#[version]`, `#[lookup]`,
//! `#[references(..)]`, and `#[sharded(column = "..", collate = .., default = ..)]`.

use proc_macro2::Ident;
use syn::parse::ParseStream;
use syn::{Attribute, LitStr, Meta, Path, Token};

use super::{
    COLLATE, COLUMN, DEFAULT, DefaultAttr, ID, KeyAttr, LOOKUP, NOCASE, REFERENCES, SHARD_KEY, SHARD_PARENT,
    SHARDED, VERSION, Words, list_of, mistake, put_once, read_settings, text_of, word,
};
use crate::errors::Errors;

const SETTINGS: Words = Words {
    known: &[COLUMN, COLLATE, DEFAULT],
    foreign: &[
        ("rename", "write `column = \"name\"`"),
        ("name", "write `column = \"name\"`"),
        ("index", "write `#[sharded(index(field))]` on the struct"),
        (
            "unique",
            "write `#[lookup]` on the field, which makes its values unique over the cluster; or \
             `#[sharded(unique(key, field))]` on the struct, with the fields that decide the shard",
        ),
        ("nullable", "write the field's type as `Option<..>`"),
        ("skip", "each field is a column; keep other values in a struct of your own"),
        ("primary_key", "write `#[id]`"),
        ("id", "write `#[id]`, beside `#[sharded(..)]`"),
        ("shard_key", "write `#[shard_key(hash)]`, beside `#[sharded(..)]`"),
        ("shard_parent", "write `#[shard_parent]`, beside `#[sharded(..)]`"),
        ("version", "write `#[version]`, beside `#[sharded(..)]`"),
        ("lookup", "write `#[lookup]`, beside `#[sharded(..)]`"),
        ("references", "write `#[references(Model)]`, beside `#[sharded(..)]`"),
        ("table", "write `#[sharded(table = \"name\")]` on the struct"),
    ],
};

/// The attributes of one field.
#[derive(Default)]
pub(crate) struct FieldAttrs {
    pub(crate) id: Option<IdAttr>,
    pub(crate) key: Option<KeyAttr>,
    pub(crate) parent: Option<ParentAttr>,
    pub(crate) column: Option<LitStr>,
    /// The word `nocase` of `collate = nocase`; it is the only collation with a name.
    pub(crate) collate: Option<Ident>,
    /// `default = ..`: the value in rows that a program without the field adds.
    pub(crate) default: Option<DefaultAttr>,
    /// The word `version`.
    pub(crate) version: Option<Ident>,
    pub(crate) references: Option<ReferencesAttr>,
    /// The word `lookup`.
    pub(crate) lookup: Option<Ident>,
}

/// `#[id]`, `#[id(auto)]`, `#[id(sequence)]` or `#[id(uuid)]`.
pub(crate) struct IdAttr {
    pub(crate) word: Ident,
    pub(crate) kind: IdKind,
}

/// The source of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdKind {
    Given,
    Auto,
    Sequence,
    Uuid,
}

impl IdKind {
    const WORDS: &'static [&'static str] = &["auto", "sequence", "uuid"];

    fn of(word: &str) -> Self {
        match word {
            "auto" => IdKind::Auto,
            "sequence" => IdKind::Sequence,
            "uuid" => IdKind::Uuid,
            _ => IdKind::Given,
        }
    }
}

/// `#[shard_parent]` on a handle, or `#[shard_parent(Company)]` on a bare id.
pub(crate) struct ParentAttr {
    pub(crate) word: Ident,
    pub(crate) model: ParentModel,
}

/// How the attribute names the parent's model.
pub(crate) enum ParentModel {
    /// By the type of the field, which is a `Parent<..>`.
    OfType,
    /// By a path; the field holds the parent's id alone.
    Named(Path),
    /// By nothing: the attribute is invalid, which is reported.
    Unreadable,
}

/// `#[references(Currency)]` on the id of a row of a reference table.
pub(crate) struct ReferencesAttr {
    pub(crate) word: Ident,
    /// The reference table's model, or `None` after an error.
    pub(crate) model: Option<Path>,
}

impl FieldAttrs {
    /// Returns whether the field is neither the id, nor a key, nor a parent's link.
    pub(crate) fn is_plain(&self) -> bool {
        self.id.is_none() && self.key.is_none() && self.parent.is_none()
    }

    pub(crate) fn read(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut attrs = FieldAttrs::default();
        for attribute in attributes {
            let Some(word) = attribute.path().get_ident().cloned() else { continue };
            match word.to_string().as_str() {
                ID => {
                    let id = IdAttr { kind: id_kind(attribute, errors), word: word.clone() };
                    put_once(&mut attrs.id, id, &word, errors);
                }
                SHARD_KEY => {
                    let key = KeyAttr::of_attribute(word.clone(), attribute, errors);
                    put_once(&mut attrs.key, key, &word, errors);
                }
                SHARD_PARENT => {
                    let parent = ParentAttr { model: parent_model(attribute, errors), word: word.clone() };
                    put_once(&mut attrs.parent, parent, &word, errors);
                }
                VERSION => {
                    if !matches!(attribute.meta, Meta::Path(_)) {
                        errors.at(&attribute.meta, "write `#[version]`");
                    }
                    put_once(&mut attrs.version, word.clone(), &word, errors);
                }
                REFERENCES => {
                    let references =
                        ReferencesAttr { model: referred_model(attribute, errors), word: word.clone() };
                    put_once(&mut attrs.references, references, &word, errors);
                }
                LOOKUP => {
                    if !matches!(attribute.meta, Meta::Path(_)) {
                        errors.at(&attribute.meta, "write `#[lookup]`");
                    }
                    put_once(&mut attrs.lookup, word.clone(), &word, errors);
                }
                SHARDED => read_settings(
                    attribute,
                    SETTINGS,
                    "#[sharded(column = \"name\")]",
                    errors,
                    |word, input, errors| {
                        if word == COLLATE {
                            put_once(&mut attrs.collate, collation(word, input)?, word, errors);
                        } else if word == DEFAULT {
                            put_once(&mut attrs.default, DefaultAttr::read(word, input)?, word, errors);
                        } else {
                            put_once(&mut attrs.column, text_of(word, input, "name")?, word, errors);
                        }
                        Ok(())
                    },
                ),
                _ => {}
            }
        }
        attrs
    }
}

fn collation(setting: &Ident, input: ParseStream) -> syn::Result<Ident> {
    let Ok(_) = input.parse::<Token![=]>() else { return mistake(setting, "write `collate = nocase`") };
    word(input, "collation", &[NOCASE], &list_of(&[NOCASE]))
}

fn id_kind(attribute: &Attribute, errors: &mut Errors) -> IdKind {
    let usage = "write `#[id]` (given by the caller), `#[id(auto)]`, `#[id(sequence)]` or `#[id(uuid)]`";
    let list = match &attribute.meta {
        Meta::Path(_) => return IdKind::Given,
        Meta::List(list) if !list.tokens.is_empty() => list,
        other => {
            errors.at(other, usage);
            return IdKind::Given;
        }
    };
    let kind = list.parse_args_with(|input: ParseStream| {
        let word = word(input, "kind of id", IdKind::WORDS, &list_of(IdKind::WORDS))?;
        match input.is_empty() {
            true => Ok(IdKind::of(&word.to_string())),
            false => Err(input.error("an id has one source: keep one word")),
        }
    });
    errors.keep(kind).unwrap_or(IdKind::Given)
}

fn parent_model(attribute: &Attribute, errors: &mut Errors) -> ParentModel {
    let usage = "write `#[shard_parent]` on a `Parent<..>`, or `#[shard_parent(Company)]` on a bare id";
    match &attribute.meta {
        Meta::Path(_) => return ParentModel::OfType,
        Meta::List(list) if !list.tokens.is_empty() => match list.parse_args_with(Path::parse_mod_style) {
            Ok(path) => return ParentModel::Named(path),
            Err(_) => errors.at(&list.tokens, usage),
        },
        other => errors.at(other, usage),
    }
    ParentModel::Unreadable
}

fn referred_model(attribute: &Attribute, errors: &mut Errors) -> Option<Path> {
    let usage = "name the reference table's model: `#[references(Currency)]`";
    match &attribute.meta {
        Meta::List(list) if !list.tokens.is_empty() => match list.parse_args_with(Path::parse_mod_style) {
            Ok(path) => Some(path),
            Err(_) => errors.refuse(&list.tokens, usage),
        },
        other => errors.refuse(other, usage),
    }
}
