"""The long-running processes: inference, monitor, quality, and the loop on one machine."""
