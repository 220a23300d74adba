"""From configs to sessions: the rules between values, runs and their keys, names, order, feasibility and resources.

Pure: it knows neither how a config is composed nor how a session is executed.
"""
