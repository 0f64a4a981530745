//! Backends that come and go under load: health, drain, replacement.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use vxmesh::api::{BackendState, Service};

use crate::common::cluster::{Container, container};
use crate::common::dns::{can, data};
use crate::common::fabric::Fabric;
use crate::common::host::Host;
use crate::common::lab::wait_network;
use crate::common::pages::{Call, Load, Page, ask_udp, calls};
use crate::common::{root, wait_until};

/// Two hosts with the service `shop` on network `red`, and a client on the first.
struct Shop {
    hosts: [Host; 2],
    vip: IpAddr,
    client: Container,
    _fabric: Fabric,
}

fn shown(host: &Host) -> Service {
    serde_json::from_value(host.api("GET", "/v1/services/shop", &Value::Null).body).unwrap()
}

impl Shop {
    fn new(options: &str) -> Shop {
        let fabric = Fabric::new();
        let hosts = fabric.cluster::<2>();
        hosts[0].ok("network create red --subnet 10.1.0.0/24");
        wait_network("red", &hosts.each_ref());
        hosts[0].ok(&format!("service create shop --network red {options}"));
        wait_until("the service is known", || hosts[1].try_line("service inspect shop").ok());
        let vip = shown(&hosts[0]).networks[0].vips[0];
        let client = container(&hosts[0], "red", "");
        // A host drops what comes from an endpoint that it does not know.
        wait_until("the client is known", || hosts[1].knows(&client.endpoint));
        Shop { hosts, vip, client, _fabric: fabric }
    }

    fn wait_ready(&self, count: usize) {
        for host in &self.hosts {
            wait_until(&format!("{} sees {count} backends ready", host.ns.name()), || {
                shown(host).ready == count
            });
        }
    }

    /// A call that this page has answered.
    fn call(&self, page: &Page) -> Call {
        for _ in 0..50 {
            let call = Call::new(&self.client.ns, self.vip).unwrap();
            if call.name == page.name() {
                return call;
            }
        }
        panic!("{} is never reached", page.name());
    }

    fn reaches(&self, page: &Page) -> bool {
        let answers = calls(&self.client.ns, self.vip, 20);
        assert!(answers.failures.is_empty(), "{answers:?}");
        answers.by.contains_key(page.name())
    }
}

#[test]
fn a_drained_backend_gets_nothing_new_and_loses_nothing() {
    need!(root());
    let shop = Shop::new("--drain 30");
    let pages = [0, 1, 1].map(|host| Page::start(&shop.hosts[host], "red", "shop"));
    shop.wait_ready(3);
    let load = Load::start(&shop.client.ns, shop.vip);
    for (page, host) in pages[..2].iter().zip(&shop.hosts) {
        let mut held = shop.call(page);
        std::thread::scope(|scope| {
            let detached = scope.spawn(|| host.try_line(&format!("detach {}", page.name())));
            wait_until("all hosts know that it drains", || {
                shop.hosts.iter().all(|host| {
                    let draining = |b: &vxmesh::api::Backend| {
                        b.name == page.name() && b.state == BackendState::Draining
                    };
                    shown(host).backends.iter().any(draining)
                })
            });
            assert!(!shop.reaches(page), "new calls go elsewhere");
            held.echo().expect("the call goes on");
            assert!(!detached.is_finished(), "the backend waits for it");
            drop(held);
            let output = detached.join().unwrap();
            assert!(output.ok(), "{output:?}");
        });
        assert!(!page.ns.has_interface("eth0"), "it is gone");
    }
    let answers = load.stop();
    assert!(answers.failures.is_empty(), "{answers:?}");
}

