"""Which facts were lost, and which of those are still stored: known facts, evidence, controls, verdict."""
