//! The public items of the runtime are those that `docs/public-items.txt` lists, so that a change of them is seen in a
//! review. `UPDATE_PUBLIC_ITEMS=1 cargo test -p sharded-tests --test public_items` writes the list anew.
//!
//! The list is made from the source. It has each item that the root or a public module names, with its public fields, variants
//! and methods that are not hidden, and the names of its traits. Of items that macros make it has only the functions in the
//! macros' own text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ItemTrait, TraitItem, Type, UseTree, Visibility};

/// The implementations that are listed. Others are operators, or are for types of other crates.
const TRAITS: [&str; 21] = [
    "Clone",
    "Copy",
    "Debug",
    "Default",
    "Deref",
    "DerefMut",
    "Display",
    "Eq",
    "Error",
    "From",
    "FromIterator",
    "FromStr",
    "Hash",
    "IntoIterator",
    "Iterator",
    "Ord",
    "PartialEq",
    "PartialOrd",
    "Query",
    "Serialize",
    "Write",
];

/// A module of the source: its items, by the path of its names.
type Modules = BTreeMap<Vec<String>, Vec<Item>>;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of the workspace").to_owned()
}

/// Reads a file, and the files of the modules that it declares.
fn read(file: &Path, folder: &Path, path: &[String], modules: &mut Modules) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let items = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())).items;
    declare(items, folder, path, modules);
}

fn declare(items: Vec<Item>, folder: &Path, path: &[String], modules: &mut Modules) {
    for item in &items {
        let Item::Mod(module) = item else { continue };
        if is_for_tests(&module.attrs)
            || module.attrs.iter().any(|attribute| attribute.path().is_ident("path"))
        {
            continue;
        }
        let name = module.ident.to_string();
        let inner: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
        if let Some((_, items)) = &module.content {
            declare(items.clone(), &folder.join(&name), &inner, modules);
            continue;
        }
        let own = folder.join(&name);
        let file = [own.with_extension("rs"), own.join("mod.rs")].into_iter().find(|file| file.exists());
        read(&file.unwrap_or_else(|| panic!("module {inner:?} has no file")), &own, &inner, modules);
    }
    modules.insert(path.to_vec(), items);
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.to_token_stream().to_string() == "# [cfg (test)]")
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.to_token_stream().to_string() == "# [doc (hidden)]")
}

/// The condition of an item that a feature adds.
fn condition(attributes: &[Attribute]) -> Option<String> {
    let condition = attributes.iter().find(|attribute| attribute.path().is_ident("cfg"))?;
    Some(condition.to_token_stream().to_string().replace(['#', ' '], ""))
}

/// The names that a `use` brings, each with its path.
fn names(tree: &UseTree, before: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let with = |name: &dyn ToString| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
    match tree {
        UseTree::Path(path) => names(&path.tree, &with(&path.ident), found),
        UseTree::Name(name) => found.push((name.ident.to_string(), with(&name.ident))),
        UseTree::Rename(rename) => found.push((rename.rename.to_string(), with(&rename.ident))),
        UseTree::Group(group) => group.items.iter().for_each(|tree| names(tree, before, found)),
        UseTree::Glob(_) => panic!("the root names what is public one by one"),
    }
}

