//! A CNCF registry for tests.
