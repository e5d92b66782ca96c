//! Streams, bodies and cursors behind a trait in domain verbs