fn ident(item: &Item) -> Option<String> {
    Some(match item {
        Item::Struct(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        Item::Const(item) => item.ident.to_string(),
        Item::Mod(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// Finds the definitions of a name in a module, through the module's own uses.
fn resolve<'m>(modules: &'m Modules, within: &[String], name: &str) -> Option<(Vec<String>, &'m Item)> {
    let items = modules.get(within)?;
    if let Some(item) = items.iter().find(|item| ident(item).as_deref() == Some(name)) {
        return Some((within.to_vec(), item));
    }
    for item in items {
        let Item::Use(item) = item else { continue };
        let mut found = Vec::new();
        names(&item.tree, &[], &mut found);
        for (own, path) in found {
            if own != name {
                continue;
            }
            let (last, module) = path.split_last()?;
            let first = module.first().map(String::as_str);
            let absolute: Vec<String> = match first {
                Some("crate") => module[1..].to_vec(),
                Some("super") => within[..within.len() - 1].iter().chain(&module[1..]).cloned().collect(),
                Some("self") => within.iter().chain(&module[1..]).cloned().collect(),
                _ => within.iter().chain(module).cloned().collect(),
            };
            // The name of another crate is no item of this one.
            if module.is_empty() {
                continue;
            }
            if let Some(found) = resolve(modules, &absolute, last) {
                return Some(found);
            }
        }
    }
    None
}

/// Prints an item as its code would be formatted, without documentation and bodies.
fn print(item: Item) -> String {
    let file = syn::File { shebang: None, frontmatter: None, attrs: Vec::new(), items: vec![item] };
    prettyplease::unparse(&file).trim_end().to_owned()
}

fn keep(attributes: &mut Vec<Attribute>) {
    attributes.retain(|attribute| {
        ["non_exhaustive", "must_use"].iter().any(|name| attribute.path().is_ident(name))
    });
    for attribute in attributes {
        if attribute.path().is_ident("must_use") {
            attribute.meta = syn::Meta::Path(syn::parse_str("must_use").expect("a path"));
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Removes private and hidden items.
fn bare(mut item: Item) -> Item {
    let public = |fields: &mut Fields| {
        if let Fields::Named(named) = fields {
            let kept = named
                .named
                .clone()
                .into_iter()
                .filter(|field| is_public(&field.vis) && !is_hidden(&field.attrs));
            named.named = kept.map(|field| syn::Field { attrs: Vec::new(), ..field }).collect();
        } else if let Fields::Unnamed(unnamed) = fields {
            let kept = unnamed.unnamed.clone().into_iter().filter(|field| is_public(&field.vis));
            unnamed.unnamed = kept.collect();
        }
    };
    match &mut item {
        Item::Struct(item) => {
            keep(&mut item.attrs);
            public(&mut item.fields);
        }
        Item::Enum(item) => {
            keep(&mut item.attrs);
            for variant in &mut item.variants {
                variant.attrs.clear();
                if let Fields::Named(named) = &mut variant.fields {
                    named.named.iter_mut().for_each(|field| field.attrs.clear());
                }
            }
        }
        Item::Trait(item) => {
            item.attrs.clear();
            item.items.retain(|item| match item {
                TraitItem::Const(item) => !is_hidden(&item.attrs),
                TraitItem::Fn(item) => !is_hidden(&item.attrs),
                TraitItem::Type(item) => !is_hidden(&item.attrs),
                _ => true,
            });
            for item in &mut item.items {
                match item {
                    TraitItem::Const(item) => item.attrs.clear(),
                    TraitItem::Type(item) => item.attrs.clear(),
                    TraitItem::Fn(item) => {
                        item.attrs.clear();
                        item.default = None;
                    }
                    _ => {}
                }
            }
        }
        Item::Fn(item) => {
            item.attrs.clear();
            item.block.stmts.clear();
        }
        Item::Type(item) => item.attrs.clear(),
        Item::Const(item) => item.attrs.clear(),
        _ => {}
    }
    item
}

/// The name of the type that a block is for.
fn name_of(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        Type::Reference(reference) => name_of(&reference.elem),
        _ => None,
    }
}

/// The functions in the text of the macros of a module that are called for this type.
fn from_macros(items: &[Item], name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in items {
        let Item::Macro(call) = item else { continue };
        let arguments = call.mac.tokens.to_string();
        let is_argument =
            arguments.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
        if call.ident.is_some() || !is_argument {
            continue;
        }
        let Some(called) = call.mac.path.get_ident() else { continue };
        if called == "untyped" {
            found.extend(["(Clone)".to_owned(), "(Debug)".to_owned()]);
        }
        for definition in items {
            let Item::Macro(definition) = definition else { continue };
            if definition.ident.as_ref() == Some(called) {
                let text = definition.mac.tokens.to_string();
                let functions = text.split("pub fn ").skip(1);
                found.extend(
                    functions.filter_map(|rest| Some(rest.split([' ', '<', '(']).next()?.to_owned())),
                );
            }
        }
    }
    found
}

/// The methods of a type, and the traits that it implements.
fn members(modules: &Modules, name: &str, attributes: &[Attribute]) -> (Vec<String>, BTreeSet<String>) {
    let (mut methods, mut traits) = (Vec::new(), BTreeSet::new());
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let _ = attribute.parse_nested_meta(|derived| {
            traits.insert(derived.path.to_token_stream().to_string());
            Ok(())
        });
    }
    for items in modules.values() {
        for item in items {
            let Item::Impl(block) = item else { continue };
            if name_of(&block.self_ty).as_deref() != Some(name) || is_hidden(&block.attrs) {
                continue;
            }
            if let Some((path, ..)) = &block.trait_ {
                let segment = path.segments.last().expect("a path has a name");
                if TRAITS.contains(&segment.ident.to_string().as_str()) {
                    let mut printed = segment.to_token_stream().to_string().replace(' ', "");
                    if let Some(feature) = condition(&block.attrs) {
                        printed = format!("{printed} {feature}");
                    }
                    traits.insert(printed);
                }
                continue;
            }
            let mut block = block.clone();
            let feature = condition(&block.attrs);
            block.attrs.clear();
            block.items.retain_mut(|item| match item {
                ImplItem::Fn(method) => {
                    let is_listed = is_public(&method.vis) && !is_hidden(&method.attrs);
                    keep(&mut method.attrs);
                    method.block.stmts.clear();
                    is_listed
                }
                ImplItem::Const(constant) => {
                    let is_listed = is_public(&constant.vis) && !is_hidden(&constant.attrs);
                    constant.attrs.clear();
                    is_listed
                }
                _ => false,
            });
            if !block.items.is_empty() {
                let head = feature.map(|feature| format!("// {feature}\n")).unwrap_or_default();
                methods.push(head + &print(Item::Impl(block)));
            }
        }
        let made = from_macros(items, name);
        let (implemented, functions): (Vec<_>, Vec<_>) =
            made.into_iter().partition(|name| name.starts_with('('));
        traits.extend(implemented.iter().map(|name| name.trim_matches(['(', ')']).to_owned()));
        if !functions.is_empty() {
            methods.push(format!("// by a macro: {}", functions.join(", ")));
        }
    }
    methods.sort();
    (methods, traits)
}

/// Lists an item under its public name.
fn list(modules: &Modules, prefix: &str, name: &str, item: &Item, listed: &mut BTreeMap<String, String>) {
    let attributes = match item {
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Mod(module) => {
            let path = module.ident.to_string();
            // Of two modules of this name the public one is nearer to the root.
            let named = modules.iter().filter(|(module, _)| module.last() == Some(&path));
            let within = named.min_by_key(|(module, _)| module.len());
            let (_, items) = within.unwrap_or_else(|| panic!("no module {path}"));
            return public(modules, &format!("{prefix}{name}::"), items, &path, listed);
        }
        _ => &Vec::new(),
    };
    let (methods, traits) = match item {
        Item::Struct(_) | Item::Enum(_) => members(modules, name, attributes),
        _ => Default::default(),
    };
    let mut text = print(bare(item.clone()));
    if !traits.is_empty() {
        text.push_str(&format!("\n// {}", traits.into_iter().collect::<Vec<_>>().join(", ")));
    }
    for block in methods {
        text.push('\n');
        text.push_str(&block);
    }
    listed.insert(format!("{prefix}{name}"), text);
}

/// Lists the public items of a module.
fn public(
    modules: &Modules,
    prefix: &str,
    items: &[Item],
    module: &str,
    listed: &mut BTreeMap<String, String>,
) {
    for item in items {
        match item {
            Item::Use(used) if is_public(&used.vis) && !is_hidden(&used.attrs) => {
                let mut found = Vec::new();
                names(&used.tree, &[], &mut found);
                for (name, path) in found {
                    let feature =
                        condition(&used.attrs).map(|feature| format!(" // {feature}")).unwrap_or_default();
                    let own: Vec<String> = path.iter().filter(|name| *name != "crate").cloned().collect();
                    let (last, within) = own.split_last().expect("a path has a name");
                    // A derive has the name of its trait.
                    let is_ours = module != "prelude" && path[0] != "shard_derive";
                    match resolve(modules, within, last)
                        .filter(|(_, item)| is_ours && !matches!(item, Item::Use(_)))
                    {
                        Some((_, item)) => list(modules, prefix, &name, item, listed),
                        None => {
                            let name = format!("{prefix}{name} = {}", path.join("::"));
                            listed.insert(name, format!("pub use {};{feature}", path.join("::")));
                        }
                    }
                }
            }
            Item::Mod(module) if is_public(&module.vis) && !is_hidden(&module.attrs) => {
                list(modules, prefix, &module.ident.to_string(), item, listed);
            }
            Item::Fn(function) if is_public(&function.vis) && !is_hidden(&function.attrs) => {
                list(modules, prefix, &function.sig.ident.to_string(), item, listed);
            }
            Item::Struct(made) if is_public(&made.vis) && !is_hidden(&made.attrs) => {
                list(modules, prefix, &made.ident.to_string(), item, listed);
            }
            Item::Enum(made) if is_public(&made.vis) && !is_hidden(&made.attrs) => {
                list(modules, prefix, &made.ident.to_string(), item, listed);
            }
            Item::Const(made) if is_public(&made.vis) && !is_hidden(&made.attrs) => {
                list(modules, prefix, &made.ident.to_string(), item, listed);
            }
            _ => {}
        }
    }
}

#[test]
fn the_public_items_are_those_that_are_listed() {
    let source = repository().join("shard-runtime/src");
    let mut modules = Modules::new();
    read(&source.join("lib.rs"), &source, &[], &mut modules);
    let mut listed = BTreeMap::new();
    public(&modules, "", &modules[&Vec::<String>::new()], "", &mut listed);
    for (path, items) in &modules {
        for item in items {
            let Item::Macro(made) = item else { continue };
            if made.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export")) {
                let name = made.ident.as_ref().expect("a macro has a name");
                listed.insert(format!("{name}!"), format!("macro of {}", path.join("::")));
            }
        }
    }
    let mut text =
        "The public items of shard-runtime. Written by tests/public_items.rs; do not edit.\n".to_owned();
    for (name, item) in &listed {
        text.push_str(&format!("\n## {name}\n{item}\n"));
    }

    let file = repository().join("docs/public-items.txt");
    if std::env::var_os("UPDATE_PUBLIC_ITEMS").is_some() {
        fs::write(&file, &text).expect("the list can be written");
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    let (now, before): (BTreeSet<&str>, BTreeSet<&str>) = (text.lines().collect(), known.lines().collect());
    let added: Vec<String> = now.difference(&before).map(|line| format!("+ {line}")).collect();
    let removed: Vec<String> = before.difference(&now).map(|line| format!("- {line}")).collect();
    assert!(
        text == known,
        "the public items have changed; write docs/public-items.txt anew with UPDATE_PUBLIC_ITEMS=1 if that is meant\n{}\n{}",
        removed.join("\n"),
        added.join("\n"),
    );
}

/// Whether a trait has the supertrait or the constant that keep it from being implemented elsewhere.
fn is_sealed(item: &ItemTrait) -> bool {
    let by_name = item.supertraits.iter().any(|bound| bound.to_token_stream().to_string() == "Sealed");
    by_name || item.items.iter().any(|item| matches!(item, TraitItem::Const(item) if item.ident == "SEAL"))
}

#[test]
fn every_sealed_trait_gives_a_reason() {
    let source = repository().join("shard-runtime/src");
    let mut modules = Modules::new();
    read(&source.join("lib.rs"), &source, &[], &mut modules);
    let traits = modules.values().flatten().filter_map(|item| match item {
        Item::Trait(item) if is_public(&item.vis) && is_sealed(item) => Some(item),
        _ => None,
    });
    let explains = |item: &ItemTrait| {
        let docs = item.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
        docs.map(|attribute| attribute.to_token_stream().to_string()).any(|line| line.contains("is sealed: "))
    };
    let (explained, silent): (Vec<_>, Vec<_>) = traits.partition(|item| explains(item));
    let silent: Vec<String> = silent.iter().map(|item| item.ident.to_string()).collect();
    assert!(silent.is_empty(), "write `This trait is sealed: …` in the documentation of {silent:?}");
    assert!(explained.len() > 10, "the sealed traits are found");
}
