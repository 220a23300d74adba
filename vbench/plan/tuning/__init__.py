"""Which engine options go on to a longer load, and whether the best one beats the defaults. Pure.

It does not know how a trial is measured (`vbench.campaign.tuning`) or what an option sets: options are numbered.
"""
