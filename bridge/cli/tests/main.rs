//! The whole program, as people run it: random sequences, crashes, full disks, bad input.

mod bad_input;
mod crash;
mod database_faults;
mod databases;
mod declared_keys;
mod definitions;
mod history;
mod in_process;
mod lake_in_and_out;
mod limits;
mod outputs;
mod pipeline;
mod readers;
mod recovery;
mod row_ids;
mod sequences;
mod stores;
mod targets;
mod time;
mod told;
