//! Commands.

pub mod check;
pub mod schema;

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
