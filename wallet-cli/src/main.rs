//! The program `drystone-wallet`; all of it is in the library beside.

fn main() -> std::process::ExitCode {
    drystone_wallet::main()
}
