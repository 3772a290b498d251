//! Arrays, composites and hstores.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;

use super::super::*;
use super::{array, composite, decimal, policy, shown};
use ValueErrorKind::{Malformed, Unrepresentable};

/// The texts of a list of texts; `∅` is NULL.
fn texts(text: &str) -> Result<Vec<String>, ValueErrorKind> {
    let list = super::array_of(&array(PgType::Text, 1), text)?;
    let list = list.as_list::<i32>().value(0);
    Ok(list.as_string::<i32>().iter().map(|text| text.unwrap_or("∅").to_owned()).collect())
}

#[test]
fn arrays() {
    assert_eq!(texts(r#"{1,2,NULL,"a \"b\" \\ c"}"#).unwrap(), ["1", "2", "∅", r#"a "b" \ c"#]);
    assert_eq!(texts(r#"{"NULL","",null,"{x}","a,b",(c),é}"#).unwrap(), ["NULL", "", "∅", "{x}", "a,b", "(c)", "é"]);
    assert_eq!(texts("{}").unwrap(), [""; 0]);
    assert_eq!(texts("[0:2]={1,2,3}").unwrap(), ["1", "2", "3"]);
    assert_eq!(texts("[-5:-5]={x}").unwrap(), ["x"]);
    let malformed = [
        "",
        "{",
        "}",
        "{1",
        "1}",
        "{1,}",
        "{,1}",
        "{1}}",
        "{1}2",
        "{\"a}",
        "{\"a\"b}",
        "{a\"b}",
        "{a\\b}",
        "{a{b}",
        "[0:2]",
        "[0:2]{1}",
        "[a]={1}",
        "{\"a\\\"}",
    ];
    for text in malformed {
        assert_eq!(texts(text), Err(Malformed), "{text}");
    }
}

#[test]
fn dimensions() {
    let matrix = array(PgType::Int4, 2);
    assert_eq!(shown(&matrix, "{{1,2},{3,NULL}}").unwrap(), "[[1, 2], [3, ]]");
    assert_eq!(shown(&matrix, "[1:1][0:1]={{1,2}}").unwrap(), "[[1, 2]]");
    assert_eq!(shown(&matrix, "{}").unwrap(), "[]");
    assert_eq!(shown(&array(PgType::Int4, 3), "{{{1},{2}},{{3},{4}}}").unwrap(), "[[[1], [2]], [[3], [4]]]");
    for text in ["{1,2}", "{{{1}}}", "{NULL}"] {
        assert_eq!(shown(&matrix, text), Err(Unrepresentable), "{text}");
    }
    for text in ["{{}}", "{{1},2}", "{{1}", "{{1}}}", "{{1},{{2}}}", "{{1},NULL}"] {
        assert_eq!(shown(&matrix, text), Err(Malformed), "{text}");
    }
}

#[test]
fn nested_faults_leave_nothing_behind() {
    let mut builder = ColumnBuilder::new(&array(PgType::Int4, 2), &Policy::default());
    builder.append_text(b"{{1,2},{3,4}}").unwrap();
    assert_eq!(builder.append_text(b"{{5,6},{7,x}}").unwrap_err().kind, Malformed);
    builder.append_null();
    assert_eq!(builder.append_text(b"{8}").unwrap_err().kind, Unrepresentable);
    builder.append_text(b"{{9}}").unwrap();
    let lists = builder.finish();
    let lists = lists.as_list::<i32>();
    assert_eq!((lists.len(), lists.null_count(), lists.is_null(1)), (3, 1, true));
    let inner = lists.values().as_list::<i32>();
    assert_eq!(inner.values().as_primitive::<Int32Type>().values(), &[1, 2, 3, 4, 9]);
    assert_eq!(inner.value_offsets(), [0, 2, 4, 5]);
    assert_eq!(lists.value_offsets(), [0, 2, 2, 3]);
}

#[test]
fn only_the_element_that_does_not_fit_becomes_null() {
    let row = composite([("a", array(decimal(3, 1), 1)), ("b", PgType::Interval)]);
    let mut builder = ColumnBuilder::new(&row, &policy(OnUnrepresentable::Null));
    builder.append_text(b"(\"{1.5,NaN,2.0}\",infinity)").unwrap();
    assert_eq!(builder.nulled(), 2);
    builder.append_text(b"(\"{{1.5},{2.5}}\",PT0S)").unwrap();
    assert_eq!(builder.nulled(), 1);
    assert_eq!(builder.append_text(b"({NaN},x)").unwrap_err().kind, Malformed);
    assert_eq!((builder.len(), builder.nulled()), (2, 0));
    let array = builder.finish();
    let lists = array.as_struct().column(0).as_list::<i32>();
    assert_eq!((lists.len(), lists.is_null(0), lists.value(0).null_count(), lists.is_null(1)), (2, false, 1, true));
    assert!(array.as_struct().column(1).is_null(0) && array.as_struct().column(1).is_valid(1));
}

#[test]
fn composites() {
    let row = composite([("a", PgType::Int4), ("b", PgType::Text), ("c", PgType::Text)]);
    let attributes = |text: &str| {
        let array = super::array_of(&row, text)?;
        let array = array.as_struct();
        let number = array.column(0).as_primitive::<Int32Type>().iter().next().unwrap();
        let text = |column: usize| array.column(column).as_string::<i32>().iter().next().unwrap().map(str::to_owned);
        Ok((number, text(1), text(2)))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(attributes(r#"(1,"a ""b""",)"#), Ok((Some(1), some(r#"a "b""#), None)));
    assert_eq!(attributes("(,,)"), Ok((None, None, None)));
    assert_eq!(attributes(r#"(-1,"","a\"\\,()")"#), Ok((Some(-1), some(""), some(r#"a"\,()"#))));
    assert_eq!(attributes(r#"(1,"""""","\\\\")"#), Ok((Some(1), some(r#""""#), some(r"\\"))));
    assert_eq!(attributes("(1,NULL,{x})"), Ok((Some(1), some("NULL"), some("{x}"))));
    let malformed = [
        "",
        "(",
        "()",
        "(1)",
        "(1,2)",
        "(1,2,3",
        "1,2,3)",
        "(1,2,3,4)",
        "(1,2,3))",
        "(1,2,3)x",
        "(x,2,3)",
        "(1,\"2,3)",
        "(1,\"2\"x,3)",
        "(1,a(b,3)",
        "(1,\"2\\",
    ];
    for text in malformed {
        assert_eq!(attributes(text), Err(Malformed), "{text}");
    }
    let single = composite([("a", PgType::Text)]);
    assert_eq!(shown(&single, "()").unwrap(), "{a: }");
}

#[test]
fn composition() {
    let row = composite([("id", PgType::Int4), ("tags", array(PgType::Text, 1))]);
    let rows = array(row.clone(), 1);
    assert_eq!(shown(&row, r#"(1,"{a,""b c"",NULL}")"#).unwrap(), "{id: 1, tags: [a, b c, ]}");
    assert_eq!(shown(&row, "(1,{})").unwrap(), "{id: 1, tags: []}");
    assert_eq!(shown(&row, "(1,{a})").unwrap(), "{id: 1, tags: [a]}");
    assert_eq!(
        shown(&rows, r#"{"(1,\"{a,\"\"b \\\\\\\\ c\"\"}\")",NULL,"(2,)"}"#).unwrap(),
        r"[{id: 1, tags: [a, b \ c]}, , {id: 2, tags: }]"
    );
    assert_eq!(
        shown(&array(PgType::Json, 1), r#"{"{\"a\": [1, \"x\"]}","null"}"#).unwrap(),
        r#"[{"a": [1, "x"]}, null]"#
    );
    // An array of a domain over an array.
    let lists = array(array(PgType::Int4, 1), 1);
    assert_eq!(shown(&lists, r#"{"{1,2}",NULL,"{}"}"#).unwrap(), "[[1, 2], , []]");
}

#[test]
fn hstores() {
    let pairs = |text: &str| {
        let array = super::array_of(&PgType::Hstore, text)?;
        let entries = array.as_map().value(0);
        let keys = entries.column(0).as_string::<i32>().iter().map(|key| key.unwrap().to_owned());
        let values = entries.column(1).as_string::<i32>().iter().map(|value| value.unwrap_or("∅").to_owned());
        Ok(keys.zip(values).collect::<Vec<_>>())
    };
    let of = |pairs: &[(&str, &str)]| Ok(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>());
    assert_eq!(pairs(r#""a"=>"1", "b"=>NULL"#), of(&[("a", "1"), ("b", "∅")]));
    assert_eq!(pairs(""), of(&[]));
    assert_eq!(pairs(r#""\"\\"=>"=>, ", ""=>"NULL""#), of(&[("\"\\", "=>, "), ("", "NULL")]));
    for text in [
        "a",
        "\"a\"",
        "\"a\"=>",
        "\"a\"=>1",
        "NULL=>\"a\"",
        "\"a\"=>NULL,",
        "\"a\"=>NULL, ",
        "\"a\"=>\"1\"\"b\"=>\"2\"",
    ] {
        assert_eq!(pairs(text), Err(Malformed), "{text}");
    }
    assert_eq!(shown(&array(PgType::Hstore, 1), r#"{"\"a\"=>\"1\"",""}"#).unwrap(), "[{a: 1}, {}]");
}
