"""The packed intervention engine: what to patch is data, how it is computed is the engine's own affair."""
