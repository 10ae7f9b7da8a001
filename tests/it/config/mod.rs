//! Configuration files: do valid ones load, do invalid ones get good messages, and does the schema agree?

mod golden;

mod conf;
