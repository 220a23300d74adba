"""What a campaign will take and give before it runs: seconds, GPU hours, dollars and curves, each with its basis.

Pure. It does not know where records come from, what a launcher does, or how a plan is shown.
"""
