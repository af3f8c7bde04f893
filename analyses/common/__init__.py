"""What analyses share: the experiment shell, options, set-up, arms, visits to checkpoints, grids, numbers."""
