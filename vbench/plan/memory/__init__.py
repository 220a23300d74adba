"""How a model's memory is spent on each GPU of a replica: weights as split, activations, graphs, and the KV cache left.

Follows vLLM's own accounting (versions 0.26 to 0.33) and states formula and source of every term; it starts nothing and
reads no record: what records have measured is handed to it.
"""
