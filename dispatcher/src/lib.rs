//! Routes, streams, fan-out and the HTTP API around the workers
