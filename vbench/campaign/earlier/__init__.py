"""Modules under the names that they had in earlier builds, for jobs that these builds left in the queue."""
