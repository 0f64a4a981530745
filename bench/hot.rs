//! The hot functions by the clock: `cargo bench --bench hot`. See README.md.

mod sealed;
mod subjects;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use subjects::SUBJECTS;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for subject in SUBJECTS.iter().chain(sealed::SUBJECTS) {
        let mut group = criterion.benchmark_group(subject.name);
        group.throughput(match subject.bytes {
            0 => Throughput::Elements(subject.frames),
            bytes => Throughput::ElementsAndBytes { elements: subject.frames, bytes },
        });
        group.bench_function("call", |b| {
            // Only here, so that a subject that is filtered out costs nothing.
            let mut work = (subject.prepare)();
            b.iter(&mut work);
        });
        group.finish();
    }
    criterion.final_summary();
}
