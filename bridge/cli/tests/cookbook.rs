//! `docs/src/cookbook.md`: every query on it is run, as it stands there, while the pipeline runs, and answers what the page shows.
//!
//! `UPDATE_DOCS=1` writes the answers anew.

use std::fs;
use std::time::{Duration, Instant};

use crate::shop::{SHOP, Session, Shop, blocks, page};

/// How many questions there are at least.
const QUESTIONS: usize = 20;

#[test]
fn the_queries_of_the_cookbook_answer_what_it_shows() {
    let text = fs::read_to_string(page()).unwrap();
    let blocks = blocks(&text);
    let shop = Shop::open();
    let running = shop.tidegate("run", &[]).start();
    let begin = Instant::now();
    while shop.tidegate("status", &["--json"]).run().expect(0).json()["running"] != true {
        assert!(begin.elapsed() < Duration::from_secs(60), "{}", running.stderr());
        std::thread::yield_now();
    }
    let (mut rest, mut written, mut answers) = (text.as_str(), String::new(), 0);
    for (number, block) in
        blocks.iter().enumerate().filter(|(_, block)| block.language == "sql" && block.heading != SHOP)
    {
        let shown = blocks.get(number + 1).filter(|next| next.language == "text");
        let shown = shown.unwrap_or_else(|| panic!("{}: the answer is missing below\n{}", block.heading, block.text));
        let ask = || shop.inside(|| Session::start(&block.text).answer());
        let found = ask();
        assert_eq!(ask(), found, "{}: asked again, it answers something else", block.heading);
        let (before, after) = rest.split_once(&block.text).expect("the block is of this page");
        let (between, after) = after.split_once("```text\n").expect("its answer follows");
        written += &format!("{before}{}{between}```text\n{found}", block.text);
        rest = after.strip_prefix(shown.text.as_str()).expect("the answer is of this page");
        answers += 1;
    }
    written += rest;
    running.terminate().expect(0);
    assert!(answers >= QUESTIONS, "{answers} answers");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page(), written).unwrap();
    } else {
        let differs = text.lines().zip(written.lines()).enumerate().find(|(_, (shown, found))| shown != found);
        assert!(
            text == written,
            "docs/src/cookbook.md shows another answer (run this test with UPDATE_DOCS=1): {differs:?}"
        );
    }
}
