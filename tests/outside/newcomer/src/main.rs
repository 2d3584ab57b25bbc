//! A bookshop with branches in four countries: what a newcomer writes with `shard-runtime` and nothing else.

mod books;
mod branches;

use std::path::Path;

use books::{Book, Format, Isbn, NewBook, Publisher};
use branches::{Branch, Country, NewBranch, NewSale, Sale};
use shard_runtime::{Cluster, ErrorKind, Filter, Result, Session, Sharded};

/// Everything that the cluster holds.
type Shop = (Branch, Sale, Publisher, Book);

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).expect("the folder for the databases");
    let cluster = builder(Path::new(&folder)).create::<Shop>()?;
    fill(&cluster)?;
    drop(cluster);

    let cluster = builder(Path::new(&folder)).open::<Shop>()?;
    read(&cluster)?;
    read_books(&cluster)?;
    change(&cluster)?;
    println!("done");
    Ok(())
}

fn builder(folder: &Path) -> shard_runtime::Builder {
    let file = |name: &str| format!("sqlite:{}", folder.join(name).display());
    Cluster::builder()
        .shard("north", file("north.db"))
        .shard("south", file("south.db"))
        // Two shards in one file.
        .shard("east", file("far.db?prefix=east_"))
        .shard("west", file("far.db?prefix=west_"))
}

fn fill(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.session();
    let branches = session.add_all([
        NewBranch { country: Country::Norway, city: "Oslo".into() },
        NewBranch { country: Country::Italy, city: "Rome".into() },
        NewBranch { country: Country::Italy, city: "Milan".into() },
        NewBranch { country: Country::Japan, city: "Tokyo".into() },
    ])?;
    for (branch, title, price) in
        [(0, "Peer Gynt", 12.5), (1, "Inferno", 20.0), (1, "Paradiso", 18.0), (3, "Kokoro", 9.5)]
    {
        session.add(NewSale { branch: branches[branch].link(), title: title.into(), price: Some(price) })?;
    }
    for (id, name) in [(1, "Gyldendal"), (2, "Einaudi"), (3, "Iwanami")] {
        session.add(Publisher { id, name: name.into() })?;
    }
    for (publisher_id, title, year, format) in [
        (1, "Peer Gynt", 1867, Format::Paper),
        (2, "Inferno", 1321, Format::Audio),
        (2, "Le città invisibili", 1972, Format::Paper),
        (3, "Kokoro", 1914, Format::Paper),
    ] {
        let isbn = (year > 1970).then(|| Isbn("88-06-34567".into()));
        session.add(NewBook { publisher_id, title: title.into(), year, format, isbn })?;
    }
    session.commit()?;
    let lives: Vec<String> = branches.iter().map(|row| format!("{} on {}", row.city, row.shard())).collect();
    println!("branches: {}", lives.join(", "));
    Ok(())
}

fn read(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.session();
    let italian = Branch::select().filter(Branch::COUNTRY.eq(Country::Italy)).order_by(Branch::CITY.asc());
    let explained = cluster.explain(&italian)?;
    println!("asks {}: {}", explained.shards().join(", "), explained.reason());
    let italian = session.all(italian)?;
    println!(
        "in Italy: {}",
        italian.iter().map(|branch| branch.city.as_str()).collect::<Vec<_>>().join(", ")
    );

    let two = Branch::select().filter(Branch::COUNTRY.is_in([Country::Japan, Country::Norway]));
    println!("asks {}", cluster.explain(&two)?.shards().join(", "));
    println!("in Japan and Norway: {}", session.one(two.count())?);

    let rome = session.one(Branch::select().on(Country::Italy).filter(Branch::CITY.starts_with("Ro")))?;
    let sales = session.all(rome.children::<Sale>().order_by(Sale::PRICE.desc()))?;
    for sale in &sales {
        let branch = session.parent(sale)?;
        println!(
            "{} sold {} for {:?}, sale {} of {}",
            branch.city,
            sale.title,
            sale.price,
            sale.id,
            sale.shard()
        );
    }
    let again = session.get(Sale::by_id(1).on(Country::Italy))?;
    println!("sale 1 in Italy: {}", again.map_or_else(String::new, |sale| sale.title.clone()));

    let dearest = Sale::select().all_shards().order_by(Sale::PRICE.desc().nulls_last()).limit(2).offset(1);
    let dearest = session.all(dearest)?;
    println!(
        "second and third: {}",
        dearest.iter().map(|sale| sale.title.as_str()).collect::<Vec<_>>().join(", ")
    );
    for (branch, sales) in
        session.all_with::<Sale>(Branch::select().all_shards().order_by(Branch::CITY.asc()))?
    {
        println!("{}: {} sales", branch.city, sales.len());
    }
    let mean = session.one(Sale::select().all_shards().aggregate(Sale::PRICE.avg()))?;
    println!("the mean price is {mean:?}");
    Ok(())
}

fn read_books(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.session();
    let publisher = session.get::<Publisher>(2)?.expect("a publisher");
    let books =
        session.all(Book::select().filter(Book::PUBLISHER_ID.eq(publisher.id)).order_by(Book::YEAR.asc()))?;
    println!(
        "{} has {}, on its shard: {}",
        publisher.name,
        books.len(),
        books[0].shard() == publisher.shard()
    );
    let old_or_audio = Book::YEAR.lt(1900) & Book::ISBN.is_null() | Book::FORMAT.eq(Format::Audio);
    let found = session.all(Book::select().all_shards().filter(old_or_audio).order_by(Book::TITLE.asc()))?;
    println!("old or audio: {}", titles(&found));
    let wanted = Filter::all([Book::TITLE.like("%o"), !Book::YEAR.between(1900, 1950)]);
    let found = session.all(Book::select().all_shards().filter(wanted))?;
    println!("ends with o, not of 1900 to 1950: {}", titles(&found));
    println!("{:?}, {:?}", books[1].isbn, books[0].format);
    Ok(())
}

fn titles(books: &[shard_runtime::Stored<Book>]) -> String {
    books.iter().map(|book| book.title.as_str()).collect::<Vec<_>>().join(", ")
}

fn change(cluster: &Cluster) -> Result<()> {
    let mut session = cluster.session();
    let mut oslo = session.one(Branch::select().filter(Branch::COUNTRY.eq(Country::Norway)))?;
    oslo.city = "Bergen".into();
    session.update(&mut oslo)?;
    session.reload(&mut oslo)?;
    println!("moved house: {}", oslo.city);
    oslo.country = Country::Japan;
    let refused = session.update(&mut oslo).err().map(|error| error.kind());
    println!("moved country: {}", refused == Some(ErrorKind::ShardKeyChanged));
    session.rollback();
    println!("after the rollback: {}", norwegian(&mut session)?);

    let raised = Sale::update().all_shards().filter(Sale::PRICE.lt(10.0)).set(Sale::PRICE, Some(10.0));
    println!("raised {}", session.execute(raised)?);
    let sold = session.first(Sale::select().on(Country::Norway))?.expect("a sale");
    session.delete(&sold)?;
    println!("removed {}", session.execute(Sale::delete().on_shard("south"))?);
    session.commit()?;
    println!("left: {}", cluster.session().one(Sale::select().all_shards().count())?);
    Ok(())
}

fn norwegian(session: &mut Session) -> Result<String> {
    Ok(session
        .one(Branch::select().on(Country::Norway).filter(Branch::COUNTRY.eq(Country::Norway)))?
        .city
        .clone())
}
