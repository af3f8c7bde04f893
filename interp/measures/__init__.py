"""What is measured without editing: spans, attention, value readout, gradients, placebos, theory."""
