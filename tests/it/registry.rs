//! The registry client against the real CNCF registry, and against a server that misbehaves on purpose.
