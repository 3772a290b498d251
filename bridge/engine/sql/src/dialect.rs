//! The parser's dialect: DuckDB's, with the forms of it that the parser knows from other databases only.

use std::any::TypeId;

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr};
use datafusion_sql::sqlparser::dialect::{Dialect, DuckDbDialect, Precedence};
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::Token;

/// DuckDB's dialect with `* RENAME (a AS b)`, `lag(x IGNORE NULLS)` and the operators `&&`, `^@` and `GLOB`. Everything else is
/// passed on.
#[derive(Debug)]
pub(crate) struct Duck;

const BASE: DuckDbDialect = DuckDbDialect {};

/// What DuckDB calls `GLOB`, as an operator.
pub(crate) const GLOB: &str = "glob";

/// The operators that the parser reads in other dialects only, or in none.
fn operator(token: &Token) -> Option<BinaryOperator> {
    match token {
        Token::Overlap => Some(BinaryOperator::PGOverlap),
        Token::CaretAt => Some(BinaryOperator::PGStartsWith),
        Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(GLOB) => {
            Some(BinaryOperator::Custom(GLOB.to_owned()))
        }
        _ => None,
    }
}

impl Dialect for Duck {
    fn dialect(&self) -> TypeId {
        TypeId::of::<DuckDbDialect>()
    }

    fn supports_select_wildcard_rename(&self) -> bool {
        true
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        let token = &parser.peek_token_ref().token;
        if *token == Token::Caret {
            // A power binds more tightly than a product.
            return Some(Ok(self.prec_value(Precedence::AtTz)));
        }
        operator(token).map(|_| Ok(self.prec_value(Precedence::PgOther)))
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        let op = operator(&parser.peek_token_ref().token)?;
        parser.advance_token();
        let right = parser.parse_subexpr(precedence);
        Some(right.map(|right| Expr::BinaryOp { left: Box::new(expr.clone()), op, right: Box::new(right) }))
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        BASE.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        BASE.is_identifier_part(ch)
    }

    fn supports_trailing_commas(&self) -> bool {
        BASE.supports_trailing_commas()
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        BASE.supports_filter_during_aggregation()
    }

    fn supports_group_by_expr(&self) -> bool {
        BASE.supports_group_by_expr()
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        BASE.supports_bitwise_shift_operators()
    }

    /// `count_if(a = 'x')` is a comparison; arguments are named by `:=`.
    fn supports_named_fn_args_with_eq_operator(&self) -> bool {
        false
    }

    fn supports_named_fn_args_with_assignment_operator(&self) -> bool {
        BASE.supports_named_fn_args_with_assignment_operator()
    }

    fn supports_dictionary_syntax(&self) -> bool {
        BASE.supports_dictionary_syntax()
    }

    fn support_map_literal_syntax(&self) -> bool {
        BASE.support_map_literal_syntax()
    }

    fn supports_lambda_functions(&self) -> bool {
        BASE.supports_lambda_functions()
    }

    fn allow_extract_single_quotes(&self) -> bool {
        BASE.allow_extract_single_quotes()
    }

    fn supports_explain_with_utility_options(&self) -> bool {
        BASE.supports_explain_with_utility_options()
    }

    fn supports_load_extension(&self) -> bool {
        BASE.supports_load_extension()
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        BASE.supports_array_typedef_with_brackets()
    }

    fn supports_from_first_select(&self) -> bool {
        BASE.supports_from_first_select()
    }

    fn supports_order_by_all(&self) -> bool {
        BASE.supports_order_by_all()
    }

    fn supports_select_wildcard_exclude(&self) -> bool {
        BASE.supports_select_wildcard_exclude()
    }

    fn supports_notnull_operator(&self) -> bool {
        BASE.supports_notnull_operator()
    }

    fn supports_install(&self) -> bool {
        BASE.supports_install()
    }

    fn supports_detach(&self) -> bool {
        BASE.supports_detach()
    }

    fn supports_select_wildcard_replace(&self) -> bool {
        BASE.supports_select_wildcard_replace()
    }
}
