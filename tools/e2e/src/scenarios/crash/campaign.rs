//! One campaign from the first phone to the verdict.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use e2e::{Node, NodeConfig, wait};
use flooder::Device;
use rand::Rng;
use serde_json::{Map, Value, json};

use super::beside::Beside;
use super::clerk;
use super::crowd::{Crowd, Phase};
use super::killer::{Killer, OnEvent};
use super::ledger::{Heard, Verdict, judge};
use super::mix;
use super::plan::{Step, Ways, random};
use super::push::{Audience, Promise, Push};
use super::sender::{Books, Market, Sender};
use super::topics::Topics;
use crate::scenarios::PATIENCE;
use crate::{Failure, Report};

/// More than two, so that a phone finds another one.
pub const WORKERS: usize = 3;
/// Topics that phones join and leave.
const TOPICS: usize = 12;
/// Topics a phone is in at the start, at most.
const TOPICS_FIRST_MAX: usize = 3;
/// Of the phones, one in so many gets messages that may be replaced, recalled or over.
const BESIDE_EVERY: usize = 5;
/// Back ends that send those.
const BESIDE_SENDERS: u16 = 2;
/// Receipts looked at in the end.
const RECEIPTS_MAX: usize = 300;

/// A node, its phones, and those who send to them.
pub struct Campaign {
    /// The node.
    pub node: Node,
    /// Where phones connect: to the node, or to who stands before it.
    pub target: SocketAddr,
    /// How phones come and go.
    pub ways: Ways,
    /// Back ends that send what must arrive. A single one is alone: no clerk, and nobody sends anything else.
    pub senders: u16,
    market: Market,
    devices: Vec<Device>,
    seed: u64,
}

/// What came of one.
#[derive(Debug)]
pub struct Outcome {
    /// What follows from all that was sent and all that arrived.
    pub verdict: Verdict,
    /// Processes killed and times the power failed; of those, the latter.
    pub kills: (u64, u64),
    /// Numbers for the JSON line.
    pub figures: Map<String, Value>,
}

impl Campaign {
    /// Starts a node and has its phones issued; some of them become members of topics.
    ///
    /// # Errors
    /// There is no node, or it refuses.
    pub fn start(config: NodeConfig, phones: usize, seed: u64) -> Result<Self, Failure> {
        let node = Node::start(config)?;
        let devices = node.backend().issue_devices(phones)?;
        let market = Market::new(node.api(), &devices, phones - phones / BESIDE_EVERY, TOPICS, seed);
        let mut random = random(seed, "members", 0);
        for phone in 0..phones as u16 {
            join(&market, market.topics.fixed(), phone)?;
            for _ in 0..random.random_range(0..=TOPICS_FIRST_MAX) {
                join(&market, random.random_range(0..TOPICS), phone)?;
            }
        }
        let target = node.target();
        Ok(Self { node, target, ways: Ways::restless(), senders: 6, market, devices, seed })
    }

    /// Runs it: all steps of the plan while everybody sends, then rest, then the verdict.
    ///
    /// # Errors
    /// A process ended by itself, or the node does not come to rest.
    pub fn run(
        &mut self,
        plan: &[Step],
        on_event: &mut OnEvent<'_>,
        report: &mut Report,
    ) -> Result<Outcome, Failure> {
        let Self { node, target, ways, senders, market, devices, seed } = self;
        let crowd = Crowd::start(*target, devices, *seed, ways.clone(), Arc::clone(&market.topics));
        let most = devices.len() * 8 / 10;
        if !wait::until(PATIENCE, || crowd.settled() >= most) {
            return Err(format!("{} of {} phones are there", crowd.settled(), devices.len()).into());
        }
        let start = Instant::now();
        let mut killer = Killer::new(node, on_event);
        let books = fight(market, *senders, &mut killer, plan)?;
        let (kills, recoveries_ms) =
            ((killer.kills, killer.powers), std::mem::take(&mut killer.recoveries_ms));
        let fought_s = start.elapsed().as_secs_f64();
        rest(node, &crowd, devices.len(), report)?;
        let phones = crowd.end()?;
        let (mut outcome, pushes) = settle(books, &phones, kills);
        receipts(market, &pushes, report)?;
        let trouble = market.trouble.lock().map_err(|_| "a sender panicked")?;
        outcome.figures.insert("trouble".into(), json!(*trouble));
        outcome.figures.insert("fought_s".into(), json!((fought_s * 10.0).round() / 10.0));
        outcome.figures.insert("recovery_ms".into(), spread(recoveries_ms));
        Ok(outcome)
    }
}

/// Makes a phone a member, before anything is sent.
fn join(market: &Market, topic: usize, phone: u16) -> Result<(), Failure> {
    let path = format!("devices/{}/topics/{}", market.tokens[usize::from(phone)], Topics::name(topic));
    let answer = market.api.call("PUT", &path, None)?;
    if answer.status != 204 || !market.topics.begin_change(topic, phone) {
        return Err(format!("PUT {path}: {} {}", answer.status, answer.body).into());
    }
    market.topics.end_change(topic, phone, true);
    Ok(())
}

