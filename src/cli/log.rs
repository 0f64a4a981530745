//! Log lines on stderr.

use std::env;
use std::io;

use tracing_subscriber::EnvFilter;

/// Starts logging at `level` (a tracing directive), or one level lower for each
/// `-v`. `RUST_LOG` overrules both. Lines carry no time of their own where
/// systemd's journal takes them, since it adds one.
pub(super) fn start(verbose: u8, level: &'static str) {
    let filter = env::var(EnvFilter::DEFAULT_ENV)
        .ok()
        .and_then(|rules| rules.parse().ok())
        .unwrap_or_else(|| EnvFilter::new(directive(verbose, level)));
    let stderr = anstream::AutoStream::choice(&io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(stderr != anstream::ColorChoice::Never);
    if env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().init();
    } else {
        builder.init();
    }
}

/// Other crates' lines come only with `-vvv`.
fn directive(verbose: u8, level: &str) -> String {
    const LEVELS: [&str; 4] = ["warn", "info", "debug", "trace"];
    let start = LEVELS.iter().position(|l| *l == level).unwrap_or(0);
    let own = LEVELS[(start + usize::from(verbose)).min(LEVELS.len() - 1)];
    let others = if verbose >= 3 { "debug" } else { "warn" };
    format!("{others},vxmesh={own}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_is_one_level() {
        assert_eq!(directive(0, "warn"), "warn,vxmesh=warn");
        assert_eq!(directive(1, "warn"), "warn,vxmesh=info");
        assert_eq!(directive(1, "info"), "warn,vxmesh=debug");
        assert_eq!(directive(u8::MAX, "info"), "debug,vxmesh=trace");
        assert!(directive(2, "warn").parse::<EnvFilter>().is_ok());
    }
}