#[test]
fn a_drain_ends_when_its_time_is_over() {
    need!(root());
    let shop = Shop::new("--drain 30");
    let pages = [0, 1].map(|host| Page::start(&shop.hosts[host], "red", "shop"));
    shop.wait_ready(2);
    for (page, host) in pages.iter().zip(&shop.hosts) {
        let mut held = shop.call(page);
        let since = Instant::now();
        std::thread::scope(|scope| {
            // It says nothing, and hears of the end all the same.
            let heard = scope.spawn(|| held.wait().unwrap_err());
            host.ok(&format!("detach {} --drain 1", page.name()));
            let error = heard.join().unwrap();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        });
        let took = since.elapsed();
        assert!(took >= Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn a_drain_does_not_wait_for_datagrams_that_may_never_come() {
    need!(root());
    let shop = Shop::new("--drain 60");
    let pages = [0, 1].map(|host| Page::start(&shop.hosts[host], "red", "shop"));
    shop.wait_ready(2);
    let ask = || ask_udp(&shop.client.ns, shop.vip, 100).unwrap().0;
    wait_until("the page is asked", || ask() == pages[1].name());
    let since = Instant::now();
    shop.hosts[1].ok(&format!("detach {}", pages[1].name()));
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    assert_eq!(ask(), pages[0].name());
}

#[test]
fn a_rolling_replacement_loses_no_call() {
    need!(root());
    let shop = Shop::new("--health tcp:80,interval=200ms --drain 10");
    let mut pages: Vec<(usize, Page)> = [0, 1, 1]
        .into_iter()
        .map(|host| (host, Page::start(&shop.hosts[host], "red", "shop")))
        .collect();
    shop.wait_ready(3);
    let load = Load::start(&shop.client.ns, shop.vip);
    // The first to go are to have served, too.
    wait_until("calls are made", || load.made() > 50);
    for round in 0..3 {
        let new = Page::start(&shop.hosts[(round + 1) % 2], "red", "shop");
        shop.wait_ready(4);
        pages.push(((round + 1) % 2, new));
        let (host, old) = pages.remove(0);
        shop.hosts[host].ok(&format!("detach {}", old.name()));
        let mark = load.made();
        wait_until("calls go on", || load.made() > mark + 50);
    }
    let answers = load.stop();
    assert!(answers.failures.is_empty(), "{answers:?}");
    assert_eq!(answers.by.len(), 6, "all old and new ones have served: {answers:?}");
}

#[test]
fn only_the_healthy_are_called_and_named() {
    need!(can());
    let shop = Shop::new("--health tcp:80,interval=200ms,timeout=1s,retries=2");
    let steady = Page::start(&shop.hosts[0], "red", "shop");
    shop.wait_ready(1);
    let mut page = Page::start(&shop.hosts[1], "red", "shop");
    let all = || data(&shop.client.ns, "tasks.shop").len();
    shop.wait_ready(2);
    assert!(shop.reaches(&page));
    assert_eq!(all(), 2);
    for _ in 0..2 {
        page.close();
        shop.wait_ready(1);
        assert!(!shop.reaches(&page));
        assert_eq!(data(&shop.client.ns, "tasks.shop"), [steady.ip().to_string()]);
        let ls = shop.hosts[0].ok("service ls");
        assert!(ls.contains("1/2"), "{ls}");
        page.open();
        shop.wait_ready(2);
        assert!(shop.reaches(&page));
    }
}

/// Ends a thread, also when the test has failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn health_is_asked_over_http() {
    need!(root());
    // The server always answers in the end: only what it says decides.
    let shop = Shop::new("--health http:8080/up,interval=100ms,timeout=60s,retries=1");
    let page = Page::start(&shop.hosts[1], "red", "shop");
    let listener = page.ns.enter(|| TcpListener::bind(("0.0.0.0", 8080)).unwrap());
    let (answer, asked) = (Mutex::new("500 No"), Mutex::new(String::new()));
    listener.set_nonblocking(true).unwrap();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&end);
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).unwrap_or(0);
                *asked.lock().unwrap() = String::from_utf8_lossy(&request[..read]).into_owned();
                let status = *answer.lock().unwrap();
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            }
        });
        let stands = |state: BackendState| {
            wait_until(&format!("the backend is {state:?}"), || {
                shown(&shop.hosts[0]).backends.iter().any(|b| b.state == state)
            });
        };
        stands(BackendState::Unhealthy);
        for good in ["200 OK", "302 Found"] {
            *answer.lock().unwrap() = good;
            stands(BackendState::Ready);
            assert!(shop.reaches(&page), "{good}");
            *answer.lock().unwrap() = "404 Not Found";
            stands(BackendState::Unhealthy);
        }
        assert!(asked.lock().unwrap().starts_with("GET /up HTTP/1.1\r\n"), "{asked:?}");
        shop.hosts[0].ok("service update shop --health none");
        shop.wait_ready(1);
    });
}
