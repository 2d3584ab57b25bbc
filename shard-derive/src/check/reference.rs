//! The rules for reference tables, and for fields that refer to them.

use crate::attr::{IdKind, ReferencesAttr};
use crate::errors::Errors;
use crate::model::Model;

/// Reports a key, a parent, or an id that each database counts. A row of a reference table is on every shard, with the
/// same id.
pub(super) fn table(model: &Model, errors: &mut Errors) {
    if model.attrs.reference.is_none() {
        return;
    }
    let everywhere = "a reference table has every row on every shard";
    for key in model.fields.iter().filter_map(|field| field.attrs.key.as_ref()).chain(&model.attrs.key) {
        errors.at(&key.word, format_args!("{everywhere}: remove the `shard_key`, or `reference`"));
    }
    for parent in model.fields.iter().filter_map(|field| field.attrs.parent.as_ref()) {
        let hint = "remove the `shard_parent`, or `reference`";
        errors.at(&parent.word, format_args!("{everywhere}: {hint}"));
    }
    for id in model.fields.iter().filter_map(|field| field.attrs.id.as_ref()) {
        if id.kind == IdKind::Auto {
            let reason = "each shard would generate its own id for a row";
            let kinds = "`#[id]` (given by the caller), `#[id(sequence)]` or `#[id(uuid)]`";
            errors.at(&id.word, format_args!("{reason}: write {kinds}"));
        }
    }
}

/// Reports references on a parent's link or a version, and references of a model to itself.
pub(super) fn references(model: &Model, errors: &mut Errors) {
    for field in &model.fields {
        let Some(ReferencesAttr { word, model: referred }) = &field.attrs.references else { continue };
        if field.attrs.parent.is_some() {
            errors
                .at(word, "a parent's link refers to the parent: store the other row's id in another field");
        } else if field.attrs.version.is_some() {
            errors.at(word, "a version is not an id of another row: remove `#[references(..)]`");
        }
        if let Some(path) = referred
            && path.get_ident().is_some_and(|ident| *ident == model.ident || ident == "Self")
        {
            errors.at(path, "a model cannot refer to itself: store the other row's id in a plain field");
        }
    }
}
