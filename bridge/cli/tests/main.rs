//! The whole program, as people run it: random sequences, crashes, full disks, bad input.

mod backups;
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
mod past;
mod pipeline;
mod readers;
mod recovery;
mod rewinds;
mod row_ids;
mod sequences;
mod serving;
mod stores;
mod targets;
mod temporal;
mod time;
mod told;
mod tracking;
