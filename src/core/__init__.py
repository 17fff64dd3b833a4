"""What two sides must agree on, and nothing else."""
