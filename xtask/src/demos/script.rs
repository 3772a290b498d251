//! What is done with each demo: which services it waits for, how long they are left to themselves, and what is then called, as
//! the README of the demo says it to people.

use std::time::Duration;

use clap::ValueEnum;

/// The demos with a compose file, in the order in which one would look at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Demo {
    /// Three views over a lake that changes
    Quickstart,
    /// PostgreSQL and a lake on S3, into DuckDB and Delta Lake
    Orders,
    /// A number jumps; the past says why
    TimeTravel,
    /// Single rows, and what they wait for
    Inlined,
    /// A job of cron, and readers of its Parquet files
    Job,
}

/// The status page of the pipeline, which is ready.
const STATUS_PAGE: &[(&str, &str)] = &[("tidegate", "/readyz"), ("tidegate", "/")];

/// The past of one row of the view.
const NORTH: &str =
    "SELECT _valid_from_epoch AS epoch, orders, revenue FROM sales_history WHERE region = 'north' ORDER BY epoch";

/// What is done with a demo.
pub struct Script {
    /// The services that `up` waits for.
    pub services: &'static [&'static str],
    /// How long the demo is left to itself.
    pub time: Duration,
    /// What is asked on port 8080 of services, and has to answer.
    pub pages: &'static [(&'static str, &'static str)],
    pub steps: &'static [Step],
}

/// One thing after the other.
pub enum Step {
    /// A command in a container of its own.
    Run(&'static [&'static str]),
    /// A command in the container of a service that runs.
    Exec(&'static [&'static str]),
    /// Services end.
    Stop(&'static [&'static str]),
    /// Services that were stopped go on.
    Start(&'static [&'static str]),
}

impl Demo {
    /// As it is called, and as its project is.
    pub fn name(self) -> String {
        self.to_possible_value().expect("every demo has a name").get_name().to_owned()
    }

    /// The folder below `demos`.
    pub fn folder(self) -> &'static str {
        match self {
            Demo::Quickstart => "quickstart",
            Demo::Orders => "orders",
            Demo::TimeTravel => "time_travel",
            Demo::Inlined => "inlined",
            Demo::Job => "job",
        }
    }

    pub fn script(self) -> Script {
        match self {
            Demo::Quickstart => Script {
                services: &["load", "tidegate"],
                time: Duration::from_secs(15),
                pages: STATUS_PAGE,
                steps: &[
                    Step::Run(&["demo", "query", "FROM segments ORDER BY revenue DESC"]),
                    Step::Stop(&["load"]),
                    Step::Run(&["demo", "check"]),
                ],
            },
            Demo::Orders => Script {
                services: &["load", "tidegate"],
                time: Duration::from_secs(20),
                pages: STATUS_PAGE,
                steps: &[
                    Step::Run(&[
                        "demo",
                        "query",
                        "SELECT region, sum(shipped) AS shipped FROM revenue_by_hour GROUP BY region ORDER BY region",
                    ]),
                    Step::Stop(&["load"]),
                    Step::Run(&["demo", "check"]),
                ],
            },
            Demo::TimeTravel => Script {
                services: &["load", "tidegate"],
                // The bad batch is the fourth, and each takes five seconds.
                time: Duration::from_secs(25),
                pages: STATUS_PAGE,
                steps: &[
                    Step::Exec(&["tidegate", "tidegate", "sql", "shop.toml", NORTH]),
                    Step::Exec(&[
                        "tidegate",
                        "tidegate",
                        "diff",
                        "shop.toml",
                        "lake.orders",
                        "--from",
                        "3",
                        "--to",
                        "4",
                    ]),
                    Step::Exec(&[
                        "tidegate",
                        "tidegate",
                        "asof",
                        "shop.toml",
                        "lake.orders",
                        "--key",
                        "id=7",
                        "--at",
                        "3",
                    ]),
                    Step::Stop(&["tidegate"]),
                    Step::Run(&["tidegate", "rewind", "shop.toml", "--epoch", "3", "--discard-after"]),
                    Step::Run(&["demo", "correct"]),
                    Step::Start(&["tidegate"]),
                    Step::Stop(&["load"]),
                    Step::Run(&["demo", "check"]),
                    Step::Exec(&["tidegate", "tidegate", "sql", "shop.toml", NORTH]),
                ],
            },
            Demo::Inlined => Script {
                services: &["write", "tidegate"],
                time: Duration::from_secs(20),
                pages: &[("tidegate", "/readyz"), ("write", "/")],
                steps: &[
                    Step::Exec(&["write", "tidegate-demo-inlined", "show"]),
                    Step::Stop(&["write"]),
                    Step::Run(&["demo", "check"]),
                ],
            },
            Demo::Job => Script {
                services: &["load", "cron", "page"],
                // cron counts in minutes.
                time: Duration::from_secs(70),
                pages: &[("page", "/index.html")],
                steps: &[
                    Step::Run(&["reader", "duckdb", "-init", "/dev/null", "-f", "/opt/reader/report.sql"]),
                    Step::Run(&[
                        "reader",
                        "jupyter",
                        "nbconvert",
                        "--execute",
                        "--to",
                        "notebook",
                        "--output-dir",
                        "/tmp",
                        "/opt/reader/changes.ipynb",
                    ]),
                    Step::Stop(&["load"]),
                    Step::Exec(&[
                        "--user",
                        "tidegate",
                        "cron",
                        "flock",
                        "state/run.lock",
                        "tidegate",
                        "run",
                        "pipeline.toml",
                        "--once",
                    ]),
                    Step::Run(&["demo", "check"]),
                ],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::process::checkout;

    #[test]
    fn each_demo_has_its_files() {
        for demo in Demo::value_variants() {
            let folder = checkout().join("demos").join(demo.folder());
            let compose = fs::read_to_string(folder.join("compose.yaml")).unwrap();
            let readme = fs::read_to_string(folder.join("README.md")).unwrap();
            assert!(readme.contains("docker compose up --build --wait"), "{}", demo.name());
            assert!(readme.contains("docker compose down --volumes"), "{}", demo.name());
            assert!(compose.contains(&format!("\nname: tidegate-{}\n", demo.name())), "{}", demo.name());
            for service in demo.script().services {
                assert!(compose.contains(&format!("\n  {service}:\n")), "{}: {service}", demo.name());
            }
            // Nothing listens on other addresses than this machine's own.
            let ports: Vec<_> = compose.lines().filter_map(|line| line.strip_prefix("      - \"")).collect();
            assert_eq!(compose.matches("\n    ports:\n").count(), ports.len(), "{}", demo.name());
            assert!(ports.iter().all(|port| port.starts_with("127.0.0.1:${DEMO_")), "{}: {ports:?}", demo.name());
        }
    }
}
