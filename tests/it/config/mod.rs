//! Configuration files: the good ones load, the bad ones say what is wrong, and the schema agrees.

mod golden;

mod conf;
