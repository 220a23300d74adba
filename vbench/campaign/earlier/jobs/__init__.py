"""Where an earlier build had its jobs."""
