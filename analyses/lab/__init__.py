"""What controlled experiments share: grids of cells, the engines that run them, and how a finding is made."""
