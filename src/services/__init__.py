"""The long-running processes: inference, monitor, and the loop on one machine."""
