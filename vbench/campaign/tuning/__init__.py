"""The command `vbench tune`: which engine options serve most requests within an SLO.

It measures trials as ordinary sessions, and does not know how options are compared (`vbench.plan.tuning`).

    command   the words of `vbench tune`, as a launcher of Hydra
    options   from the mapping `tune` to the configs of its combinations
    story     screen, confirm, write, print
    world     trials as sessions: measured, read from records, and paid from the budget
    sampling  which combinations of a large grid are tried, by Optuna
    page      what is printed and written
"""
