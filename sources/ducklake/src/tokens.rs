//! What a snapshot says about itself: the tokens of `ducklake_snapshot_changes.changes_made`.
//!
//! `inserted_into_table:7,altered_table:7` by table id, `created_table:"main"."a ""b"", c"` by quoted
//! name; separated by commas outside quotes. What is not understood counts as a change of every
//! table: a false alarm costs a query, a missed change costs a row.

/// What one snapshot did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Rows of a table came or went. The tokens do say which, but a row that was inserted and deleted by
    /// one transaction is in both feeds under a token for inserts alone.
    Insert(u64),
    /// Rows of a table's files went, and files or the ends of files say which.
    Delete(u64),
    /// Rows of a table went, or so the catalog says.
    InlinedDelete(u64),
    /// Rows moved from the catalog into files.
    Flush(u64),
    /// The same rows in other files, which say of each row in which snapshot it came.
    Maintenance(u64),
    /// The same rows in other files, which do not say it.
    Rewrite(u64),
    /// A table or schema came, went or changed.
    Schema,
    /// Views, macros: nothing that is read here.
    Irrelevant,
    /// Something newer than this program.
    Unknown,
}

/// How the change of one table in one snapshot is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// No row changed.
    None,
    /// The feed says what changed.
    Feed,
    /// Rows changed and files were rewritten in one transaction, or something unknown happened:
    /// the feed cannot be trusted, the snapshots before and after are compared.
    Compare,
}

impl Tokens {
    /// Parses `changes_made`; NULL is no knowledge at all.
    pub fn parse(changes_made: Option<&str>) -> Tokens {
        let Some(text) = changes_made else { return Tokens { tokens: vec![Token::Unknown] } };
        Tokens { tokens: split(text).map(token).collect() }
    }

    /// Whether tables or schemas may have come, gone or changed.
    pub fn may_change_schemas(&self) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Schema | Token::Unknown))
    }

    /// Whether anything is said of the table with this id, or may be.
    pub fn name(&self, table_id: u64) -> bool {
        let names = |token: &Token| match *token {
            Token::Unknown => true,
            Token::Insert(id) | Token::Delete(id) | Token::InlinedDelete(id) => id == table_id,
            Token::Flush(id) | Token::Maintenance(id) | Token::Rewrite(id) => id == table_id,
            Token::Schema | Token::Irrelevant => false,
        };
        self.tokens.iter().any(names)
    }

    /// Whether delete files may have been written for the table with this id because rows were deleted.
    pub fn delete_from_files(&self, table_id: u64) -> bool {
        self.tokens.iter().any(|token| matches!(token, Token::Unknown) || *token == Token::Delete(table_id))
    }

    /// Whether rows of the table with this id were deleted by entries in the catalog.
    pub fn delete_inlined(&self, table_id: u64) -> bool {
        self.tokens.contains(&Token::InlinedDelete(table_id))
    }

    /// Whether rows of the table with this id were deleted, or a flush moved deletes of them.
    pub fn delete(&self, table_id: u64) -> bool {
        self.delete_inlined(table_id) || self.delete_from_files(table_id)
    }

    /// Whether this may be a flush of the table with this id: one that moves deletes alone calls itself a delete.
    pub fn may_flush(&self, table_id: u64) -> bool {
        self.flush(table_id) || self.delete_from_files(table_id)
    }

    /// Whether deletes of rows of the table with this id are in the catalog, unless a later flush moved them.
    pub fn says_inlined_deletes(&self, table_id: u64) -> bool {
        self.delete_inlined(table_id) && !self.flush(table_id)
    }

    /// Whether DuckLake commits no delete of rows of the table's files by a transaction that was open over this
    /// snapshot: it would answer with a conflict.
    pub fn keep_out_deletes(&self, table_id: u64) -> bool {
        let conflicts = [Token::Insert(table_id), Token::Maintenance(table_id), Token::Rewrite(table_id)];
        self.tokens.iter().any(|token| conflicts.contains(token))
    }

    /// Whether files of the table with this id were merged.
    pub fn merge(&self, table_id: u64) -> bool {
        self.tokens.contains(&Token::Maintenance(table_id))
    }

    /// Whether rows of the table with this id were flushed. A transaction may then have deleted some of them without a
    /// word.
    pub fn flush(&self, table_id: u64) -> bool {
        self.tokens.contains(&Token::Flush(table_id))
    }

    /// Whether one transaction deleted rows of the table with this id and flushed it. Rows that were only in the
    /// catalog are then forgotten: no snapshot has them any more, and nothing says which they were.
    pub fn forget(&self, table_id: u64) -> bool {
        self.flush(table_id) && self.delete_inlined(table_id)
    }

    /// Whether rows of the table with this id were written anew, into files that count them as this snapshot's.
    pub fn rewrites(&self, table_id: u64) -> bool {
        self.tokens.contains(&Token::Rewrite(table_id))
    }

    /// Whether rows of the table with this id may have other row ids or snapshots than before, even at earlier snapshots. A flush
    /// keeps both.
    pub fn renumber(&self, table_id: u64) -> bool {
        self.tokens.iter().any(|token| match *token {
            Token::Unknown => true,
            Token::Maintenance(id) | Token::Rewrite(id) => id == table_id,
            _ => false,
        })
    }

    /// What happened to the rows of the table with this id.
    pub fn touch(&self, table_id: u64) -> Touch {
        let (mut changed, mut maintained) = (false, false);
        for token in &self.tokens {
            match *token {
                Token::Unknown => return Touch::Compare,
                Token::Insert(id) | Token::Delete(id) | Token::InlinedDelete(id) => changed |= id == table_id,
                Token::Flush(id) | Token::Maintenance(id) | Token::Rewrite(id) => maintained |= id == table_id,
                Token::Schema | Token::Irrelevant => {}
            }
        }
        match (changed, maintained) {
            (true, true) => Touch::Compare,
            (true, false) => Touch::Feed,
            (false, _) => Touch::None,
        }
    }
}

