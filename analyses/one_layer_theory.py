"""Does the sign of m say where attention goes, in the one-layer model and in a deep one?

    python analyses/one_layer_theory.py --out runs/theory

One-layer model, random embeddings and orthonormal ones (for which the theory is exact):

1. Compare closed-form gradients with automatic ones.
2. Pretrain by single sightings of Zipf-distributed facts; follow each fact's salience.
3. Take one small step on each fine-tuning example; measure attention for its own subject and for subjects
   that are never trained, asked with the same question token and with other ones.
4. Fine-tune on halves by popularity, in W_KQ alone and with W_V; measure held-out subjects.

Deep model, the embedded world's base:

5. Compute m, as the proxy and exactly, for a sample of training facts.
6. Take one small step on each, on all weights and on W_Q and W_K alone; measure subject attention on its own
   prompt and on held-out subjects' prompts of the same relation.
"""

import sys

from analyses.common.cli import launcher
from analyses.experiments.one_layer_theory.options import OneLayerTheoryOptions

run, main = launcher("one_layer_theory", OneLayerTheoryOptions)

if __name__ == "__main__":
    sys.exit(main())
