"""Tables and figures that compare the tracked runs: labels what differs, matches points, computes intervals, draws.

It knows neither how runs are measured nor how MLflow stores them: `__main__` is the only module that queries.

    frame        the query's table -> runs: what was measured, on what, under which conditions
    loads        which load parameter was swept: num_prompts, request_rate, max_concurrency or sessions
    labels       what tells two systems apart, in words, so that unlike runs are never mixed silently
    axes         the quantities that can be compared; a new one costs one line
    points       runs -> the mean of each point and its 95 % interval
    ratios       two sets of runs -> their ratios at the points that both have
    comparisons  the sections of a report, one comparison a file
    answers      sections -> the sentences with which a report begins, one question a file
    arrangement  points -> what is drawn where on a figure, as data
    figures      that data -> png, svg, pdf; the only importer of matplotlib in this room
    explorer     labelled runs -> the data of the interactive figure
    report       sections -> files; page the HTML one among them
    terminal     sections -> a terminal
"""

from vbench.analysis.leanpandas import import_lean_pandas

import_lean_pandas()
