use super::*;
use wire::Reason;

#[test]
fn names_are_unique_and_say_their_kind() {
    let worker = WorkerMetric::ALL.iter().map(|m| (m.name(), m.kind()));
    let all: Vec<_> = DispatcherMetric::ALL.iter().map(|m| (m.name(), m.kind())).chain(worker).collect();
    for (i, (name, kind)) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|(other, _)| other != name), "{name} is declared twice");
        assert_eq!(
            name.ends_with("_total"),
            *kind == Kind::Counter,
            "{name}: counters, and only they, end in _total"
        );
    }
}

#[test]
fn a_reader_of_the_page_sees_what_its_owner_wrote() {
    let owner = Page::create().expect("memory");
    let fd = owner.shared().fd().try_clone_to_owned().expect("descriptor");
    let reader = Page::from_shared(shmring::SharedPage::attach(fd, WORDS).expect("attach"));
    owner.add(WorkerMetric::Pings, 3);
    owner.add(WorkerMetric::Pings, 4);
    owner.set(WorkerMetric::Attached, 9);
    owner.closed(Reason::SlowConsumer);
    assert_eq!(reader.get(WorkerMetric::Pings), 7);
    let text = Dispatcher::default().render(&[(2, reader)]);
    for line in [
        "moorline_worker_pings_total{worker=\"2\"} 7\n",
        "moorline_worker_attached{worker=\"2\"} 9\n",
        "moorline_worker_closed_total{worker=\"2\",reason=\"slow_consumer\"} 1\n",
        "moorline_worker_closed_total{worker=\"2\",reason=\"protocol\"} 0\n",
        "# TYPE moorline_worker_pings_total counter\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}
