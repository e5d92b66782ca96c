//! The connection flooder: a fleet of simulated phones
