"""Which facts survive fine-tuning: predictors judged and calibrated, and the page."""
