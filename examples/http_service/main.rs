//! A web service over a cluster: weather reports of cities on four continents, a database each.
//!
//! Run it with `cargo run -p http_service`, or with an address and a folder of your own:
//!
//! ```sh
//! cargo run -p http_service -- 127.0.0.1:8080 weather
//! curl -X POST localhost:8080/cities -H 'content-type: application/json' -d '{"continent": "Asia", "name": "Tokyo"}'
//! curl -X POST localhost:8080/cities/1/reports -H 'content-type: application/json' -d '{"temperature": 80}'
//! curl localhost:8080/cities/1/reports
//! curl localhost:8080/reports/warmest
//! curl localhost:8080/metrics
//! curl localhost:8080/health
//! ```

mod metrics;
mod service;

use std::error::Error;
use std::path::Path;

use shard_runtime::Cluster;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let own = tempfile::tempdir()?;
    let folder = arguments.next().map_or_else(|| own.path().to_owned(), Into::into);
    std::fs::create_dir_all(&folder)?;

    let cluster = cluster(&folder).await?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}, with the shards in {}", listener.local_addr()?, folder.display());
    axum::serve(listener, service::routes(cluster)).await?;
    Ok(())
}

async fn cluster(folder: &Path) -> shard_runtime::Result<Cluster> {
    let shards = service::SHARDS.iter().fold(Cluster::builder(), |builder, shard| {
        builder.shard(*shard, format!("sqlite:{}", folder.join(format!("{shard}.db")).display()))
    });
    shards.async_create::<(service::City, service::Report)>().await
}
