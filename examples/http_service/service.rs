//! The service: its models, its routes, and its responses to failures. Its only state is a cluster.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use shard_runtime::prelude::*;

/// The shards of the continents' cities.
pub const SHARDS: [&str; 4] = ["north_america", "asia", "europe", "south_america"];

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "cities")]
pub struct City {
    #[id(sequence)]
    pub id: i64,
    #[shard_key(list(
        "North America" => "north_america",
        "Asia" => "asia",
        "Europe" => "europe",
        "South America" => "south_america",
    ))]
    pub continent: String,
    pub name: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(table = "reports", index(temperature))]
pub struct Report {
    #[id(auto)]
    pub id: i64,
    #[shard_parent]
    pub city: Parent<City>,
    pub temperature: f64,
}

/// Returns the routes. Each request has its own session. If the client disconnects, the session is dropped and rolled back.
pub fn routes(cluster: Cluster) -> Router {
    Router::new()
        .route("/cities", post(create_city))
        .route("/cities/{id}/reports", post(create_report).get(list_reports))
        .route("/reports/warmest", get(warmest))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .with_state(cluster)
}

/// Returns the counters of the cluster, for Prometheus.
async fn metrics(State(cluster): State<Cluster>) -> impl IntoResponse {
    ([("content-type", crate::metrics::CONTENT_TYPE)], crate::metrics::text(&cluster.stats()))
}

/// Returns 200 to a load balancer if every shard answers within a second. Connecting blocks, so it runs on its own thread.
async fn health(State(cluster): State<Cluster>) -> (StatusCode, String) {
    match tokio::task::spawn_blocking(move || cluster.health(Duration::from_secs(1))).await {
        Ok(health) if health.is_healthy() => (StatusCode::OK, format!("{health}\n")),
        Ok(health) => (StatusCode::SERVICE_UNAVAILABLE, format!("{health}\n")),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

#[derive(Deserialize)]
struct CityToCreate {
    continent: String,
    name: String,
}

#[derive(Deserialize)]
struct ReportToCreate {
    temperature: f64,
}

/// The id and the shard of a new row: ids of reports are unique on their shard only.
#[derive(Serialize)]
struct Created {
    id: i64,
    shard: String,
}

#[derive(Serialize)]
struct ReportOfCity {
    city: String,
    temperature: f64,
}

type Answer<T> = Result<T, Failure>;

async fn create_city(
    State(cluster): State<Cluster>,
    Json(CityToCreate { continent, name }): Json<CityToCreate>,
) -> Answer<(StatusCode, Json<Created>)> {
    let mut session = cluster.async_session();
    let city = session.add(NewCity { continent, name }).await?;
    session.commit().await?;
    Ok((StatusCode::CREATED, Json(Created { id: city.id, shard: city.shard().to_string() })))
}

/// Finds the city, adds the report on its shard, and commits, in one trip to a thread. It waits for locks of other sessions.
async fn create_report(
    State(cluster): State<Cluster>,
    Path(id): Path<i64>,
    Json(ReportToCreate { temperature }): Json<ReportToCreate>,
) -> Answer<(StatusCode, Json<Created>)> {
    let report = cluster.async_try_transaction(move |session| {
        let city = session.get::<City>(id)?.ok_or(Failure::NoSuchCity)?;
        Ok::<_, Failure>(session.add(NewReport { city: city.link(), temperature })?)
    });
    let report = report.await?;
    Ok((StatusCode::CREATED, Json(Created { id: report.id, shard: report.shard().to_string() })))
}

/// Returns the reports of one city, from its own shard.
async fn list_reports(
    State(cluster): State<Cluster>,
    Path(id): Path<i64>,
) -> Answer<Json<Vec<ReportOfCity>>> {
    let mut session = cluster.async_session();
    let city = session.get::<City>(id).await?.ok_or(Failure::NoSuchCity)?;
    let reports = session.all(city.children::<Report>().order_by(Report::ID.asc())).await?;
    Ok(Json(reports.iter().map(|report| of_city(report, &city)).collect()))
}

/// Returns the ten warmest reports of all shards, each with its city.
async fn warmest(State(cluster): State<Cluster>) -> Answer<Json<Vec<ReportOfCity>>> {
    let ten = Report::select().all_shards().order_by(Report::TEMPERATURE.desc()).limit(10);
    let ten = cluster.async_session().all(ten.with_parent()).await?;
    Ok(Json(ten.iter().map(|(report, city)| of_city(report, city)).collect()))
}

fn of_city(report: &Stored<Report>, city: &Stored<City>) -> ReportOfCity {
    ReportOfCity { city: city.name.clone(), temperature: report.temperature }
}

/// The reasons for a failed request.
pub enum Failure {
    NoSuchCity,
    Shards(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Shards(error)
    }
}

impl IntoResponse for Failure {
    /// The client gets its own mistakes and the time to retry after; other errors are for the operator of the service.
    fn into_response(self) -> Response {
        let error = match self {
            Failure::NoSuchCity => return (StatusCode::NOT_FOUND, "there is no such city").into_response(),
            Failure::Shards(error) => error,
        };
        match error.kind() {
            ErrorKind::UnmappedKey | ErrorKind::Value => {
                (StatusCode::BAD_REQUEST, error.to_string()).into_response()
            }
            ErrorKind::Busy | ErrorKind::ConnectionLost => {
                (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response()
            }
            _ => {
                eprintln!("{error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
