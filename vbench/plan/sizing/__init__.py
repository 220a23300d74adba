"""Which system bears a load within an SLO, at what cost, and what to measure if that is not settled.

Pure. It does not know where records come from, nor how a measurement is made.
"""
