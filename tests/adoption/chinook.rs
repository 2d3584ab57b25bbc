//! The Chinook sample database, with models of one's own.

use shard_runtime::prelude::*;

use crate::{File, script, texts};

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "Genre", reference)]
struct Genre {
    #[id]
    #[sharded(column = "GenreId")]
    id: i64,
    #[sharded(column = "Name")]
    name: Option<String>,
}

/// A customer. Several columns of the table have no field.
#[derive(Sharded, Clone, Debug)]
#[sharded(table = "Customer")]
struct Customer {
    #[id]
    #[shard_key(hash)]
    #[sharded(column = "CustomerId")]
    id: i64,
    #[sharded(column = "FirstName")]
    first_name: String,
    #[sharded(column = "LastName")]
    last_name: String,
    #[sharded(column = "Email")]
    #[lookup]
    email: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "Invoice")]
struct Invoice {
    #[id(sequence)]
    #[sharded(column = "InvoiceId")]
    id: i64,
    #[shard_parent]
    #[sharded(column = "CustomerId")]
    customer: Parent<Customer>,
    #[sharded(column = "InvoiceDate")]
    date: String,
    #[sharded(column = "BillingCountry")]
    country: Option<String>,
    #[sharded(column = "Total")]
    total: f64,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "InvoiceLine")]
struct InvoiceLine {
    #[id(sequence)]
    #[sharded(column = "InvoiceLineId")]
    id: i64,
    #[shard_parent]
    #[sharded(column = "InvoiceId")]
    invoice: Parent<Invoice>,
    #[sharded(column = "TrackId")]
    track: i64,
    #[sharded(column = "UnitPrice")]
    price: f64,
    #[sharded(column = "Quantity")]
    quantity: u8,
}

type Models = (Genre, Customer, Invoice, InvoiceLine);

#[test]
fn chinook_is_adopted_after_the_sql_of_the_report() {
    let file = File::new(&script("chinook.sqlite.sql"));
    let sums = "SELECT (SELECT sum(Total) FROM Invoice) || ' ' || (SELECT count(*) FROM InvoiceLine) || ' ' \
                || (SELECT group_concat(name, ',') FROM (SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sharded_%' ORDER BY name))";
    let read = || file.plain().query_row(sums, [], |row| row.get::<_, String>(0)).unwrap();
    let before = read();

    let report = file.builder().adopt::<Models>().unwrap().report().clone();
    let found = texts(&report);
    for part in [
        "table `Invoice`, column `Total`: expected type REAL, found NUMERIC(10,2)",
        "table `InvoiceLine`, column `UnitPrice`: expected type REAL, found NUMERIC(10,2)",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    assert!(found.contains("table `Customer`: no index on Email"), "{found}");
    assert_eq!(report.differences.len(), 3, "{report}");
    let notes: String = report.notes.iter().map(|note| format!("{note}\n")).collect();
    assert!(notes.contains("table `Invoice`, column `InvoiceId`: the cluster generates ids"), "{notes}");
    assert!(file.is_untouched());

    file.heal(&report);
    assert_eq!(read(), before.replace(",Customer,", ",Customer,Customer(Email),"), "the rest is the same");
    let healed = file.schema().join("\n");
    assert!(
        healed.contains("[Total] REAL NOT NULL") || healed.contains("[Total] REAL  NOT NULL"),
        "{healed}"
    );

    let cluster = file.builder().adopt::<Models>().unwrap().run().unwrap();
    let mut session = cluster.session();
    let luis = session.all(Customer::select().filter(Customer::EMAIL.eq("luisg@embraer.com.br"))).unwrap();
    assert_eq!((luis.len(), luis[0].first_name.as_str()), (1, "Luís"));
    let invoices = session.all(luis[0].children::<Invoice>().order_by(Invoice::TOTAL.desc())).unwrap();
    assert_eq!(
        (invoices.len(), invoices[0].total, invoices[0].date.as_str()),
        (7, 13.86, "2024-12-07 00:00:00")
    );
    let rock = session.get::<Genre>(1).unwrap().unwrap();
    assert_eq!(rock.name.as_deref(), Some("Rock"));
    let highest: i64 =
        file.plain().query_row("SELECT max(InvoiceId) FROM Invoice", [], |row| row.get(0)).unwrap();
    let new = NewInvoice { customer: luis[0].link(), date: "2030-01-01".into(), country: None, total: 2.0 };
    let invoice = session.add(new).unwrap();
    assert!(invoice.id > highest, "{} is above {highest}", invoice.id);
    session.add(NewInvoiceLine { invoice: invoice.link(), track: 1, price: 1.0, quantity: 2 }).unwrap();
    session.commit().unwrap();
    let prices = session.one(InvoiceLine::select().all_shards().aggregate(InvoiceLine::PRICE.max())).unwrap();
    assert_eq!(prices, Some(1.0));
    drop(session);
    assert_eq!(cluster.verify().unwrap().found(), 0);
    drop(cluster);
    assert_eq!(file.builder().open::<Models>().unwrap().verify().unwrap().found(), 0);
}
