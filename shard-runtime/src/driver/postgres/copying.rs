//! `COPY` in its binary form: rows that are copied in their stored form from one server to another. Uses
//! `server_session`, `values`, `errors`.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use futures_util::{SinkExt as _, Stream as _};
use tokio_postgres::types::Type;
use tokio_postgres::{CopyInSink, CopyOutStream};

use super::errors::from_postgres;
use super::server_session::PostgresConnection;
use super::settings::IS_WHOLE;
use super::text::Text;
use super::values::Raw;
use crate::driver::{RouteRow, StoredRows, StoredRowsWriter};
use crate::error::{Error, ErrorKind, Result, ValueError};
use crate::value::{ColumnType, Value};

/// How many bytes are collected before they are passed on: a server sends a message for each row.
const AT_ONCE: usize = 1 << 17;

/// The beginning of the binary form: a signature, flags, and the length of an extension that follows.
const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The end of the binary form, in place of the number of columns of a row.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

pub(super) struct CopyOut<'c> {
    connection: &'c PostgresConnection,
    /// `None` once it has ended.
    stream: Option<Pin<Box<CopyOutStream>>>,
    /// Bytes of a row that has not arrived completely.
    rest: Vec<u8>,
    is_after_header: bool,
}

impl<'c> CopyOut<'c> {
    pub(super) fn begin(connection: &'c PostgresConnection, sql: &str) -> Result<Self> {
        let (client, sql) = (connection.client(), sql.to_owned());
        let copying = async move { client.copy_out(sql.as_str()).await };
        let mut copying = pin!(connection.with_due_statements(&Text::own(""), copying));
        match connection.executor().wait_until(connection.deadline(), copying.as_mut()) {
            Ok(Ok(stream)) => {
                let stream = Some(Box::pin(stream));
                Ok(CopyOut { connection, stream, rest: Vec::new(), is_after_header: false })
            }
            Ok(Err(error)) => Err(connection.failed(from_postgres(error))),
            Err(stopped) => {
                connection.stop_statement(async move {
                    drop(copying.await?);
                    client.batch_execute(IS_WHOLE).await
                });
                Err(stopped)
            }
        }
    }

    /// Ends the statement on its server, unless it has ended.
    fn stop_statement(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        let client = self.connection.client();
        self.connection.stop_statement(async move {
            // Rows without a reader are skipped.
            drop(stream);
            client.batch_execute(IS_WHOLE).await
        });
    }

    /// Appends the rows of `rest` that have arrived completely to their parts. Returns how many bytes were read.
    fn split_rest(
        &mut self,
        kinds: &[ColumnType],
        parts: &mut [Vec<u8>],
        route: &mut RouteRow<'_>,
    ) -> Result<usize> {
        let mut bytes = self.rest.as_slice();
        if !self.is_after_header {
            let Some(rest) = after_header(bytes) else { return Ok(0) };
            (self.is_after_header, bytes) = (true, rest);
        }
        let mut keys = Vec::with_capacity(kinds.len());
        loop {
            keys.clear();
            match row(bytes, kinds, &mut keys)? {
                CopyItem::Row { columns, fields, rest } => {
                    let target = route(&keys)?;
                    for (at, part) in parts.iter_mut().enumerate() {
                        if target.is_none_or(|target| target == at) {
                            part.extend_from_slice(&columns.to_be_bytes());
                            part.extend_from_slice(fields);
                        }
                    }
                    bytes = rest;
                }
                CopyItem::End => return Ok(self.rest.len()),
                CopyItem::Incomplete => return Ok(self.rest.len() - bytes.len()),
            }
        }
    }
}

impl StoredRows for CopyOut<'_> {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let reading = async move {
            let mut found = Vec::with_capacity(AT_ONCE + 4_096);
            let has_ended = poll_fn(|context| {
                while found.len() < AT_ONCE {
                    match stream.as_mut().poll_next(context) {
                        Poll::Ready(Some(Ok(bytes))) => found.extend_from_slice(&bytes),
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                        Poll::Ready(None) => return Poll::Ready(Ok(true)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                Poll::Ready(Ok(false))
            });
            has_ended.await.map(|has_ended| (found, has_ended))
        };
        match self.connection.executor().wait_until(self.connection.deadline(), reading) {
            Ok(Ok((found, has_ended))) => {
                if has_ended {
                    self.stream = None;
                }
                Ok((!found.is_empty()).then_some(found))
            }
            Ok(Err(error)) => {
                self.stream = None;
                Err(self.connection.failed(from_postgres(error)))
            }
            Err(stopped) => {
                self.stop_statement();
                Err(stopped)
            }
        }
    }

    fn split(
        &mut self,
        keys: &[ColumnType],
        parts: &mut [Vec<u8>],
        route: &mut RouteRow<'_>,
    ) -> Result<bool> {
        let Some(bytes) = self.next()? else { return Ok(false) };
        self.rest.extend_from_slice(&bytes);
        let read = self.split_rest(keys, parts, route)?;
        self.rest.drain(..read);
        Ok(true)
    }
}

