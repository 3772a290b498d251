//! What the server must have before it can be followed: looked at without writing anything, with the
//! SQL for what is missing.

use tidegate_core::units::size_text;
use tidegate_core::{Finding, Severity};

use crate::catalog::{OURS, Publication, Table};
use crate::config::{OnSlotLost, Settings};
use crate::connection::{Session, quote_ident, quote_literal};
use crate::error::PostgresError;
use crate::slot::Slot;

const DOING: &str = "looking at the server's settings";
/// The oldest server whose catalog this program reads.
const VERSION_MIN: i32 = 150_000;

/// The first one with slots that standbys keep in step.
const FAILOVER_VERSION: i32 = 170_000;

/// Everything that was looked at.
pub(crate) struct Setup<'a> {
    pub session: &'a Session,
    pub settings: &'a Settings,
    pub publication: Option<&'a Publication>,
    pub slot: Option<&'a Slot>,
    pub tables: &'a [Table],
}

impl Setup<'_> {
    /// All findings, good ones too.
    pub async fn findings(&self) -> Result<Vec<Finding>, PostgresError> {
        let mut findings = Findings(Vec::new());
        self.server(&mut findings).await?;
        self.tables(&mut findings);
        self.publication(&mut findings).await?;
        self.slot(&mut findings);
        Ok(findings.0)
    }

    async fn server(&self, findings: &mut Findings) -> Result<(), PostgresError> {
        let sql = "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), \
                   current_setting('wal_level'), current_setting('max_replication_slots')::int8, \
                   (SELECT count(*) FROM pg_replication_slots), current_setting('max_wal_senders')::int8, \
                   (SELECT count(*) FROM pg_stat_replication), \
                   (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user), \
                   EXISTS (SELECT FROM pg_roles r WHERE r.rolname IN ('rds_replication', 'cloudsqlreplica') \
                   AND pg_has_role(r.oid, 'MEMBER')), current_user::text, pg_is_in_recovery()";
        let row = self.session.query_one(DOING, sql, &[]).await?;
        let version: i32 = row.get(0);
        let name: &str = row.get(1);
        if version < VERSION_MIN {
            let fact = format!("the server is PostgreSQL {name}; version 15 is the oldest that can be followed");
            findings.fault(fact, "upgrade the server");
            return Ok(());
        }
        findings.good(format!("the server is PostgreSQL {name}"));
        if self.settings.config.failover && version < FAILOVER_VERSION {
            let fact = format!("`failover` is set, and PostgreSQL {name} has no slots that standbys keep in step");
            findings.fault(fact, "remove `failover`, or upgrade the server to version 17");
        }
        match row.get(2) {
            "logical" => findings.good("wal_level is logical"),
            level => findings.fault(
                format!("the server has wal_level = {level}; changes can be decoded with logical alone"),
                "ALTER SYSTEM SET wal_level = 'logical'; -- then restart the server",
            ),
        }
        if row.get::<_, bool>(10) {
            let fact = "the server is a standby, which takes no publication";
            findings.fault(fact, "name the primary in `url`");
        }
        let role: &str = row.get(9);
        match row.get::<_, bool>(7) || row.get::<_, bool>(8) {
            true => findings.good(format!("role {role} may replicate")),
            false => findings.fault(
                format!("role {role} may not replicate"),
                format!("ALTER ROLE {} REPLICATION; -- as a superuser", quote_ident(role)),
            ),
        }
        let needed = 1 + i64::from(self.slot.is_none());
        for (kind, setting, all, used) in [
            ("replication slots", "max_replication_slots", row.get::<_, i64>(3), row.get::<_, i64>(4)),
            ("WAL senders", "max_wal_senders", row.get(5), row.get(6)),
        ] {
            let free = all - used;
            match free >= needed {
                true => findings.good(format!("{free} of {all} {kind} are free")),
                false => findings.fault(
                    format!("{free} of {all} {kind} are free; following and copying need {needed}"),
                    format!("ALTER SYSTEM SET {setting} = {}; -- then restart the server", all + needed),
                ),
            }
        }
        Ok(())
    }

    fn tables(&self, findings: &mut Findings) {
        let role = quote_ident(self.settings.connection.user());
        for table in self.tables {
            let (name, quoted) = (&table.schema.name, quoted(table));
            let facts = &table.facts;
            if !facts.may_select {
                let schema = quote_ident(&name.schema);
                findings.fault(
                    format!("role {role} may not read table {name}"),
                    format!("GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON TABLE {quoted} TO {role};"),
                );
            }
            if !facts.is_logged {
                let fact = format!("table {name} is unlogged, so its changes are not in the WAL");
                findings.fault(fact, format!("ALTER TABLE {quoted} SET LOGGED;"));
            }
            if facts.has_children {
                let fact = format!("other tables inherit from table {name}, and their rows are not published with it");
                findings.fault(fact, "make it a partitioned table, or write the view over its parts with UNION ALL");
            }
            if facts.has_foreign_leaves {
                let fact =
                    format!("table {name} has a partition that is a foreign table, which is not in this server's WAL");
                findings.fault(fact, "detach the foreign partition, or read it from its own server");
            }
            let identity = identity_fault(table);
            match identity {
                Some((fact, fix)) => findings.fault(fact, fix),
                None => findings.good(format!("table {name} can be followed, rows by {}", identity_of(table))),
            }
        }
    }

    async fn publication(&self, findings: &mut Findings) -> Result<(), PostgresError> {
        let name = &self.settings.publication;
        let Some(publication) = self.publication else {
            let sql = "SELECT has_database_privilege(current_database(), 'CREATE')";
            let may_create: bool = self.session.query_one(DOING, sql, &[]).await?.get(0);
            let foreign: Vec<&Table> = self.tables.iter().filter(|table| !table.facts.is_owner).collect();
            let create = create_publication(name, self.tables);
            match (may_create, foreign.first()) {
                (true, None) => findings.good(format!("publication {name} will be created")),
                (false, _) => findings.fault(
                    format!(
                        "publication {name} does not exist, and role {} may not create it",
                        self.settings.connection.user()
                    ),
                    format!("{create} -- as the database's owner"),
                ),
                (true, Some(table)) => findings.fault(
                    format!(
                        "publication {name} does not exist, and table {} belongs to another role",
                        table.schema.name
                    ),
                    format!("{create} -- as the tables' owner"),
                ),
            }
            return Ok(());
        };
        let quoted_name = quote_ident(name);
        if !publication.complete {
            findings.fault(
                format!("publication {name} leaves out some of INSERT, UPDATE, DELETE and TRUNCATE"),
                format!("ALTER PUBLICATION {quoted_name} SET (publish = 'insert, update, delete, truncate');"),
            );
        }
        if !publication.via_root && self.tables.iter().any(|table| table.facts.is_partitioned) {
            findings.fault(
                format!("publication {name} publishes partitions under their own names"),
                format!("ALTER PUBLICATION {quoted_name} SET (publish_via_partition_root = true);"),
            );
        }
        let missing: Vec<&Table> = self.tables.iter().filter(|table| table.membership.is_none()).collect();
        if missing.is_empty() {
            findings.good(format!("publication {name} has every table that the views use"));
        } else if may_add(publication, &missing) {
            findings.good(format!("{} tables will be added to publication {name}", missing.len()));
        } else {
            let list = list(missing.iter().copied());
            findings.fault(
                format!("publication {name} lacks {list}"),
                format!("ALTER PUBLICATION {quoted_name} ADD TABLE {list};"),
            );
        }
        Ok(())
    }

    fn slot(&self, findings: &mut Findings) {
        let (name, config) = (&self.settings.slot, &self.settings.config);
        let Some(slot) = self.slot else {
            return findings.good(format!("replication slot {name} will be created"));
        };
        let database = self.settings.connection.database();
        let drop = format!("SELECT pg_drop_replication_slot({});", quote_literal(name));
        if slot.plugin.as_deref() != Some("pgoutput") || slot.database.as_deref() != Some(database) {
            let fact = format!("replication slot {name} is not one of pgoutput in database {database}");
            return findings.fault(fact, format!("give `slot` another name, or: {drop}"));
        }
        let held = size_text(slot.held);
        match &slot.lost {
            Some(why) if config.on_slot_lost == OnSlotLost::Error => findings.fault(
                format!("replication slot {name} is lost: {why}"),
                "set on_slot_lost = \"resnapshot\": the tables are copied again, downstream sees only real differences",
            ),
            Some(why) => {
                findings.warning(format!("replication slot {name} is lost ({why}); the tables will be copied again"))
            }
            None => findings.good(format!("replication slot {name} holds {held} of WAL")),
        }
        if config.failover && !slot.failover {
            findings.warning(format!("replication slot {name} was made without `failover`: standbys do not keep it"));
        }
        if slot.safe.is_some_and(|safe| safe < config.slot_lag_warn / 4) {
            let left = size_text(slot.safe.unwrap_or(0));
            findings.warning(format!(
                "{left} of WAL can be written before the server takes what replication slot {name} needs"
            ));
        }
        if slot.held >= config.slot_lag_warn {
            findings.warning(format!("replication slot {name} holds {held} of WAL on the server's disk"));
        }
    }
}

