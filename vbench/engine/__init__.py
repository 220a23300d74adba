"""The server under test: its command, start, log, counters, weights and identity, and servers that already run.

It does not know what load is sent, nor how runs are measured or recorded.
"""
