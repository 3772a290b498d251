//! A catalog in PostgreSQL. The connection stays; each reading is a transaction of its own that sees one
//! state, and is asked at once what it will be asked ([`Ahead`]). Values come in the binary format, so that no setting of the server changes how they are written.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use futures::FutureExt;
use futures::future::{join, join_all};
use tidegate_core::ErrorKind;
use tidegate_postgres::tokio_postgres::types::{FromSql, ToSql, Type};
use tidegate_postgres::tokio_postgres::{self, Row};
use tidegate_postgres::{Connection, PostgresError, Session, Value};
use tokio::runtime::Handle;

use super::ahead::{Ahead, Question};
use super::numeric;
use super::{Answer, DOING, Opened, without};
use crate::error::LakeError;
use crate::native::catalog::libpq;
use crate::row::{Asked, Cell};

/// Answers with more rows are not worth asking for on a guess.
const FORESEEN_ROWS_MAX: usize = 256;
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A catalog's database.
pub struct Server {
    lake: String,
    place: Connection,
    options: String,
    secrets: Vec<String>,
    session: Option<Session>,
    ahead: Ahead,
    /// What the reading under way has asked, and answers to what it may ask.
    asked: RefCell<Vec<Question>>,
    answers: RefCell<HashMap<Question, Answer>>,
    /// How many of its questions were answered before they were asked.
    foreseen: RefCell<usize>,
}

impl Server {
    /// Reads where the server is. Nothing is connected yet.
    pub fn new(lake: &str, connection: &str, base: &Path, secrets: Vec<String>) -> Result<Self, LakeError> {
        let refuse =
            |message: String| LakeError::Config { lake: lake.to_owned(), message: without(&message, &secrets) };
        let (place, options) = libpq::parse(connection, base).map_err(refuse)?;
        let options = format!("-c default_transaction_read_only=on {options}");
        Ok(Server {
            lake: lake.to_owned(),
            place,
            options,
            secrets,
            session: None,
            ahead: Ahead::default(),
            asked: RefCell::default(),
            answers: RefCell::default(),
            foreseen: RefCell::default(),
        })
    }

    /// Begins a reading. A connection that was cut while nobody used it is opened anew. One that follows on others of
    /// its kind gets answers to what it will probably ask, in the same round trip.
    pub fn begin(&mut self, follows: bool) -> Result<Opened, LakeError> {
        let runtime = self.runtime()?;
        let guesses = if follows { self.ahead.guess() } else { Vec::new() };
        if let Some(session) = self.session.take().filter(|session| !session.is_closed()) {
            let asked = join_all(guesses.iter().map(|question| ask(session.client(), question)));
            let all =
                join(session.client().batch_execute(BEGIN), asked).map(|(begun, answers)| begun.map(|()| answers));
            match runtime.block_on(session.wait(DOING, all)) {
                Ok(answers) => {
                    self.session = Some(session);
                    return self.take_answers(guesses, answers).map(|()| Opened::Before);
                }
                Err(error) if !error.is_passing() => return Err(self.failed(&error)),
                Err(_) => {}
            }
        }
        let opened = runtime.block_on(async {
            let session = self.place.session(&self.options).await?;
            session.execute(DOING, BEGIN).await?;
            Ok::<_, PostgresError>(session)
        });
        self.session = Some(opened.map_err(|error| self.failed(&error))?);
        Ok(Opened::Anew)
    }

    /// Keeps what was answered. Where a guess failed (a table is gone), so did the transaction: it begins again.
    fn take_answers(
        &mut self,
        guesses: Vec<Question>,
        answers: Vec<Result<Vec<Row>, tokio_postgres::Error>>,
    ) -> Result<(), LakeError> {
        if let Ok(answers) = answers.into_iter().collect::<Result<Vec<_>, _>>() {
            let answers =
                guesses.into_iter().zip(answers).map(|(guess, rows)| Ok((guess.clone(), self.answer(&guess, &rows)?)));
            let answers = answers.collect::<Result<HashMap<_, _>, LakeError>>()?;
            self.answers.replace(answers);
            return Ok(());
        }
        self.ahead.forget();
        let runtime = self.runtime()?;
        let session = self.session()?;
        let again = runtime.block_on(join(session.execute(DOING, "ROLLBACK"), session.execute(DOING, BEGIN)));
        let begun = again.0.and(again.1).map_err(|error| self.failed(&error));
        if begun.is_err() {
            self.session = None;
        }
        begun
    }