/// Makes the publication, or adds what it lacks, where that is ours to do.
pub(crate) async fn publish(
    session: &Session,
    settings: &Settings,
    publication: Option<&Publication>,
    tables: &[Table],
) -> Result<bool, PostgresError> {
    let name = &settings.publication;
    let Some(publication) = publication else {
        let comment = format!("COMMENT ON PUBLICATION {} IS {};", quote_ident(name), quote_literal(OURS));
        // Statements of one message are one transaction.
        let sql = format!("{} {comment}", create_publication(name, tables));
        session.execute("creating the publication", &sql).await?;
        tracing::info!(name: "publication_created", source = %settings.name, publication = %name, tables = tables.len(), "created the publication");
        return Ok(true);
    };
    let missing: Vec<&Table> = tables.iter().filter(|table| table.membership.is_none()).collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let list = list(missing.iter().copied());
    let add = format!("ALTER PUBLICATION {} ADD TABLE {list};", quote_ident(name));
    if !may_add(publication, &missing) {
        let fact = format!("publication {name} lacks {list}");
        return Err(PostgresError::Setup { database: settings.name.clone(), fact, fix: Some(add) });
    }
    session.execute("adding tables to the publication", &add).await?;
    tracing::info!(name: "publication_extended", source = %settings.name, publication = %name, tables = missing.len(), "added tables to the publication");
    Ok(true)
}

