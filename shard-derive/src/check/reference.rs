//! What must hold for reference tables, and for what refers to them.

use crate::attr::{IdKind, ReferencesAttr};
use crate::errors::Errors;
use crate::model::Model;

/// A row that lives on every shard has nothing that decides its shard, and one id on all of them.
pub(super) fn table(model: &Model, errors: &mut Errors) {
    if model.attrs.reference.is_none() {
        return;
    }
    let everywhere = "the rows of a reference table live on every shard, and nothing decides which";
    for key in model.fields.iter().filter_map(|field| field.attrs.key.as_ref()).chain(&model.attrs.key) {
        errors.at(&key.word, format_args!("{everywhere}: take the `shard_key` away, or `reference`"));
    }
    for parent in model.fields.iter().filter_map(|field| field.attrs.parent.as_ref()) {
        let hint = "take the `shard_parent` away, or `reference`";
        errors.at(&parent.word, format_args!("{everywhere}: {hint}"));
    }
    for id in model.fields.iter().filter_map(|field| field.attrs.id.as_ref()) {
        if id.kind == IdKind::Auto {
            let reason = "each shard would count its own ids, and one row would have several";
            let kinds = "`#[id]` (yours), `#[id(sequence)]` or `#[id(uuid)]`";
            errors.at(&id.word, format_args!("{reason}: write {kinds}"));
        }
    }
}

/// A column refers to one row, which is another one's, and does so until it is set to another id.
pub(super) fn references(model: &Model, errors: &mut Errors) {
    for field in &model.fields {
        let Some(ReferencesAttr { word, model: referred }) = &field.attrs.references else { continue };
        if field.attrs.parent.is_some() {
            errors.at(
                word,
                "a parent's link refers to the parent: hold the other row's id in a field of its own",
            );
        } else if field.attrs.version.is_some() {
            errors.at(word, "a version is raised by every change, and refers to nothing");
        }
        if let Some(path) = referred
            && path.get_ident().is_some_and(|ident| *ident == model.ident || ident == "Self")
        {
            errors.at(path, "a model cannot refer to itself: hold the other row's id in a plain field");
        }
    }
}
