"""The host: its GPUs, cores and processes, who uses them, locks, and the leases by which sessions share GPUs and CPU.

It does not know what runs on them: no server, no load and no record.
"""