fn may_add(publication: &Publication, missing: &[&Table]) -> bool {
    publication.is_ours && publication.is_owner && missing.iter().all(|table| table.facts.is_owner)
}

fn create_publication(name: &str, tables: &[Table]) -> String {
    let list = list(tables.iter());
    format!("CREATE PUBLICATION {} FOR TABLE {list} WITH (publish_via_partition_root = true);", quote_ident(name))
}

fn list<'a>(tables: impl Iterator<Item = &'a Table>) -> String {
    tables.map(quoted).collect::<Vec<_>>().join(", ")
}

/// The table as it stands in SQL.
pub(crate) fn quoted(table: &Table) -> String {
    format!("{}.{}", quote_ident(&table.schema.name.schema), quote_ident(&table.schema.name.table))
}

fn identity_of(table: &Table) -> String {
    match &table.key {
        Some(key) => {
            let columns: Vec<&str> = key.iter().map(|column| table.columns[*column].name.as_str()).collect();
            format!("key ({})", columns.join(", "))
        }
        None => "all columns".to_owned(),
    }
}

/// Why rows of a table could not be told apart in its changes, and the way out.
fn identity_fault(table: &Table) -> Option<(String, String)> {
    let (name, quoted) = (&table.schema.name, quoted(table));
    let full = format!("ALTER TABLE {quoted} REPLICA IDENTITY FULL;");
    match table.facts.replica_identity {
        'f' => None,
        'n' => Some((
            format!("table {name} has REPLICA IDENTITY NOTHING, so updates and deletes cannot be published"),
            full,
        )),
        'd' if table.key.is_none() => Some((
            format!("table {name} has no primary key, so updates and deletes cannot be published"),
            format!("{full} -- or give it a key: ALTER TABLE {quoted} ADD PRIMARY KEY (…);"),
        )),
        'i' if table.key.is_none() => {
            Some((format!("the index that is the replica identity of table {name} is gone"), full))
        }
        _ => None,
    }
}

struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, fact: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Good, fact: fact.into(), fix: None });
    }

    fn warning(&mut self, fact: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Warning, fact: fact.into(), fix: None });
    }

    fn fault(&mut self, fact: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { severity: Severity::Fault, fact: fact.into(), fix: Some(fix.into()) });
    }
}
