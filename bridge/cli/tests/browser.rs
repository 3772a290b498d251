//! The status page in a browser, beside a pipeline that changes. With `TIDEGATE_SCREENSHOTS=FOLDER` pictures are saved there;
//! `docs/src/images` has them.

use std::path::Path;
use std::time::{Duration, Instant};

use tidegate_duck::{Duck, Options};
use tidegate_testkit::{Browser, Screen};

use crate::serving::{PATIENCE, SOON, Served, Shop, TOKEN};

/// Saves a picture, where somebody wants them.
fn picture(browser: &mut Browser, name: &str) {
    if let Some(folder) = std::env::var_os("TIDEGATE_SCREENSHOTS") {
        browser.shot(&Path::new(&folder).join(name));
    }
}

/// A browser that shows the overview.
pub fn opened(served: &Served) -> Browser {
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", served.address), Screen::LAPTOP);
    browser
}

#[test]
fn the_pages_follow_a_pipeline() {
    let Shop { _folder, lake, served, .. } = Shop::open(&["temporal = true"], None);
    let first = served.status()["epoch"].as_u64().unwrap();
    let page = format!("http://{}/", served.address);
    let mut browser = opened(&served);
    browser.wait("#state-word", "running", PATIENCE);
    for name in ["lake", "totals", "large", "mart", "changes"] {
        browser.wait("#graph", name, SOON);
    }
    assert!(!browser.is_visible("#problems") && browser.is_visible("#no-control"));
    for (customer, amount) in [("north", 95), ("east", 1), ("west", 250), ("south", 3)] {
        let before = served.status()["epoch"].as_u64().unwrap();
        lake.execute(&format!("INSERT INTO lake.orders VALUES ('{customer}', {amount})"));
        served.until("a change is made", |status| status["epoch"].as_u64() > Some(before));
    }
    let last = served.status()["epoch"].as_u64().unwrap();
    browser.wait("#epoch", &last.to_string(), SOON);
    browser.wait("#views", "totals", SOON);
    picture(&mut browser, "status.png");

    browser.click("#views a");
    browser.wait("#view-name", "large", SOON);
    browser.click(".back a");
    browser.open(&format!("{page}#/views/totals"), Screen::LAPTOP);
    browser.wait("#view-sql", "GROUP BY customer", SOON);
    browser.wait("#view-facts", "key (customer)", SOON);
    browser.wait("#rows", "105.00", SOON);
    browser.wait("#changes", "update, after", SOON);
    browser.wait("#plan", "Aggregate", SOON);
    browser.wait("#lineage", "amount", SOON);
    picture(&mut browser, "view.png");
    // The slider goes back by keys.
    browser.wait("#asof-from", &format!("epoch {first}"), PATIENCE);
    browser.click("#asof-epoch");
    browser.press("Home");
    browser.wait("#rows-told", &format!("as of epoch {first}"), PATIENCE);
    assert!(!browser.text("#rows").contains("105.00"));
    assert_eq!(browser.complaints(), Vec::<String>::new());

    for (screen, name) in [(Screen::PHONE, "phone.png"), (Screen::LAPTOP.dark(), "dark.png")] {
        for route in ["", "#/views/totals"] {
            browser.open(&format!("{page}{route}"), screen);
            browser.wait("#state-word", "running", SOON);
            browser.wait("main", "totals", SOON);
            assert!(browser.overflow() <= 0, "{screen:?} {route}: the page is wider than its window");
            assert_eq!(browser.complaints(), Vec::<String>::new(), "{screen:?} {route}");
            if route.is_empty() {
                picture(&mut browser, name);
            }
        }
    }

    browser.open(&page, Screen::LAPTOP);
    browser.wait("#state-word", "running", SOON);
    browser.press("Tab");
    assert_eq!(browser.focused(), "skip", "the first stop of the keyboard skips the head");
    browser.press("Enter");
    assert_eq!(browser.focused(), "main");

    served.running.terminate().expect(0);
    browser.wait("#state-word", "stopped", Duration::from_secs(5));
    assert!(browser.text("#state-more").contains("no answer since"));
}

#[test]
fn what_fails_is_at_the_top_of_the_page_at_once() {
    let Shop { _folder, lake, pipeline, served, .. } = Shop::open(&[], None);
    let mut browser = opened(&served);
    browser.wait("#state-word", "running", PATIENCE);
    let reader = Duck::open(&pipeline.mart(), &Options::default()).expect("the mart is held by a reader");
    lake.execute("INSERT INTO lake.orders VALUES ('west', 500)");
    let started = Instant::now();
    browser.wait("#problems", "sink mart", SOON + SOON);
    println!("the failing sink was seen after {:?}", started.elapsed());
    let message = served.status()["sinks"]["mart"]["error"].as_str().unwrap().to_owned();
    browser.wait("#problems", &message, SOON);
    browser.wait("#state-more", "1 problem", SOON);
    picture(&mut browser, "failing.png");
    drop(reader);
    served.until("the sink takes commits again", |status| status["sinks"]["mart"]["state"] == "attached");
    browser.wait("#errors", "resolved", SOON);
    browser.wait_gone("#problems", SOON);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    served.running.terminate().expect(0);
}

#[test]
fn a_slow_pipeline_says_what_it_waits_for() {
    let Shop { _folder, lake, served, .. } = Shop::open(&[], None);
    let mut browser = opened(&served);
    browser.wait("#phase", "waiting for", PATIENCE);
    // Two million rows take a while, in one phase or another.
    lake.execute("INSERT INTO lake.orders SELECT 'c' || (r % 500000), r % 100 FROM range(2000000) t(r)");
    let phases = ["reading", "logging", "stepping", "committing"];
    served.until("it is at work", |status| phases.iter().any(|phase| status["phase"]["name"] == *phase));
    let started = Instant::now();
    while !phases.iter().any(|phase| browser.text("#phase").contains(phase)) {
        assert!(started.elapsed() < SOON, "the page shows {:?}", browser.text("#phase"));
    }
    served.running.terminate().expect(0);
}

#[test]
fn the_token_opens_the_controls() {
    let Shop { _folder, served, .. } = Shop::open(&[], Some(TOKEN));
    let mut browser = opened(&served);
    browser.wait("#checkpoint", "Checkpoint", PATIENCE);
    browser.click("#checkpoint");
    browser.fill("#token", "a wrong token for this");
    browser.click("#dialog-do");
    browser.wait("#dialog-answer", "token is wrong", SOON);
    browser.fill("#token", TOKEN);
    browser.click("#dialog-do");
    browser.wait("#dialog-answer", "epoch", SOON);
    browser.click("#dialog-close");
    browser.click("#drain");
    browser.click("#dialog-do");
    let finished = served.running.wait_for(PATIENCE);
    finished.unwrap_or_else(|_| panic!("it does not end")).expect(0);
    browser.wait("#state-word", "stopped", Duration::from_secs(5));
    let refused = browser
        .complaints()
        .into_iter()
        .filter(|text| !text.contains("401") && !text.contains("Failed to load") && !text.contains("ERR_"));
    assert_eq!(refused.collect::<Vec<_>>(), Vec::<String>::new());
}