/// Parts between commas outside double quotes, without blanks around them.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        // A doubled quote leaves and enters again, which is the same.
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn token(text: &str) -> Token {
    let (kind, object) = text.split_once(':').unwrap_or((text, ""));
    let of_table = |token: fn(u64) -> Token| object.parse().map_or(Token::Unknown, token);
    match kind {
        "inserted_into_table" | "inlined_insert" => of_table(Token::Insert),
        "deleted_from_table" => of_table(Token::Delete),
        "inlined_delete" => of_table(Token::InlinedDelete),
        "inline_flush" | "flushed_inlined" => of_table(Token::Flush),
        "merge_adjacent" => of_table(Token::Maintenance),
        "rewrite_delete" | "compacted_table" => of_table(Token::Rewrite),
        "created_table" | "dropped_table" | "altered_table" | "created_schema" | "dropped_schema"
        | "altered_schema" => Token::Schema,
        _ if kind.contains("view") || kind.contains("macro") => Token::Irrelevant,
        _ => Token::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_commas_quotes_and_colons() {
        let tokens = Tokens::parse(Some(r#"created_table:"main"."we""ird, inlined_insert:7","#));
        assert_eq!(tokens.tokens.len(), 1, "an open quote swallows the rest: {tokens:?}");
        let tokens = Tokens::parse(Some(r#"created_table:"s:1"."a"", ""b",inlined_insert:7,inlined_delete:7"#));
        assert_eq!(tokens.tokens, [Token::Schema, Token::Insert(7), Token::InlinedDelete(7)]);
        assert_eq!(tokens.touch(7), Touch::Feed);
        assert_eq!(tokens.touch(8), Touch::None);
    }

    #[test]
    fn maintenance_is_no_change_unless_rows_change_with_it() {
        let tokens = Tokens::parse(Some("merge_adjacent:1,rewrite_delete:1,inline_flush:2,compacted_table:3"));
        assert!((1..=3).all(|id| tokens.touch(id) == Touch::None));
        assert!(!tokens.may_change_schemas());
        let tokens = Tokens::parse(Some("inlined_insert:1,inline_flush:1,deleted_from_table:2"));
        assert_eq!(tokens.touch(1), Touch::Compare);
        assert_eq!(tokens.touch(2), Touch::Feed);
        let tokens = Tokens::parse(Some("merge_adjacent:1,rewrite_delete:2,compacted_table:3,inline_flush:4"));
        assert_eq!([1, 2, 3, 4].map(|id| tokens.rewrites(id)), [false, true, true, false]);
        assert_eq!([1, 4].map(|id| tokens.flush(id)), [false, true]);
        assert_eq!([1, 4, 5].map(|id| tokens.name(id)), [true, true, false]);
        let tokens = Tokens::parse(Some("inlined_delete:1,inline_flush:1,inlined_delete:2,inline_flush:3"));
        assert_eq!([1, 2, 3].map(|id| tokens.forget(id)), [true, false, false]);
    }

    #[test]
    fn the_unknown_is_a_change_of_everything() {
        for text in [None, Some("resharded_table:4"), Some("inserted_into_table:orders")] {
            let tokens = Tokens::parse(text);
            assert_eq!(tokens.touch(4), Touch::Compare, "{text:?}");
            assert!(tokens.may_change_schemas(), "{text:?}");
        }
        assert_eq!(Tokens::parse(Some("")).touch(4), Touch::None);
        assert_eq!(Tokens::parse(Some(r#"created_view:"main"."v",dropped_scalar_macro:3"#)).touch(3), Touch::None);
    }
}
