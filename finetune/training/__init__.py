"""Training: pretraining a base, fine-tuning an arm, mitigations, planted models, costs, recipes."""