impl Drop for CopyOut<'_> {
    fn drop(&mut self) {
        self.stop_statement();
    }
}

pub(super) struct CopyIn<'c> {
    connection: &'c PostgresConnection,
    /// `None` once it has ended.
    sink: Option<Pin<Box<CopyInSink<Bytes>>>>,
    /// Whether rows without the header were written.
    has_rows: bool,
}

impl<'c> CopyIn<'c> {
    pub(super) fn begin(connection: &'c PostgresConnection, sql: &str) -> Result<Self> {
        let (client, sql) = (connection.client(), sql.to_owned());
        let copying = async move { client.copy_in(sql.as_str()).await };
        let mut copying = pin!(connection.with_due_statements(&Text::own(""), copying));
        match connection.executor().wait_until(connection.deadline(), copying.as_mut()) {
            Ok(Ok(sink)) => Ok(CopyIn { connection, sink: Some(Box::pin(sink)), has_rows: false }),
            Ok(Err(error)) => Err(connection.failed(from_postgres(error))),
            Err(stopped) => {
                connection.stop_statement(async move {
                    let sink: CopyInSink<Bytes> = copying.await?;
                    drop(sink);
                    client.batch_execute(IS_WHOLE).await
                });
                Err(stopped)
            }
        }
    }

    /// Ends the statement without its rows, unless it has ended.
    fn stop_statement(&mut self) {
        let Some(sink) = self.sink.take() else { return };
        let client = self.connection.client();
        self.connection.stop_statement(async move {
            // The statement fails, and is undone.
            drop(sink);
            client.batch_execute(IS_WHOLE).await
        });
    }

    /// Returns the answer to a write, or ends the statement.
    fn answered<O>(&mut self, answer: Result<Result<O, tokio_postgres::Error>>) -> Result<O> {
        match answer {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                self.sink = None;
                Err(self.connection.failed(from_postgres(error)))
            }
            Err(stopped) => {
                self.stop_statement();
                Err(stopped)
            }
        }
    }
}

fn has_ended() -> Error {
    Error::new(ErrorKind::Database, "the statement that copies rows has ended")
}

impl StoredRowsWriter for CopyIn<'_> {
    fn write(&mut self, bytes: Vec<u8>) -> Result<()> {
        let Some(sink) = &mut self.sink else { return Err(has_ended()) };
        let sending = async move {
            match sink.send(Bytes::from(bytes)).await {
                // The end returns the server's own error.
                Err(error) => match sink.as_mut().finish().await {
                    Err(answer) => Err(answer),
                    Ok(_) => Err(error),
                },
                Ok(()) => Ok(()),
            }
        };
        let sent = self.connection.executor().wait_until(self.connection.deadline(), sending);
        self.answered(sent)
    }

    fn write_rows(&mut self, mut rows: Vec<u8>) -> Result<()> {
        if !std::mem::replace(&mut self.has_rows, true) {
            rows.splice(..0, HEADER.iter().copied());
        }
        self.write(rows)
    }

    fn end(mut self: Box<Self>) -> Result<u64> {
        if self.has_rows {
            self.write(TRAILER.to_vec())?;
        }
        let Some(sink) = &mut self.sink else { return Err(has_ended()) };
        let ended = self.connection.executor().wait_until(self.connection.deadline(), sink.as_mut().finish());
        let rows = self.answered(ended)?;
        self.sink = None;
        Ok(rows)
    }
}

impl Drop for CopyIn<'_> {
    fn drop(&mut self) {
        self.stop_statement();
    }
}

/// The next item of the binary form.
enum CopyItem<'r> {
    /// The fields of a row except the last ones, and the bytes behind it.
    Row {
        columns: i16,
        fields: &'r [u8],
        rest: &'r [u8],
    },
    End,
    Incomplete,
}

/// Returns the bytes behind the header.
fn after_header(bytes: &[u8]) -> Option<&[u8]> {
    let (fixed, rest) = bytes.split_at_checked(HEADER.len())?;
    let extension = u32::from_be_bytes(*fixed.last_chunk()?);
    rest.get(usize::try_from(extension).ok()?..)
}

