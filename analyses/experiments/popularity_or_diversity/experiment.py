"""The experiment popularity_or_diversity: its grid, numbers and page put together."""

from analyses.common.experiment import Experiment
from analyses.experiments.popularity_or_diversity import cells, numbers, page

EXPERIMENT = Experiment.of_grid("popularity_or_diversity", cells, numbers, page)