/// Everybody sends while the plan is carried out.
fn fight(
    market: &Market,
    senders: u16,
    killer: &mut Killer<'_>,
    plan: &[Step],
) -> Result<Vec<Books>, Failure> {
    let beside = if senders > 1 { senders..senders + BESIDE_SENDERS } else { 0..0 };
    thread::scope(|scope| {
        let sure = |number| scope.spawn(move || Sender::new(market, number).run(mix::compose));
        let mut working: Vec<_> = (0..senders).map(sure).collect();
        for number in beside.clone() {
            let mut beside = Beside::default();
            let compose = move |sender: &mut Sender<'_>| beside.compose(sender);
            working.push(scope.spawn(move || Sender::new(market, number).run(compose)));
        }
        if !beside.is_empty() {
            working.push(scope.spawn(|| clerk::run(market)));
        }
        let killed = plan.iter().try_for_each(|step| killer.step(*step)).and_then(|()| killer.finish());
        market.stop.store(true, Ordering::Relaxed);
        market.abort.store(killed.is_err(), Ordering::Relaxed);
        let books = working.into_iter().map(|thread| thread.join().expect("a panic ends the process"));
        let books = books.collect();
        killed.map(|()| books)
    })
}

/// Nobody sends or dies any more: all come back, everything arrives, and what is still on the wire does too.
fn rest(node: &Node, crowd: &Crowd, phones: usize, report: &mut Report) -> Result<(), Failure> {
    node.wait_ready()?;
    crowd.set(Phase::Calm);
    wait::until(PATIENCE, || crowd.settled() == phones);
    report.equal("phones that are there in the end", crowd.settled(), phones);
    let api = node.api();
    let waiting = || api.metrics().map_or(u64::MAX, |metrics| metrics.get("moorline_store_messages"));
    wait::until(PATIENCE, || waiting() == 0);
    report.equal("messages that wait in the end", waiting(), 0);
    crowd.set(Phase::Barrier);
    wait::until(PATIENCE, || crowd.passed() == phones);
    report.equal("phones that have heard all there was", crowd.passed(), phones);
    Ok(())
}

/// Closes the books.
fn settle(books: Vec<Books>, phones: &[Heard], kills: (u64, u64)) -> (Outcome, Vec<Push>) {
    let count = |count: fn(&Books) -> u64| books.iter().map(count).sum::<u64>();
    let (requests, repeated) = (count(|books| books.requests), count(|books| books.repeated));
    let (recalls, memberships) = (count(|books| books.recalls), count(|books| books.memberships));
    let (confused, twins) = (count(|books| books.confused), count(|books| books.twins));
    let (mut pushes, mut faults) = (Vec::new(), Vec::new());
    for sender in books {
        pushes.extend(sender.pushes);
        faults.extend(sender.faults);
    }
    let mut verdict = judge(&pushes, phones);
    for (name, example) in faults {
        verdict.fault(name, || example);
    }
    let sum = |count: fn(&Heard) -> u64| phones.iter().map(count).sum::<u64>();
    let figures = [
        ("requests", requests),
        ("repeated", repeated),
        ("confused", confused),
        ("twins", twins),
        ("recalls", recalls),
        ("memberships", memberships),
        ("pushes", pushes.iter().filter(|push| push.promise == Promise::Once).count() as u64),
        ("suppressed", sum(|phone| phone.suppressed)),
        ("gaps", sum(|phone| phone.gaps)),
        ("holes", sum(|phone| phone.holes)),
        ("delivered_beside", verdict.delivered_beside),
    ];
    let figures = figures.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    (Outcome { verdict, kills, figures }, pushes)
}

/// Receipts of some of the messages: counts that sum up, and nothing left.
fn receipts(market: &Market, pushes: &[Push], report: &mut Report) -> Result<(), Failure> {
    let accepted: Vec<&Push> = pushes.iter().filter(|push| !push.id.is_empty()).collect();
    let every = accepted.len().div_ceil(RECEIPTS_MAX).max(1);
    let (mut seen, mut wrong) = (0, Vec::new());
    for push in accepted.into_iter().step_by(every) {
        let answer = market.api.call("GET", &format!("messages/{}", push.id), None)?;
        seen += 1;
        if answer.status != 200 || !is_done(&answer.body["counts"], push) {
            wrong.push(format!("{} {}", push.id, answer.body));
        }
    }
    let examples = &wrong[..wrong.len().min(3)];
    let said = format!("{} of {seen} {examples:?}", wrong.len());
    report.check("receipts that are open or do not sum up", wrong.is_empty(), said);
    Ok(())
}

/// Whether nothing is to be done any more for anybody a message was for, and the counts say so.
fn is_done(counts: &Value, push: &Push) -> bool {
    let Some(all) = counts.as_object() else { return false };
    let count = |name: &str| counts[name].as_u64().unwrap_or(0);
    let sum: u64 = all.iter().filter(|(name, _)| *name != "targeted").filter_map(|(_, n)| n.as_u64()).sum();
    // Whoever leaves a topic before its acknowledgement is heard is counted as dropped, although it has it.
    let has_left = if matches!(push.audience, Audience::Topic(..)) { count("dropped") } else { 0 };
    let have_it = count("acked") + has_left == sum || push.promise == Promise::AtMostOnce;
    sum > 0 && count("targeted") == sum && count("waiting") + count("dispatched") == 0 && have_it
}

/// The middle and the largest.
fn spread(mut values: Vec<u64>) -> Value {
    values.sort_unstable();
    json!({ "p50": values.get(values.len() / 2), "max": values.last() })
}
