//! Device to place, sequence numbers, delivery policy
