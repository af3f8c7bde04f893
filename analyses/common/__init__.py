"""What analyses share: options, set-up, arms, visits to checkpoints, grids, numbers, the command line."""
