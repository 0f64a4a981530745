//! The `vxmesh` program: parse, dispatch, and say what went wrong.

use std::process::ExitCode;

fn main() -> ExitCode {
    vxmesh::cli::main()
}
