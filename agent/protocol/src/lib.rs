//! What the agent and its callers say to each other: request, events, exit codes.
