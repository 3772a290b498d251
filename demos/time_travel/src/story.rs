//! What is done, and what it shows.

use anyhow::{Result, ensure};

use crate::lake::{BAD_DAY, CORRECTION, Lake};
use crate::session::Session;

/// The number on the page.
const PAGE: &str = "tidegate sql shop.toml \"FROM sales ORDER BY region\"";

/// The past of one row of the view.
const NORTH: &str = "tidegate sql shop.toml \"SELECT _valid_from_epoch AS epoch, valid_from, orders, revenue
FROM sales_history WHERE region = 'north' ORDER BY epoch\"";

/// The correction, as a view of the branch.
const MENDED: &str = "cat >> look/look.toml <<'END'
[views.mended]
sql = \"\"\"
SELECT region, count(*) AS orders, sum(CASE WHEN batch = 'thursday' THEN amount * 0.01 ELSE amount END) AS revenue
FROM lake.orders GROUP BY region
\"\"\"
END";

/// Goes from the number that jumps to the one that is right.
pub fn tell(session: &mut Session, lake: &Lake) -> Result<()> {
    session.remark("Orders come into a lake, a batch a day. A page shows what a view makes of them.");
    session.command("sed -n '/^.views/,/^key/p' shop.toml")?;
    let before = session.command(PAGE)?;

    session.remark("Thursday's batch.");
    lake.change(BAD_DAY)?;
    session.command("tidegate run shop.toml --once")?;
    let jumped = session.command(PAGE)?;
    ensure!(jumped != before, "the bad batch changed nothing");

    session.remark("Nearly four times as much as yesterday, from six orders more? Since when?");
    session.command(NORTH)?;
    session.remark("Since epoch 4. What came with it?");
    session.command("tidegate diff shop.toml lake.orders --from 3 --to 4")?;
    session.remark("Nobody pays that much here. Order 7 was there before:");
    session.command("tidegate asof shop.toml lake.orders --key id=7 --at 3")?;
    session.remark("Cents, where there should be euros. How much is that in each region?");
    session.command(
        "tidegate sql shop.toml \"SELECT region, now.revenue, old.revenue AS before
FROM sales now JOIN sales AS OF EPOCH 3 old USING (region) ORDER BY region\"",
    )?;

    session.remark("A copy of the pipeline as of epoch 3, to try a correction where nobody sees it.");
    session.command("tidegate rewind shop.toml --epoch 3 --branch look --out look")?;
    session.command("tidegate sql look/look.toml \"FROM sales ORDER BY region\"")?;
    session.remark("One more view, with the correction; and on through what the log has after that.");
    session.command(MENDED)?;
    session.command("tidegate run look/look.toml --once")?;
    session.command("tidegate sql look/look.toml \"FROM mended ORDER BY region\"")?;

    session.remark("That is what it should be. The page is still wrong: back to before the batch.");
    session.command("tidegate rewind shop.toml --epoch 3 --discard-after")?;
    let back = session.command(PAGE)?;
    ensure!(back == before, "the views are not what they were");

    session.remark(
        "Now the lake, in DuckDB. It keeps the bad snapshot, and gets another one with the correction.\n\
         The next run reads both, and what is left of them is one epoch.",
    );
    session.statement(CORRECTION, |sql| lake.change(sql))?;
    session.command("tidegate run shop.toml --once")?;
    session.command(PAGE)?;
    session.command("tidegate diff shop.toml sales --from 3 --to 6")?;
    session.remark("The past still tells what the page has shown.");
    session.command(NORTH)?;
    session.command("tidegate status shop.toml")?;
    Ok(())
}
