"""Every table and figure that people decide by, from one query of the tracked runs.

    frame        the query's table -> runs: what was measured, on what, under which conditions
    labels       what tells two systems apart, in words; so that nothing is mixed in silence
    axes         what can be drawn over what; a new axis is a line
    points       runs -> the mean of each point, and how far it can be trusted
    matched      two sets of runs -> their ratios, on the points that both have
    comparisons  what a report has, one a file
    figures      points -> figures; the only importer of matplotlib
    report       sections -> files

Nothing here measures, and nothing but the door queries.
"""
