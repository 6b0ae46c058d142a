//! Watches the resources, runs the agent in the pods, writes status.