/// Splits a row off, and decodes its last fields.
fn row<'r>(bytes: &'r [u8], kinds: &[ColumnType], keys: &mut Vec<Value<'r>>) -> Result<CopyItem<'r>> {
    let Some((columns, all)) = bytes.split_first_chunk() else { return Ok(CopyItem::Incomplete) };
    let columns = i16::from_be_bytes(*columns);
    let Ok(count) = usize::try_from(columns) else { return Ok(CopyItem::End) };
    let Some(own) = count.checked_sub(kinds.len()) else {
        return Err(Error::new(ErrorKind::Database, "a copied row has too few columns"));
    };
    let mut rest = all;
    for _ in 0..own {
        match field(rest) {
            Some((_, after)) => rest = after,
            None => return Ok(CopyItem::Incomplete),
        }
    }
    let fields = all.get(..all.len() - rest.len()).unwrap_or_default();
    for &kind in kinds {
        match field(rest) {
            Some((key, after)) => {
                keys.push(value(key, kind)?);
                rest = after;
            }
            None => return Ok(CopyItem::Incomplete),
        }
    }
    Ok(CopyItem::Row { columns: i16::try_from(own).unwrap_or_default(), fields, rest })
}

/// Splits a field off, which is `None` for NULL.
fn field(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    match usize::try_from(i32::from_be_bytes(*length)) {
        Ok(length) => rest.split_at_checked(length).map(|(field, rest)| (Some(field), rest)),
        Err(_) => Some((None, rest)),
    }
}

/// Decodes a field of a column of this kind.
fn value(field: Option<&[u8]>, kind: ColumnType) -> Result<Value<'_>, ValueError> {
    let Some(bytes) = field else { return Ok(Value::Null) };
    let sql_type = match (kind, bytes.len()) {
        (ColumnType::Boolean, _) => Type::BOOL,
        (ColumnType::Integer, 2) => Type::INT2,
        (ColumnType::Integer, 4) => Type::INT4,
        (ColumnType::Integer, _) => Type::INT8,
        (ColumnType::Real, 4) => Type::FLOAT4,
        (ColumnType::Real, _) => Type::FLOAT8,
        (ColumnType::Text, _) => Type::TEXT,
        (ColumnType::Bytes, _) => Type::BYTEA,
        (ColumnType::Uuid, _) => Type::UUID,
        (ColumnType::Timestamp, _) => Type::TIMESTAMPTZ,
        (ColumnType::Json, _) => {
            return Err(ValueError::new("a document is no key"));
        }
    };
    Raw::of(bytes).value(&sql_type)?.into_kind(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(fields: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = i16::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
        for field in fields {
            match field {
                Some(field) => {
                    bytes.extend(i32::try_from(field.len()).unwrap().to_be_bytes());
                    bytes.extend_from_slice(field);
                }
                None => bytes.extend((-1_i32).to_be_bytes()),
            }
        }
        bytes
    }

    #[test]
    fn rows_are_cut_wherever_their_bytes_end() {
        let id = 5_i64.to_be_bytes();
        let row_bytes = encoded(&[Some(&id), None, Some(b""), Some(b"a\tb\\N"), None]);
        let kinds = [ColumnType::Text, ColumnType::Integer];
        let mut all = row_bytes.clone();
        all.extend((-1_i16).to_be_bytes());
        for length in 0..row_bytes.len() {
            let cut = row(&all[..length], &kinds, &mut Vec::new()).unwrap();
            assert!(matches!(cut, CopyItem::Incomplete), "{length}");
        }
        let mut keys = Vec::new();
        let CopyItem::Row { columns, fields, rest } = row(&all, &kinds, &mut keys).unwrap() else { panic!() };
        assert_eq!((columns, &*keys), (3, &[Value::Text("a\tb\\N".into()), Value::Null][..]));
        assert_eq!(fields, &encoded(&[Some(&id), None, Some(b"")])[2..]);
        assert!(matches!(row(rest, &kinds, &mut keys).unwrap(), CopyItem::End));
        assert!(row(&encoded(&[None]), &kinds, &mut keys).is_err());
    }

    #[test]
    fn keys_are_values_of_their_kinds() {
        let read = |bytes: &[u8], kind| value(Some(bytes), kind).map(Value::into_owned);
        assert_eq!(read(&7_i16.to_be_bytes(), ColumnType::Integer).unwrap(), Value::Integer(7));
        assert_eq!(read(&(-7_i32).to_be_bytes(), ColumnType::Integer).unwrap(), Value::Integer(-7));
        assert_eq!(read(&i64::MIN.to_be_bytes(), ColumnType::Integer).unwrap(), Value::Integer(i64::MIN));
        assert_eq!(read(b"", ColumnType::Text).unwrap(), Value::Text("".into()));
        assert_eq!(value(None, ColumnType::Uuid).unwrap(), Value::Null);
        assert!(read(b"\xff", ColumnType::Text).is_err() && read(b"x", ColumnType::Uuid).is_err());
    }
}
