"""Predicted throughput and latencies: a step model of vLLM's scheduler over a roofline, fitted to records.

It knows neither how records are stored nor what was measured for the point that it predicts.
"""