    /// Ends a reading. What was read is right however that goes, so nobody waits for it.
    pub fn end(&mut self, follows: bool) {
        self.answers.take();
        let (asked, foreseen) = (self.asked.take(), self.foreseen.take());
        tracing::trace!(source = self.lake, asked = asked.len(), foreseen, "the catalog was read");
        if follows {
            self.ahead.learn(asked);
        }
        let Some(session) = self.session.take().filter(|session| !session.is_closed()) else { return };
        let Ok(runtime) = self.runtime() else { return };
        let _within = runtime.enter();
        // Asked once, it is on its way, before whatever is asked next.
        if !matches!(session.execute("ending a transaction", "ROLLBACK").now_or_never(), Some(Err(_))) {
            self.session = Some(session);
        }
    }

    /// The rows of a query; `$1` in it is `text`.
    pub fn rows(&self, sql: &str, text: Option<&str>) -> Result<Answer, LakeError> {
        let question = Question { sql: sql.to_owned(), text: text.map(str::to_owned) };
        let known = self.answers.borrow_mut().remove(&question);
        let answer = match known {
            Some(answer) => {
                *self.foreseen.borrow_mut() += 1;
                answer
            }
            None => self.runtime()?.block_on(self.query(self.session()?, &question))?,
        };
        if answer.rows.len() <= FORESEEN_ROWS_MAX {
            self.asked.borrow_mut().push(question);
        }
        Ok(answer)
    }

    /// The newest snapshot, outside of a reading.
    pub fn glance(&self, sql: &str) -> Result<Answer, LakeError> {
        let question = Question { sql: sql.to_owned(), text: None };
        self.runtime()?.block_on(self.query(self.session()?, &question))
    }

    async fn query(&self, session: &Session, question: &Question) -> Result<Answer, LakeError> {
        let rows = session.wait(DOING, ask(session.client(), question)).await;
        self.answer(question, &rows.map_err(|error| self.failed(&error))?)
    }

    fn answer(&self, question: &Question, rows: &[Row]) -> Result<Answer, LakeError> {
        let columns = rows.first().map_or(&[][..], |row| row.columns());
        let columns: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
        let asked = Asked { lake: self.lake.clone(), sql: question.sql.clone(), columns };
        let cell = |row: &Row, at: usize| {
            let cell = row.try_get::<_, Option<Binary>>(at);
            cell.map(|cell| cell.map_or(Cell::Null, |Binary(cell)| cell))
                .map_err(|_| asked.not_a(at, "of a known type"))
        };
        let rows = rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect());
        let rows = rows.collect::<Result<Vec<Vec<Cell>>, LakeError>>()?;
        Ok(Answer { asked, rows })
    }

    /// How many questions of the reading under way were answered before they were asked.
    #[cfg(test)]
    pub fn foreseen(&self) -> usize {
        *self.foreseen.borrow()
    }

    fn session(&self) -> Result<&Session, LakeError> {
        self.session.as_ref().ok_or_else(|| LakeError::Abandoned { lake: self.lake.clone() })
    }

    fn runtime(&self) -> Result<Handle, LakeError> {
        Handle::try_current().map_err(|_| LakeError::Catalog {
            lake: self.lake.clone(),
            message: "asking the catalog outside of a runtime".to_owned(),
            kind: ErrorKind::Bug,
        })
    }

    /// What the server says, without values and secrets.
    fn failed(&self, error: &PostgresError) -> LakeError {
        let message = match error {
            // Inlined rows were flushed: tables are dropped for everybody at once.
            PostgresError::Refused { state, .. } if state == "42P01" => {
                return LakeError::CatalogTable {
                    lake: self.lake.clone(),
                    message: without(&error.to_string(), &self.secrets),
                };
            }
            // Of data exceptions the message would show the value.
            PostgresError::Refused { doing, state, .. } if state.starts_with("22") => {
                format!("{doing} failed: a value does not fit (SQLSTATE {state})")
            }
            other => without(&other.to_string(), &self.secrets),
        };
        let kind = if error.is_passing() { ErrorKind::Retry } else { ErrorKind::Reconfigure };
        LakeError::Catalog { lake: self.lake.clone(), message, kind }
    }
}

