"""The intervention engine: interventions as data, recordings, cells, plans, prefill, scores."""
