//! Any body of a push: refused with a client's error, or read as messages within every bound; and a message
//! is the same one alone and in a batch.
#![no_main]

use api::{Batch, Limits, Problem, Scope, Submission, Target, parse_batch, parse_message};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use token::TokenKeys;
use wire::AppId;

/// Small, so that short bodies meet them.
const LIMITS: Limits = Limits {
    payload_bytes_max: 64,
    ttl_s_default: 60,
    ttl_s_max: 600,
    batch_max: 4,
    body_bytes_max: 1 << 20,
    token_ttl_s: 100,
};

/// The key of the tokens in `seeds/body`.
static KEYS: LazyLock<TokenKeys> = LazyLock::new(|| {
    let mut keys = TokenKeys::new();
    keys.insert(1, [7; 32]).expect("room for one key");
    keys
});

fuzz_target!(|body: &[u8]| {
    let scope = Scope { app: AppId(3), tokens: &KEYS, now_s: 1000, limits: &LIMITS };
    match parse_batch(body, &scope) {
        Ok(batch) => whole(&batch),
        Err(problem) => of_the_client(&problem),
    }
    match parse_message(body, &scope) {
        Ok(message) => {
            within_bounds(&message.submission);
            assert!(message.submission.idempotency.is_none(), "a single message is named by a header");
            let batch = [b"{\"messages\":[", body, b"]}"].concat();
            let batch = parse_batch(&batch, &scope).expect("a good message makes a good batch");
            assert_eq!(batch.submissions, [message.submission]);
            assert_eq!((batch.count, batch.refused.len()), (1, 0));
            assert_eq!(
                batch.invalid.into_iter().map(|(_, bad)| bad).next().unwrap_or_default(),
                message.invalid
            );
        }
        Err(problem) => of_the_client(&problem),
    }
});

/// Every message of a batch is either good or refused, and says which.
fn whole(batch: &Batch) {
    assert!(batch.count as usize <= LIMITS.batch_max);
    assert_eq!(batch.submissions.len() + batch.refused.len(), batch.count as usize);
    assert!(batch.refused.is_sorted_by(|a, b| a.0 < b.0) && batch.refused.iter().all(|r| r.0 < batch.count));
    assert!(batch.invalid.is_sorted_by(|a, b| a.0 < b.0) && batch.invalid.iter().all(|i| i.0 < batch.count));
    batch.submissions.iter().for_each(within_bounds);
    assert!(batch.keyed.is_none_or(|place| place < batch.count));
    assert!(batch.keyed.is_some() || batch.submissions.iter().all(|it| it.idempotency.is_none()));
    batch.refused.iter().for_each(|(_, problem)| of_the_client(problem));
}

fn within_bounds(submission: &Submission) {
    assert_eq!(submission.app, AppId(3));
    assert!(submission.payload.len() <= LIMITS.payload_bytes_max);
    assert!(submission.ttl_s <= LIMITS.ttl_s_max);
    assert!(submission.collapse.is_none_or(|hash| hash != 0 && submission.ttl_s > 0));
    match &submission.target {
        Target::Devices(devices) => {
            assert!((1..=api::TOKENS_MAX).contains(&devices.len()) && devices.is_sorted_by(|a, b| a < b));
        }
        Target::Topic(topic) => assert!((1..=wire::limits::TOPIC_BYTES_MAX).contains(&topic.len())),
        Target::Device(_) | Target::All => {}
    }
}

fn of_the_client(problem: &Problem) {
    let status = problem.code.status();
    assert!((400..500).contains(&status) && !problem.code.retryable(), "{status} {}", problem.detail);
}