async fn ask(client: &tokio_postgres::Client, question: &Question) -> Result<Vec<Row>, tokio_postgres::Error> {
    let Question { sql, text } = question;
    let values: Vec<Value<'_>> = text.iter().map(|text| (text as &(dyn ToSql + Sync), Type::TEXT)).collect();
    client.query_typed(sql, &values).await
}

/// A value in the binary format.
struct Binary(Cell);

impl<'a> FromSql<'a> for Binary {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        cell(ty, raw).map(Binary).ok_or_else(|| "not a value of a known type".into())
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn cell(ty: &Type, raw: &[u8]) -> Option<Cell> {
    Some(match *ty {
        Type::BOOL => Cell::Bool(*raw.first()? != 0),
        Type::INT2 => Cell::Integer(i16::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT4 => Cell::Integer(i32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT8 => Cell::Integer(i64::from_be_bytes(raw.try_into().ok()?)),
        Type::FLOAT4 => Cell::Float(f32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::FLOAT8 => Cell::Float(f64::from_be_bytes(raw.try_into().ok()?)),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::UNKNOWN => {
            Cell::Text(std::str::from_utf8(raw).ok()?.to_owned())
        }
        Type::BYTEA => Cell::Bytes(raw.to_vec()),
        Type::NUMERIC => Cell::Text(numeric::text(raw)?),
        Type::UUID => Cell::Text(uuid(raw)?),
        Type::TIME => Cell::Text(time(i64::from_be_bytes(raw.try_into().ok()?))),
        Type::INTERVAL => {
            let (micros, rest) = raw.split_first_chunk::<8>()?;
            let (days, rest) = rest.split_first_chunk::<4>()?;
            let months = i32::from_be_bytes(rest.try_into().ok()?);
            let (micros, days) = (i64::from_be_bytes(*micros), i32::from_be_bytes(*days));
            Cell::Text(format!("{months} months {days} days {micros} microseconds"))
        }
        _ => return None,
    })
}

fn uuid(raw: &[u8]) -> Option<String> {
    let bits = u128::from_be_bytes(raw.try_into().ok()?);
    let part = |from: u32, digits: u32| (bits >> from) & ((1 << (digits * 4)) - 1);
    Some(format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 8),
        part(80, 4),
        part(64, 4),
        part(48, 4),
        part(0, 12)
    ))
}

/// Microseconds of a day, which may be its very end.
fn time(micros: i64) -> String {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    format!("{:02}:{:02}:{:02}.{fraction:06}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_values_are_read() {
        let raw: Vec<u8> = (0..16).map(|at| at * 16 + at).collect();
        assert_eq!(cell(&Type::UUID, &raw), Some(Cell::Text("00112233-4455-6677-8899-aabbccddeeff".into())));
        for (micros, text) in
            [(0, "00:00:00.000000"), (86_399_999_999, "23:59:59.999999"), (86_400_000_000, "24:00:00.000000")]
        {
            assert_eq!(time(micros), text);
        }
        let raw = [&(-3_i64).to_be_bytes()[..], &(-2_i32).to_be_bytes(), &1_i32.to_be_bytes()].concat();
        assert_eq!(cell(&Type::INTERVAL, &raw), Some(Cell::Text("1 months -2 days -3 microseconds".into())));
        assert_eq!(cell(&Type::INT8, &[0, 1]), None);
        assert_eq!(cell(&Type::POINT, &[0; 16]), None);
    }
}
