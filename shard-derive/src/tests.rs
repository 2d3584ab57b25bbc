//! Tests of the whole expansion: files under `snapshots/` show it, and a test bounds its length.

use proc_macro2::TokenStream;
use quote::quote;

use crate::value::Role;
use crate::{projection, sharded, value};

/// Returns the code formatted as by `rustfmt`.
fn formatted(code: TokenStream) -> String {
    prettyplease::unparse(&syn::parse2(code).expect("the expansion is a list of items"))
}

fn weather_location() -> TokenStream {
    sharded(quote! {
        #[sharded(table = "weather_locations")]
        struct WeatherLocation {
            #[id(sequence)]
            id: i64,
            #[shard_key]
            continent: Continent,
            city: String,
        }
    })
}

fn report() -> TokenStream {
    sharded(quote! {
        #[sharded(table = "weather_reports")]
        struct Report {
            #[id(auto)]
            id: i64,
            #[shard_parent]
            location: Parent<WeatherLocation>,
            temperature: f64,
        }
    })
}

fn continent() -> TokenStream {
    let continent = quote! {
        enum Continent {
            #[shard("north_america")]
            NorthAmerica,
            #[shard("asia")]
            Asia,
        }
    };
    value(continent, Role::ShardKey)
}

fn place() -> TokenStream {
    projection(quote! {
        #[sharded(model = WeatherLocation)]
        struct Place {
            id: i64,
            #[sharded(column = city)]
            name: String,
        }
    })
}

/// After an intended change, run `UPDATE_EXPECT=1 cargo test -p shard-derive` to update the files.
#[test]
fn the_weather_models_expand_to_the_snapshots() {
    expect_test::expect_file!["../snapshots/continent.rs"].assert_eq(&formatted(continent()));
    expect_test::expect_file!["../snapshots/weather_location.rs"].assert_eq(&formatted(weather_location()));
    expect_test::expect_file!["../snapshots/place.rs"].assert_eq(&formatted(place()));
    expect_test::expect_file!["../snapshots/report.rs"].assert_eq(&formatted(report()));
}

#[test]
fn two_models_expand_to_few_lines() {
    let lines = formatted(weather_location()).lines().count() + formatted(report()).lines().count();
    assert!(lines <= 260, "{lines} lines: move code with a body into the runtime");
}

/// For every input the derives return code that parses, and never panic.
#[test]
fn no_input_panics() {
    let attributes = [
        "#[sharded]",
        "#[sharded()]",
        "#[sharded = 1]",
        "#[sharded(,)]",
        "#[sharded(table)]",
        "#[sharded(table = )]",
        "#[sharded(table = 1, , index)]",
        "#[sharded(index(), unique(\"a\"), insert(), insert(name), insert(derive()))]",
        "#[sharded(shard_key, shard_key(), shard_key(hash hash), shard_key(with))]",
        "#[sharded(crate = \"x\", crate)]",
        "#[sharded(model)]",
        "#[sharded(model = A)]",
        "#[sharded(model = A, model = \"B\", column)]",
        "#[sharded(model = A, column = \"b\")]",
        "#[shard_key]",
        "#[shard_key = \"hash\"]",
        "#[shard_key()]",
        "#[shard_key(range)]",
        "#[shard_key(range())]",
        "#[shard_key(range(\"a\"))]",
        "#[shard_key(range(\"a\" =>))]",
        "#[shard_key(range(\"a\" => ..=))]",
        "#[shard_key(range(\"a\" => 1...2, .., gaps, 7))]",
        "#[shard_key(list(_, - , -\"a\" => , 1.5 => \"x\", _ => 1, \"a\" \"b\"))]",
        "#[shard_key(with = 5)]",
        "#[shard_key(hash,,)]",
        "#[shard_parent()]",
        "#[shard_parent(a b)]",
        "#[shard_parent = x]",
        "#[id()]",
        "#[id(auto, uuid)]",
        "#[id = \"auto\"]",
        "#[id(7)]",
        "#[shard]",
        "#[shard()]",
        "#[shard(\"a\" = 1)]",
        "#[shard(\"a\", text)]",
        "#[shard(\"a\", text = 1)]",
        "#[shard(\"a\", word = \"b\", more)]",
        "#[field]",
        "#[field(a)]",
        "#[sharded(default)]",
        "#[sharded(default = )]",
        "#[sharded(default = -\"a\", default = 1, default = 99999999999999999999)]",
        "#[sharded(default = 1e999)]",
        "#[sharded(collate)]",
        "#[sharded(collate = )]",
        "#[sharded(collate = \"nocase\", collate = nocase nocase)]",
        "#[sharded(collate = binary, collate = nocase, collate = nocase)]",
        "#[field(\"a\", \"b\")]",
        "#[lookup]",
        "#[lookup(unique)]",
    ];
    let shapes = [
        "@ struct A { @ id: i64 }",
        "@ struct A { #[id(auto)] id: i64, @ @ b: Parent<A>, @ c: &'static str }",
        "@ struct A { #[id] a: i64, @ r#type: Parent<B>, @ TYPE: Vec<u8> }",
        "@ struct A<'a, T, const N: usize> { @ id: T }",
        "@ struct A(@ i64);",
        "@ struct A;",
        "@ struct A();",
        "@ enum A { @ B, @ C(i64), @ D { e: i64 } }",
        "@ enum A {}",
        "@ union A { @ b: i64 }",
        "@ fn not_a_type() {}",
    ];
    for shape in shapes {
        for attribute in attributes {
            let source = shape.replace('@', attribute);
            let input = || source.parse::<TokenStream>().expect("tokens");
            let values = [value(input(), Role::ShardKey), value(input(), Role::Field)];
            for output in [sharded(input()), projection(input())].into_iter().chain(values) {
                assert!(syn::parse2::<syn::File>(output).is_ok(), "{source}");
            }
        }
    }
}

/// Every mistake of one struct is reported, each once.
#[test]
fn every_mistake_is_reported_at_once() {
    let output = sharded(quote! {
        #[sharded(tabel = "cities", index(nme), unique(name))]
        #[sharded(table = "sqlite_cities")]
        struct City {
            #[id(increment)]
            id: i64,
            #[shard_key(modulo)]
            country: String,
            #[sharded(column = "")]
            name: String,
            rowid: i64,
        }
    });
    assert_eq!(output.to_string().matches("compile_error").count(), 8);
}
