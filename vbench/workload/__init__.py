"""What a load sends and when: prompts, lengths, arrival times, and the levels that a search probes.

Pure but for the files that a workload names; it knows nothing of servers, clients and clocks.
"""
