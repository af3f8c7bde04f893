"""Circuit visualizations: one fact's attention as data, as a page that runs offline, and as a picture.

:mod:`interp.viz` has the public names.
"""
